"""The contract of encoders that are made of somebody else's model, opened from a directory of transformers."""

import copy
import warnings
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn
from torch.jit._trace import TracerWarning

from audiorec.audio import CLIP_SAMPLES, SAMPLE_RATE_HZ
from audiorec.encoders.base import Encoder, Layer
from audiorec.encoders.model_dir import sha256_of_weights
from audiorec.errors import BadModel, BadSetting
from audiorec.files import replacing, sha256_of
from audiorec.hub import is_local, local_model
from audiorec.licences import licence_of
from audiorec.torchaudio_cpu import torchaudio

MIN_MODEL_RATE_HZ, MAX_MODEL_RATE_HZ = 4_000, 96_000
REFERENCE_SUFFIX = ".json"
SHARP: dict[str, Any] = {  # torchaudio's own leaves mirror images above 8 kHz that log-mel bands hear
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}


class PretrainedEncoder(Encoder):
    """An encoder that `open` makes of a model's directory. Its licence and origin are those of the model."""

    example: ClassVar[str]  # a hub id, to advise
    types: ClassVar[tuple[str, ...]]  # what its models call themselves
    has_layers: ClassVar[bool] = False  # whether `open` can be told which one gives the vector

    @classmethod
    def what(cls) -> str:
        """What its directory holds, for messages."""
        return f"{'an' if cls.name[0] in 'aeio' else 'a'} {cls.name} model"

    @classmethod
    def open(cls, directory: Path, layer: int | None = None) -> "PretrainedEncoder":
        """directory: with the model's config, weights and preprocessor. layer: None for the one in the middle.

        Raises BadModel for a directory of anything else, BadSetting for a layer that the model does not have.
        """
        raise NotImplementedError

    @classmethod
    def published(cls, layer: int | None = None) -> "PretrainedEncoder":
        """At the size of `example`, with random weights: what it costs does not depend on them."""
        raise NotImplementedError


class ModelReference(BaseModel):
    """Which model a model directory's encoder is made of: a small file in its work folder.

    name: the hub id, or the directory's name without where that is. layer: None while it is to be chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    directory: Path
    layer: Layer | None = None

    @classmethod
    def to(cls, source: str, *, what: str) -> "ModelReference":
        """source: a directory or a hub id, which is downloaded. what: for messages. Raises BadModel."""
        directory = local_model(source, what=what).resolve()
        return cls(name=directory.name if is_local(source) else source, directory=directory)

    @classmethod
    def of(cls, path: Path) -> "ModelReference":
        """path: the file, or the directory of a model itself. Raises BadModel for a file that is none of ours."""
        if path.suffix != REFERENCE_SUFFIX:
            return cls(name=path.resolve().name, directory=path)
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise BadModel(
                f"got {path.name} that names no model ({type(error).__name__}), expected one as audiorec writes it: "
                "build with --model again"
            ) from None

    def write(self, path: Path) -> None:
        """Raises NoSpace."""
        with replacing(path, durable=True) as file:
            file.write(self.model_dump_json(indent=1).encode())


def open_pretrained(kind: type[PretrainedEncoder], path: Path | None) -> PretrainedEncoder:
    """path: of a model's directory, or of a ModelReference. Raises BadModel; BadSetting where there is none."""
    if path is None:
        raise no_model(kind)
    return open_reference(kind, ModelReference.of(path))


def open_reference(kind: type[PretrainedEncoder], reference: ModelReference) -> PretrainedEncoder:
    """Raises BadModel, BadSetting for a layer that the model does not have."""
    directory = local_model(str(reference.directory.absolute()), what=kind.what())
    encoder = kind.open(directory, reference.layer.index if reference.layer else None)
    if reference.layer:
        encoder.layer = reference.layer
    encoder.licence = licence_of(directory, reference.name)
    encoder.origin = reference.name
    return encoder.eval()


def no_model(kind: type[PretrainedEncoder]) -> BadSetting:
    return BadSetting(
        f"got encoder '{kind.name}' without a model, expected --model with a directory or a hub id, "
        f"such as {kind.example}"
    )


def fingerprint(path: Path) -> str:
    """The SHA-256 of a checkpoint, or of the weights of the model that a directory or a ModelReference names."""
    is_checkpoint = path.is_file() and path.suffix != REFERENCE_SUFFIX
    return sha256_of(path) if is_checkpoint else sha256_of_weights(ModelReference.of(path).directory)


def resampler(sample_rate_hz: int) -> nn.Module:
    """(..., T) at our rate -> (..., T') at a model's. Raises ValueError for one of no model."""
    if not MIN_MODEL_RATE_HZ <= sample_rate_hz <= MAX_MODEL_RATE_HZ:
        raise ValueError(f"a rate of {sample_rate_hz} Hz")
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return nn.Identity()
    resample: nn.Module = torchaudio.transforms.Resample(SAMPLE_RATE_HZ, sample_rate_hz, **SHARP)
    return resample


def scripted_around(encoder: Encoder, traced: str) -> torch.jit.ScriptModule:
    """An encoder scripted but for one part, which is traced: models of transformers cannot be scripted.

    traced: the name of that part, which is all that `core` calls.
    """
    twin = copy.copy(encoder)
    twin._modules = dict(encoder._modules)
    part = cast(nn.Module, encoder._modules[traced])
    waveform = torch.randn(2, 1, CLIP_SAMPLES, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # tracing looks at every attribute, also at what is deprecated
        warnings.simplefilter("ignore", TracerWarning)  # parity is checked, at other sizes too
        setattr(twin, traced, torch.jit.trace(part, encoder.pre(waveform), check_trace=False))  # type: ignore[no-untyped-call]
    return cast(torch.jit.ScriptModule, torch.jit.script(twin))
