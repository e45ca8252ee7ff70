"""A VQ-VAE from a checkpoint: what encoders and training both read."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from audiorec.encoders import checkpoint
from audiorec.encoders.checkpoint import reason_of
from audiorec.encoders.vqvae.config import VQVAEConfig
from audiorec.encoders.vqvae.model import VQVAE
from audiorec.errors import BadCheckpoint

CHECKPOINT_KIND = "audiorec-vqvae"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """As `checkpoint.read_checkpoint`."""
    return checkpoint.read_checkpoint(path, CHECKPOINT_KIND, "audiorec train vqvae")


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
        raise BadCheckpoint(
            f"got a checkpoint whose weights are not of its config ({reason_of(error)}): take another"
        ) from None


def load_model(path: Path) -> VQVAE:
    """The model of a checkpoint, for use. Raises BadCheckpoint."""
    stored = read_checkpoint(path)
    model = VQVAE(config_of(stored))
    load_weights(model, stored)
    return model.eval()
