"""Checkpoints of a training run: `last.pt`, from which it goes on; and apart from it `best.pt`, its best model."""

import io
from pathlib import Path
from typing import Any

import torch

import audiorec
from audiorec.commit import git_commit
from audiorec.encoders.checkpoint import CHECKPOINT_VERSION, reason_of
from audiorec.errors import BadCheckpoint
from audiorec.files import replacing
from audiorec.training.state import TrainingState

LAST_FILE = "last.pt"
BEST_FILE = "best.pt"


def save_last(path: Path, state: TrainingState) -> None:
    """Everything a run needs to go on as if it had never stopped. Raises NoSpace; the previous one survives."""
    training = {
        "optimizer": state.optimizer.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "best_loss": state.best_loss,
        "validated_step": state.validated_step,
    }
    write_checkpoint(path, {**_described(state), "training": training})


def save_best(path: Path, state: TrainingState) -> None:
    """The model, its config, and how it was made; a third of the size. Raises NoSpace."""
    write_checkpoint(path, _described(state))


def _described(state: TrainingState) -> dict[str, Any]:
    return {
        "format": state.kind,
        "version": CHECKPOINT_VERSION,
        "config": state.config.model_dump(),
        "settings": state.settings.model_dump(),
        "step": state.step,
        "seconds": state.seconds,
        "cpu_seconds": state.cpu_seconds,
        "figures": state.figures,
        "facts": state.facts,
        "made_with": {"audiorec": audiorec.__version__, "torch": str(torch.__version__), "git": git_commit()},
        "model": state.model.state_dict(),
    }


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """At once or not at all. Serialised in memory first, so that a full disk is the system's own error, and no other.

    Raises NoSpace.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path, durable=True) as file:
        file.write(buffer.getbuffer())


def restore(state: TrainingState, stored: dict[str, Any]) -> None:
    """Sets a state to what `save_last` stored. Raises BadCheckpoint for another run's, and for a `best.pt`."""
    theirs, mine = stored.get("settings"), state.settings.model_dump()
    if "training" not in stored or not isinstance(theirs, dict):
        raise BadCheckpoint(f"got a checkpoint to use, not to go on from, expected {LAST_FILE} of the same run")
    differing = [
        f"{name} = {mine[name]} (it has {theirs.get(name)})" for name in mine if mine[name] != theirs.get(name)
    ]
    if differing:
        raise BadCheckpoint(
            f"got a run to resume with {', '.join(differing)}, expected the settings it began with: "
            "leave them out, or start another run from its weights by --from"
        )
    training = stored["training"]
    try:
        state.model.load_state_dict(stored["model"])
    except (KeyError, RuntimeError) as error:
        raise BadCheckpoint(f"got a checkpoint whose weights are not of its config ({reason_of(error)})") from None
    try:
        state.optimizer.load_state_dict(training["optimizer"])
        torch.set_rng_state(training["torch_rng"])
        state.step, state.seconds = int(stored["step"]), float(stored["seconds"])
        state.cpu_seconds = float(stored["cpu_seconds"])
        state.best_loss, state.figures = float(training["best_loss"]), dict(stored["figures"])
        state.validated_step = int(training["validated_step"])
        state.facts = dict(stored.get("facts", {}))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadCheckpoint(f"got a checkpoint whose training state is not whole ({type(error).__name__})") from None
