"""The encoders by name. Adding one: a file here, and a line in ENCODERS; in LEARNED_ENCODERS if it needs a checkpoint,
in PRETRAINED_ENCODERS if it needs a model of somebody else's.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from audiorec.encoders.bag_vqvae import BagBottomVQVAE, BagTopVQVAE, MeanFreqTopVQVAE, VQVAEEncoder
from audiorec.encoders.base import Encoder
from audiorec.encoders.clap import CLAP
from audiorec.encoders.classifier import Classifier, load_classifier
from audiorec.encoders.convnet import folded
from audiorec.encoders.mean_mel import MeanMel
from audiorec.encoders.mfcc import MFCC
from audiorec.encoders.model_dir import read_config
from audiorec.encoders.pretrained import Base
from audiorec.encoders.pretrained_model import PretrainedEncoder, open_pretrained
from audiorec.encoders.shipped import BASE_PATH, load_base
from audiorec.encoders.spectrogram_transformer import AST
from audiorec.encoders.vqvae.model import VQVAE
from audiorec.encoders.vqvae.weights import load_model
from audiorec.encoders.wav2vec2 import Data2Vec, HuBERT, Wav2Vec2, WavLM
from audiorec.errors import BadSetting

ENCODERS: dict[str, type[Encoder]] = {"MeanMel": MeanMel, "MFCC": MFCC}
LEARNED_ENCODERS: dict[str, Callable[[VQVAE], VQVAEEncoder]] = {
    "BagTopVQVAE": BagTopVQVAE,
    "BagBottomVQVAE": BagBottomVQVAE,
    "MeanFreqTopVQVAE": MeanFreqTopVQVAE,
}
PRETRAINED_ENCODERS: dict[str, type[PretrainedEncoder]] = {
    "ast": AST,
    "clap": CLAP,
    "data2vec": Data2Vec,
    "hubert": HuBERT,
    "wav2vec2": Wav2Vec2,
    "wavlm": WavLM,
}
BASELINES = ("MeanMel", "MFCC")
DEFAULT_ENCODER = "base"


def make_encoder(name: str, checkpoint_path: Path | None = None) -> Encoder:
    """A new encoder for use, its last step not yet fitted on a catalogue.

    checkpoint_path: of `audiorec train`; those that learn need one, `base` takes one instead of its own weights. For
    those of PRETRAINED_ENCODERS the directory of their model, or a ModelReference.
    Raises BadSetting for an unknown name, or a missing checkpoint; BadCheckpoint, BadModel for a broken one.
    """
    check_name(name)
    if name in ENCODERS:
        return ENCODERS[name]().eval()
    if name == Base.name:
        base = load_base(checkpoint_path or BASE_PATH)
        folded(base.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster
        return base
    if name in PRETRAINED_ENCODERS:
        return open_pretrained(PRETRAINED_ENCODERS[name], checkpoint_path)
    if checkpoint_path is None:
        command = "classifier" if name == Classifier.name else "vqvae"
        raise BadSetting(
            f"got encoder '{name}' without a checkpoint, expected one: train it by `audiorec train {command}`"
        )
    if name == Classifier.name:
        return load_classifier(checkpoint_path)
    return LEARNED_ENCODERS[name](load_model(checkpoint_path)).eval()


def kind_of(directory: Path) -> type[PretrainedEncoder]:
    """What to make of a pretrained model's directory. Raises BadModel for a model of no type that is known."""
    types = {model_type: kind for kind in PRETRAINED_ENCODERS.values() for model_type in kind.types}
    return types[read_config(directory, list(types), "a pretrained model").model_type]


def takes_checkpoint(name: str) -> bool:
    return name in (Base.name, Classifier.name) or name in LEARNED_ENCODERS


def names() -> list[str]:
    return sorted({Base.name, Classifier.name, *ENCODERS, *LEARNED_ENCODERS, *PRETRAINED_ENCODERS}, key=str.lower)


def check_name(name: str) -> None:
    """Raises BadSetting, naming the encoders that there are."""
    if name not in names():
        raise BadSetting(f"got encoder '{name}', expected one of {', '.join(names())}")
