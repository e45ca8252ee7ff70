"""`classifier`, an encoder that was fine-tuned to tell labels apart: the mean over time of one of its hidden layers.

Its head, which says how much each label fits, sits on the last layer and goes into a file of its own; where the vector
is of a lower layer, the features are those of both, one after another.
"""

import hashlib
import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

import audiorec.torchaudio_cpu  # noqa: F401 - before transformers, which imports torchaudio
from audiorec.encoders.base import Encoder, Layer
from audiorec.encoders.checkpoint import read_checkpoint, reason_of
from audiorec.encoders.frozen import MAX_DIM, HiddenLayers, layer_of
from audiorec.encoders.pretrained_model import scripted_around
from audiorec.encoders.wav2vec2 import Data2Vec, HuBERT, Wav2Vec2, WaveEncoder, WaveFront, WavLM
from audiorec.encoders.whiten import Whiten
from audiorec.errors import BadCheckpoint
from audiorec.files import replacing
from audiorec.metadata.predictions import HEAD_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHECKPOINT_KIND = "audiorec-classifier"
BEST_FILE = "best.pt"
FAMILIES: dict[str, type[WaveEncoder]] = {
    model_type: kind for kind in (Wav2Vec2, HuBERT, WavLM, Data2Vec) for model_type in kind.types
}


class ClassifierConfig(BaseModel):
    """All that is needed to make a classifier again, but its weights; in its checkpoint.

    model: its config as transformers has it. layer: of the vector, None while none was chosen. licence: of the base.
    n_tested, accuracy, macro_f1: as in the manifest.
    """

    model_config = ConfigDict(frozen=True)

    model: dict[str, Any]
    sample_rate_hz: int
    normalises: bool
    labels: tuple[str, ...]
    is_multi: bool
    base: str
    licence: str
    layer: Layer | None = None
    n_tested: int = 0
    accuracy: float | None = None
    macro_f1: float | None = None


class TwoLayers(HiddenLayers):
    """The mean over time of one hidden layer, and of the last one where that is another."""

    def __init__(self, model: "PreTrainedModel", index: int) -> None:
        super().__init__(model)
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        """(N, T) -> (N, dim), or (N, 2 dim)."""
        output = self.model(x, output_hidden_states=True)
        last = self.pool(output.last_hidden_state)
        if self.index == self.n_layers:
            return last
        return torch.cat([self.pool(output.hidden_states[self.index]), last], dim=1)


class Head(nn.Module):
    """How much each label fits, of the features: a mean over time may as well be taken before a linear layer."""

    def __init__(self, projector: nn.Linear, classifier: nn.Linear, is_multi: bool) -> None:
        super().__init__()
        self.projector = projector
        self.classifier = classifier
        self.dim = projector.in_features
        self.is_multi = is_multi

    def forward(self, features: Tensor) -> Tensor:
        """(N, n_features) -> (N, n_labels) in [0, 1]; of one label a clip, sum 1."""
        logits = self.classifier(self.projector(features[:, features.shape[1] - self.dim :]))
        return torch.sigmoid(logits) if self.is_multi else torch.softmax(logits, dim=1)


