"""Which commit audiorec runs from."""

import subprocess
from pathlib import Path

import audiorec


def git_commit() -> str | None:
    """The commit of the checkout that audiorec runs from; None for an installed package."""
    root = Path(audiorec.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.decode().strip() or None
