"""Encoders of other people's transformers as they come: the mean over time of one hidden layer, whitened on the
catalogue.

Which layer is best for a task is a matter of measurement (Pasad, Chou & Livescu, "Layer-wise analysis of a
self-supervised speech representation model", 2021): the last one is rarely it. The layers above the one that gives the
vector are left out, so an encoder of a lower layer is the faster one.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from audiorec.encoders.base import Encoder, Layer
from audiorec.encoders.model_dir import bad_preprocessor, be_quiet, load_model, read_config, read_preprocessor
from audiorec.encoders.pretrained_model import PretrainedEncoder, scripted_around
from audiorec.encoders.whiten import Whiten
from audiorec.errors import BadSetting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_DIM = 128
NAMED = "the one that was named"


class Front(nn.Module):
    """What makes sound ready for a model: (N, 1, CLIP_SAMPLES) float32 in [-1, 1] to what the model takes.

    identity: its settings, which no weight tells of.
    """

    identity: str


class HiddenLayers(nn.Module):
    """A model of transformers, and the mean of what its layers give: of all, one after another, until one is kept."""

    def __init__(self, model: "PreTrainedModel") -> None:
        super().__init__()
        for module in list(model.modules()):  # weight norms are for learning
            if parametrize.is_parametrized(module):
                for name in list(cast(nn.ModuleDict, module.parametrizations)):
                    parametrize.remove_parametrizations(module, name)
        if hasattr(model, "adapter"):  # what a task put on top of it
            model.adapter = None  # type: ignore[assignment]
        self.model = model
        self.n_layers: int = model.config.num_hidden_layers
        self.dim: int = model.config.hidden_size
        self.gives_all = True

    def forward(self, x: Tensor) -> Tensor:
        """What the model takes, (N, ...), to (N, (n_layers + 1) * dim); to (N, dim) once one layer is kept."""
        output = self.model(x, output_hidden_states=self.gives_all, return_dict=True)
        last: Tensor = output.last_hidden_state
        if not self.gives_all:
            return self.pool(last)
        return torch.cat([self.pool(hidden) for hidden in (*output.hidden_states[:-1], last)], dim=1)

    def pool(self, hidden: Tensor) -> Tensor:
        """(N, T, dim) -> (N, dim)."""
        return hidden.mean(dim=1)

    def keep(self, layer: int) -> None:
        """Leaves only what layer `layer` is computed from; 0 is what the first one takes."""
        self.gives_all = False
        stack, last_norm = self.stack()
        stack.layers = cast(nn.ModuleList, stack.layers)[:layer]
        if last_norm and layer < self.n_layers:
            setattr(stack, last_norm, nn.Identity())

    def stack(self) -> tuple[nn.Module, str]:
        """That whose `layers` they are, and what it calls a normalisation of nothing but the last layer's output."""
        stable = getattr(self.model.config, "do_stable_layer_norm", False)
        return cast(nn.Module, self.model.encoder), "layer_norm" if stable else ""


class FrozenEncoder(PretrainedEncoder):
    """hidden: of the whole model. layer: the one of it to keep."""

    fitted = ("whiten.",)
    has_layers = True
    preprocessor: ClassVar[str]  # of transformers, that its models come with
    attention: ClassVar[str] = "sdpa"

    def __init__(self, front: Front, hidden: HiddenLayers, layer: Layer) -> None:
        super().__init__()
        hidden.keep(layer.index)
        self.layer = layer
        self.identity = f" layer {layer.index}, {front.identity}"
        self.front = front
        self.hidden = hidden
        self.whiten = self.last_step(hidden.dim)
        self.dim = self.whiten.dim

    @staticmethod
    def last_step(n_features: int) -> Whiten:
        return Whiten(n_features, min(MAX_DIM, n_features))

    @classmethod
    def parts(cls, directory: Path) -> tuple[Front, HiddenLayers]:
        """front and hidden, of a model's directory. Raises BadModel."""
        config = read_config(directory, cls.types, cls.what())
        settings = read_preprocessor(directory, (cls.preprocessor,), cls.what())
        model = load_model(directory, config, cls.what(), attention=cls.attention)
        try:
            return cls.parts_of(model, settings)
        except (TypeError, ValueError, ArithmeticError, AssertionError, RuntimeError) as error:
            raise bad_preprocessor(directory, error, cls.what()) from None

    @classmethod
    def parts_of(cls, model: "PreTrainedModel", settings: dict[str, Any]) -> tuple[Front, HiddenLayers]:
        """settings: of the preprocessor. Raises anything for those of nobody."""
        raise NotImplementedError

    @classmethod
    def open(cls, directory: Path, layer: int | None = None) -> PretrainedEncoder:
        front, hidden = cls.parts(directory)
        return cls(front, hidden, layer_of(hidden.n_layers, layer)).eval()

    @classmethod
    def published(cls, layer: int | None = None) -> PretrainedEncoder:
        from transformers import AutoConfig, AutoModel

        be_quiet()
        config = AutoConfig.for_model(cls.types[0])
        model = AutoModel.from_config(config, attn_implementation=cls.attention)  # type: ignore[no-untyped-call]
        front, hidden = cls.parts_of(model, {})
        return cls(front, hidden, layer_of(hidden.n_layers, layer)).eval()

    def pre(self, waveform: Tensor) -> Tensor:
        """(N, 1, CLIP_SAMPLES) -> what the model takes."""
        return self.front(waveform)

    def core(self, x: Tensor) -> Tensor:
        """What the model takes -> (N, hidden size)."""
        return self.hidden(x)

    def post(self, features: Tensor) -> Tensor:
        return self.whiten(features)

    def fit(self, features: Tensor) -> None:
        self.whiten.fit(features)

    def scripted(self) -> torch.jit.ScriptModule:
        return scripted_around(self, "hidden")


class EveryLayer(Encoder):
    """The features of a frozen encoder of each layer in turn, one after another: what a layer is chosen by."""

    name = "every layer"

    def __init__(self, kind: type[FrozenEncoder], directory: Path) -> None:
        super().__init__()
        self.front, self.hidden = kind.parts(directory)
        self.n_layers = self.hidden.n_layers
        self.dim = self.hidden.dim * (self.n_layers + 1)
        self.identity = f" {kind.name}, {self.front.identity}"
        self.eval()

    def pre(self, waveform: Tensor) -> Tensor:
        """(N, 1, CLIP_SAMPLES) -> what the model takes."""
        return self.front(waveform)

    def core(self, x: Tensor) -> Tensor:
        """What the model takes -> (N, dim)."""
        return self.hidden(x)


def layer_of(n_layers: int, index: int | None) -> Layer:
    """The one that was named, or the one in the middle. Raises BadSetting for one that is not there."""
    if index is None:
        return Layer(n_layers // 2, n_layers, "the one in the middle")
    if not 0 <= index <= n_layers:
        raise BadSetting(
            f"got layer {index}, expected 0 to {n_layers} for this model: 0 is what its first layer takes, "
            f"{n_layers} what its last one gives"
        )
    return Layer(index, n_layers, NAMED)
