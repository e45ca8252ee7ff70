"""The contract of every encoder: pre -> core -> post, each callable alone, all of it in one TorchScript graph."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """The hidden layer of a pretrained model that gives the vector, 0 being what its first layer takes, and why.

    p5, mean_average_precision: of each layer in turn, where retrieval was measured.
    """

    index: int
    n_layers: int
    why: str
    p5: list[float] = field(default_factory=list)
    mean_average_precision: list[float] = field(default_factory=list)


class Encoder(nn.Module):
    """(N, 1, CLIP_SAMPLES) float32 in [-1, 1] -> (N, dim) float32, unit norm.

    `features` (pre and core) never changes once an encoder is made, and its results can be kept; `post` may be
    fitted on a catalogue. `version` is raised when the code of pre or core changes what it computes.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    licence: str = "Apache-2.0"
    origin: str = "audiorec"
    fitted: ClassVar[tuple[str, ...]] = ()  # prefixes of the weights and buffers that `fit` changes
    comes_fitted: ClassVar[bool] = False  # whether it is of use before it is fitted on a catalogue
    identity: str = ""  # of what it computes with and is no weight of its own: a part of its keys
    layer: Layer | None = None  # of an encoder that is made of a pretrained model
    __jit_ignored_attributes__: ClassVar[list[str]] = ["layer"]  # torch would compile what an annotation names
    dim: int

    def pre(self, waveform: Tensor) -> Tensor:
        """Waveform to what the core takes."""
        raise NotImplementedError

    def core(self, x: Tensor) -> Tensor:
        """Returns (N, n_features) float32."""
        raise NotImplementedError

    def post(self, features: Tensor) -> Tensor:
        """features: (N, n_features). Returns (N, dim), unit norm."""
        raise NotImplementedError

    def features(self, waveform: Tensor) -> Tensor:
        """What does not depend on the catalogue: (N, n_features) float32."""
        return self.core(self.pre(waveform))

    def forward(self, waveform: Tensor) -> Tensor:
        return self.post(self.features(waveform))

    def fit(self, features: Tensor) -> None:
        """Fits `post` on the features of a catalogue's windows, (M, n_features). Nothing to do for most encoders."""

    def head_facts(self) -> dict[str, Any] | None:
        """What `manifest.HeadFacts` is made of, for an encoder that was trained to tell labels apart."""
        return None

    def text_facts(self) -> dict[str, Any] | None:
        """What `manifest.TextFacts` is made of, for an encoder whose space texts share."""
        return None

    def write_companions(self, directory: Path) -> list[str]:
        """Writes what belongs into a release beside the encoder, in flat names, which it returns. Raises NoSpace."""
        return []

    def scripted(self) -> torch.jit.ScriptModule:
        """The encoder as TorchScript."""
        script: torch.jit.ScriptModule = torch.jit.script(self)
        return script

    def count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def features_key(self) -> str:
        """Equal for two encoders whose `features` are: their name, version and the weights outside `post`."""
        return self._key(without=self.fitted)

    def key(self) -> str:
        """Equal for two encoders that compute the same."""
        return self._key(without=())

    def _key(self, without: tuple[str, ...]) -> str:
        digest = hashlib.sha256(f"{self.name} {self.version}{self.identity}".encode())
        for name, value in sorted(self.state_dict().items()):
            if not name.startswith(without or " "):
                digest.update(name.encode() + value.cpu().numpy().tobytes())
        return f"{self.name}-{digest.hexdigest()[:16]}"


class StandardisedEncoder(Encoder):
    """An encoder whose `post` standardises its features on the catalogue: dim = n_features."""

    fitted = ("standardise.",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.standardise = Standardise(dim)

    def post(self, features: Tensor) -> Tensor:
        return self.standardise(features)

    def fit(self, features: Tensor) -> None:
        self.standardise.fit(features)


class Standardise(nn.Module):
    """Subtracts the catalogue's mean, divides by its deviation, feature by feature; then scales to unit norm."""

    mean: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def fit(self, features: Tensor) -> None:
        """features: (M, n_features). A feature that never varies is left out, it cannot tell clips apart."""
        deviation, mean = torch.std_mean(features.double(), dim=0, correction=0)
        varies = deviation > 1e-6
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(varies, 1 / deviation.clamp(min=1e-6), torch.zeros_like(deviation)))
        if not bool(varies.any()):  # a catalogue of one clip: keep the direction it has
            self.mean.zero_()
            self.scale.fill_(1.0)

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize((features - self.mean) * self.scale, dim=1)


def mean_and_deviation(x: Tensor) -> Tensor:
    """(N, C, T) -> (N, 2 C): mean and standard deviation over time."""
    deviation, mean = torch.std_mean(x, dim=2, correction=0)
    return torch.cat([mean, deviation], dim=1)
