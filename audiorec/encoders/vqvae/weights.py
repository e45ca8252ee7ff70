"""A VQ-VAE from a checkpoint: what encoders and training both read."""

import io
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from audiorec.encoders.vqvae.config import VQVAEConfig
from audiorec.encoders.vqvae.model import VQVAE
from audiorec.errors import BadCheckpoint

CHECKPOINT_FORMAT = "audiorec-vqvae"
CHECKPOINT_VERSION = 1


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `training.checkpoint` wrote, its tensors on the CPU. Runs no code of the file. Raises BadCheckpoint."""
    try:
        stored = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise BadCheckpoint(f"got no file {path.name}, expected a checkpoint: name one that is there") from None
    except Exception as error:  # torch.load raises whatever its formats raise
        raise BadCheckpoint(
            f"got a file {path.name} that is no whole checkpoint ({type(error).__name__}), expected one written by "
            "audiorec: take another, best.pt or last.pt of a run"
        ) from None
    if not isinstance(stored, dict) or stored.get("format") != CHECKPOINT_FORMAT:
        raise BadCheckpoint(
            f"got a file {path.name} of another program, expected a checkpoint of `audiorec train vqvae`"
        )
    if stored.get("version") != CHECKPOINT_VERSION:
        raise BadCheckpoint(
            f"got a checkpoint of version {stored.get('version')!r}, expected {CHECKPOINT_VERSION}: "
            "train anew, or use the audiorec that wrote it"
        )
    return stored


def config_of(stored: dict[str, Any]) -> VQVAEConfig:
    try:
        return VQVAEConfig.model_validate(stored["config"])
    except (KeyError, ValidationError) as error:
        raise BadCheckpoint(f"got a checkpoint without a whole config ({type(error).__name__}): take another") from None


def load_weights(model: VQVAE, stored: dict[str, Any]) -> None:
    """Raises BadCheckpoint when the weights are not of the model's config."""
    other = config_of(stored)
    if other != model.config:
        mine, theirs = model.config.model_dump(), other.model_dump()
        differing = [f"{name} = {theirs[name]} (expected {mine[name]})" for name in mine if mine[name] != theirs[name]]
        raise BadCheckpoint(
            f"got a checkpoint of another config, {', '.join(differing)}: take its config or another file"
        )
    try:
        model.load_state_dict(stored["model"])
    except (KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()[:200]
        raise BadCheckpoint(f"got a checkpoint whose weights are not of its config ({reason}): take another") from None


def load_model(path: Path) -> VQVAE:
    """The model of a checkpoint, for use. Raises BadCheckpoint."""
    stored = read_checkpoint(path)
    model = VQVAE(config_of(stored))
    load_weights(model, stored)
    return model.eval()
