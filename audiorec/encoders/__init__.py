"""The encoders by name. Adding one: a file here, a line in ENCODERS; in LEARNED_ENCODERS if it takes a checkpoint."""

from collections.abc import Callable
from pathlib import Path

from audiorec.encoders.bag_vqvae import BagBottomVQVAE, BagTopVQVAE, MeanFreqTopVQVAE, VQVAEEncoder
from audiorec.encoders.base import Encoder
from audiorec.encoders.mean_mel import MeanMel
from audiorec.encoders.mfcc import MFCC
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
DEFAULT_ENCODER = "MFCC"


def make_encoder(name: str, checkpoint_path: Path | None = None) -> Encoder:
    """A new encoder, its last step not yet fitted. checkpoint_path: of `audiorec train`, for those that learn.

    Raises BadSetting for a name that is in neither registry, or a missing checkpoint; BadCheckpoint for a broken one.
    """
    check_name(name)
    if name in ENCODERS:
        return ENCODERS[name]().eval()
    if checkpoint_path is None:
        raise BadSetting(f"got encoder '{name}' without a checkpoint, expected one: train it by `audiorec train vqvae`")
    return LEARNED_ENCODERS[name](load_model(checkpoint_path)).eval()


def check_name(name: str) -> None:
    """Raises BadSetting, naming the encoders that there are."""
    if name not in ENCODERS and name not in LEARNED_ENCODERS:
        raise BadSetting(f"got encoder '{name}', expected one of {', '.join(sorted({*ENCODERS, *LEARNED_ENCODERS}))}")
