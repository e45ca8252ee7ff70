"""Checkpoints of trainings, as encoders and trainings both read them."""

import io
from pathlib import Path
from typing import Any

import torch

from audiorec.errors import BadCheckpoint

CHECKPOINT_VERSION = 1


def read_checkpoint(path: Path, kind: str, made_by: str) -> dict[str, Any]:
    """What `training.checkpoint` wrote, its tensors on the CPU. Runs no code of the file. Raises BadCheckpoint.

    kind: what it says its format is. made_by: the command that writes such, for the error.
    """
    try:
        stored = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise BadCheckpoint(f"got no file {path.name}, expected a checkpoint: name one that is there") from None
    except Exception as error:  # torch.load raises whatever its formats raise
        raise BadCheckpoint(
            f"got a file {path.name} that is no whole checkpoint ({type(error).__name__}), expected one written by "
            "audiorec: take another, best.pt or last.pt of a run"
        ) from None
    if not isinstance(stored, dict) or stored.get("format") != kind:
        raise BadCheckpoint(f"got a file {path.name} of another program, expected a checkpoint of `{made_by}`")
    if stored.get("version") != CHECKPOINT_VERSION:
        raise BadCheckpoint(
            f"got a checkpoint of version {stored.get('version')!r}, expected {CHECKPOINT_VERSION}: "
            "train anew, or use the audiorec that wrote it"
        )
    return stored


def reason_of(error: Exception) -> str:
    """Why weights do not fit, in a line: torch says it in many."""
    return str(error).strip().splitlines()[-1].strip()[:200]
