"""What a training run of a VQ-VAE is asked for; stored in its checkpoints and as `config.toml` in its folder."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import Field, ValidationError, model_validator

from audiorec.audio import CLIP_SAMPLES
from audiorec.audio.mel import HOP_SAMPLES, N_MELS
from audiorec.encoders.vqvae.config import PRESETS, VQVAEConfig
from audiorec.errors import BadSetting
from audiorec.training.run_settings import RunSettings, layered, named
from audiorec.training.run_settings import to_toml as to_toml

MIN_TOP_FRAMES = 4  # of a crop, where nothing was said


class TrainingSettings(RunSettings):
    crop_samples: int = Field(2**15, ge=HOP_SAMPLES, le=CLIP_SAMPLES, multiple_of=HOP_SAMPLES)
    latent_weight: float = Field(0.25, ge=0)  # of the commitment to code words, beside the reconstruction
    top_alone_share: float = Field(0.25, ge=0, le=1)  # of a batch: decoded from the top codes alone
    model: VQVAEConfig = VQVAEConfig()

    @model_validator(mode="after")
    def _check_crop(self) -> "TrainingSettings":
        grid = self.model.top_grid((N_MELS, 1 + self.crop_samples // HOP_SAMPLES))
        if min(grid) < 1:
            raise ValueError(f"a crop of {self.crop_samples} samples has {grid[0]} x {grid[1]} top codes")
        return self


def make_settings(
    given: Mapping[str, Any],
    *,
    began: Mapping[str, Any] = MappingProxyType({}),
    config_path: Path | None = None,
    preset: str | None = None,
) -> TrainingSettings:
    """What a run began with, a TOML file, a preset of the model, what is given: each above the last. None is not given.

    Raises BadSetting, naming the setting.
    """
    fields, said = layered(began, config_path, given)
    if preset is not None:
        if preset not in PRESETS:
            raise BadSetting(f"got preset '{preset}', expected one of {', '.join(sorted(PRESETS))}")
        fields["model"] = PRESETS[preset]
    try:
        model = VQVAEConfig.model_validate(fields.get("model", {}))
        fields = {"crop_samples": _crop_samples(model), **fields, "model": model}
        return TrainingSettings.model_validate({**fields, **said})
    except ValidationError as error:
        raise named(error) from None


def _crop_samples(model: VQVAEConfig) -> int:
    """The shortest crop, of 2 s, 4 s or 8 s, that has some top codes one after another."""
    lengths = (2**15, 2**16, CLIP_SAMPLES)
    enough = (n for n in lengths if model.top_grid((N_MELS, 1 + n // HOP_SAMPLES))[1] >= MIN_TOP_FRAMES)
    return next(enough, CLIP_SAMPLES)
