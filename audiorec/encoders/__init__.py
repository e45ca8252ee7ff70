"""The encoders by name. Adding one: a file here, a line in ENCODERS; in LEARNED_ENCODERS if it needs a checkpoint."""

from collections.abc import Callable
from pathlib import Path

import torch

from audiorec.encoders.bag_vqvae import BagBottomVQVAE, BagTopVQVAE, MeanFreqTopVQVAE, VQVAEEncoder
from audiorec.encoders.base import Encoder
from audiorec.encoders.convnet import folded
from audiorec.encoders.mean_mel import MeanMel
from audiorec.encoders.mfcc import MFCC
from audiorec.encoders.pretrained import Base
from audiorec.encoders.shipped import BASE_PATH, load_base
from audiorec.encoders.vqvae.model import VQVAE
from audiorec.encoders.vqvae.weights import load_model
from audiorec.errors import BadSetting

ENCODERS: dict[str, type[Encoder]] = {"MeanMel": MeanMel, "MFCC": MFCC}
LEARNED_ENCODERS: dict[str, Callable[[VQVAE], VQVAEEncoder]] = {
    "BagTopVQVAE": BagTopVQVAE,
    "BagBottomVQVAE": BagBottomVQVAE,
    "MeanFreqTopVQVAE": MeanFreqTopVQVAE,
}
BASELINES = ("MeanMel", "MFCC")
DEFAULT_ENCODER = "base"


def make_encoder(name: str, checkpoint_path: Path | None = None) -> Encoder:
    """A new encoder for use, its last step not yet fitted on a catalogue.

    checkpoint_path: of `audiorec train`; those that learn need one, `base` takes one instead of its own weights.
    Raises BadSetting for an unknown name, or a missing checkpoint; BadCheckpoint for a broken one.
    """
    check_name(name)
    if name in ENCODERS:
        return ENCODERS[name]().eval()
    if name == Base.name:
        base = load_base(checkpoint_path or BASE_PATH)
        folded(base.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster
        return base
    if checkpoint_path is None:
        raise BadSetting(f"got encoder '{name}' without a checkpoint, expected one: train it by `audiorec train vqvae`")
    return LEARNED_ENCODERS[name](load_model(checkpoint_path)).eval()


def takes_checkpoint(name: str) -> bool:
    return name == Base.name or name in LEARNED_ENCODERS


def names() -> list[str]:
    return sorted({Base.name, *ENCODERS, *LEARNED_ENCODERS}, key=str.lower)


def check_name(name: str) -> None:
    """Raises BadSetting, naming the encoders that there are."""
    if name not in names():
        raise BadSetting(f"got encoder '{name}', expected one of {', '.join(names())}")
