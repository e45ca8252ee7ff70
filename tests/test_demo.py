"""scripts/demo, as a new user runs it, in an environment that is there already."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts beside this environment, so that the demo finds it installed and writes elsewhere."""
    if not list(ROOT.glob(".venv/.audiorec-*-dev")) or Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("needs the environment that scripts/test makes")
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def demo(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AUDIOREC_EXTRAS": "dev"}
    command = [str(checkout / "scripts" / "demo"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=checkout.parent)


def test_demo_on_the_built_in_catalogue(checkout: Path) -> None:
    done = demo(checkout)
    assert done.returncode == 0, done.stderr
    assert "published release 0001" in done.stdout
    asked, answer = done.stdout.split("nearest to ")[1].split("\n\n")[:2]
    first = answer.splitlines()[1].split()
    assert first[:3] == ["1", "1.000", asked.split(" (")[0]]
    assert len(answer.splitlines()) == 1 + 10


def test_demo_on_a_folder_of_ones_own(checkout: Path, tmp_path: Path) -> None:
    from audiorec.samples import render

    clips = tmp_path / "my clips"
    render(tmp_path / "all")
    for family in ("bells", "rain"):
        shutil.copytree(tmp_path / "all" / family, clips / family)
    (clips / "broken.mp3").write_text("not a sound")
    done = demo(checkout, str(clips))
    assert done.returncode == 0, done.stderr
    assert "1 refused" in done.stdout
    assert (checkout / "exp" / "my clips" / "model" / "current").is_symlink()
    assert "nearest to " in done.stdout


def test_demo_with_too_many_arguments(checkout: Path) -> None:
    done = demo(checkout, "a", "b")
    assert done.returncode == 2
    assert "got 2 arguments, expected at most one" in done.stderr