class Classifier(Encoder):
    name = "classifier"
    fitted = ("whiten.",)

    def __init__(self, config: ClassifierConfig, model: "PreTrainedModel") -> None:
        """model: of transformers' audio classification; it is taken over."""
        super().__init__()
        body = cast("PreTrainedModel", model.base_model)
        n_layers = body.config.num_hidden_layers
        self.layer = config.layer or layer_of(n_layers, n_layers)
        self.config = config
        self.front = WaveFront(config.sample_rate_hz, config.normalises)
        self.hidden = TwoLayers(body, self.layer.index)
        self.n_hidden = self.hidden.dim
        self.dim = min(MAX_DIM, self.n_hidden)
        self.whiten = Whiten(self.n_hidden, self.dim)
        head = Head(cast(nn.Linear, model.projector), cast(nn.Linear, model.classifier), config.is_multi)
        self._head = (head,)  # in a tuple it is no part of this module, and not of its file
        self.identity = f" layer {self.layer.index}, {self.front.identity}, {_key_of(head, config)}"
        self.licence = config.licence
        self.origin = f"audiorec train classifier, from {config.base}"

    def head(self) -> Head:
        return self._head[0]

    def pre(self, waveform: Tensor) -> Tensor:
        """(N, 1, CLIP_SAMPLES) -> (N, T at the model's rate)."""
        return self.front(waveform)

    def core(self, x: Tensor) -> Tensor:
        """(N, T) -> (N, n_features)."""
        return self.hidden(x)

    def post(self, features: Tensor) -> Tensor:
        return self.whiten(features[:, : self.n_hidden])

    def fit(self, features: Tensor) -> None:
        self.whiten.fit(features[:, : self.n_hidden])

    def scripted(self) -> torch.jit.ScriptModule:
        return scripted_around(self, "hidden")

    def head_facts(self) -> dict[str, Any]:
        config = self.config
        return {
            "labels": list(config.labels),
            "multi_label": config.is_multi,
            "n_tested": config.n_tested,
            "accuracy": config.accuracy,
            "macro_f1": config.macro_f1,
        }

    def write_companions(self, directory: Path) -> list[str]:
        with replacing(directory / HEAD_FILE, durable=True) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.save(torch.jit.script(self.head()), file)
        return [HEAD_FILE]


def checkpoint_file(path: Path) -> Path:
    """The best checkpoint of a run, whose folder may be named for it."""
    return path / BEST_FILE if path.is_dir() else path


def load_classifier(path: Path) -> Classifier:
    """The encoder of a checkpoint of `audiorec train classifier`, or of a run's folder. Raises BadCheckpoint."""
    stored = _read(path)
    config = config_in(stored)
    return Classifier(config, model_of(config, stored["model"])).eval()


def keep_classifier(path: Path, kept: Path, layer: int | None) -> None:
    """Copies a checkpoint, or a run's best. layer: to give the vector, None for the one that was measured.

    Raises BadCheckpoint, BadSetting, NoSpace.
    """
    stored = _read(path)
    if layer is not None:
        config = config_in(stored)
        chosen = layer_of(config.model["num_hidden_layers"], layer)
        stored["config"] = config.model_copy(update={"layer": chosen}).model_dump()
    content = io.BytesIO()
    torch.save(stored, content)
    with replacing(kept, durable=True) as file:
        file.write(content.getbuffer())


def _read(path: Path) -> dict[str, Any]:
    return read_checkpoint(checkpoint_file(path), CHECKPOINT_KIND, "audiorec train classifier")


def config_in(stored: dict[str, Any]) -> ClassifierConfig:
    """Of a checkpoint. Raises BadCheckpoint."""
    try:
        return ClassifierConfig.model_validate(stored.get("config"))
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise BadCheckpoint(f"got a checkpoint without a whole config ({field}): take another") from None


def model_of(config: ClassifierConfig, weights: Mapping[str, Tensor]) -> "PreTrainedModel":
    """transformers' model of a config, with these weights. Raises BadCheckpoint when they are not of it."""
    try:
        model = new_model(config.model)
        model.load_state_dict(weights)
    except Exception as error:  # whatever a config's own checks raise
        raise BadCheckpoint(
            f"got a checkpoint whose weights are not of its config ({reason_of(error)}): take another"
        ) from None
    return model


def new_model(config: dict[str, Any]) -> "PreTrainedModel":
    """transformers' audio classification of a config as it has it, with random weights."""
    from transformers import AutoConfig, AutoModelForAudioClassification
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it would tell of losses, which are ours
    fields = dict(config)
    made = AutoConfig.for_model(fields.pop("model_type"), **fields)
    attention = FAMILIES[made.model_type].attention
    model = AutoModelForAudioClassification.from_config(made, attn_implementation=attention)  # type: ignore[no-untyped-call]
    return cast("PreTrainedModel", model)


def _key_of(head: Head, config: ClassifierConfig) -> str:
    digest = hashlib.sha256(json.dumps([config.labels, config.is_multi]).encode())
    for value in head.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
