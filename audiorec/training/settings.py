"""What a training run is asked for; stored in its checkpoints and as `config.toml` in its folder."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from audiorec.audio import CLIP_SAMPLES
from audiorec.encoders.vqvae.config import PRESETS, VQVAEConfig
from audiorec.errors import BadSetting
from audiorec.mel import HOP_SAMPLES, N_MELS

ENDS = ("epochs", "minutes", "cpu_minutes")
MIN_TOP_FRAMES = 4  # of a crop, where nothing was said


class TrainingSettings(BaseModel):
    """Ends after `epochs`, `minutes` or `cpu_minutes`, one of them. Only runs by epochs can be repeated to the last digit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: float | None = Field(None, gt=0)  # of wall-clock time, validation included
    cpu_minutes: float | None = Field(None, gt=0)  # of all threads of a process together: the same on a busy machine
    epochs: float | None = Field(None, gt=0)
    seed: int = Field(0, ge=0, lt=2**32)
    batch_size: int = Field(32, ge=1)  # in all processes together
    crop_samples: int = Field(2**15, ge=HOP_SAMPLES, le=CLIP_SAMPLES, multiple_of=HOP_SAMPLES)
    learning_rate: float = Field(1e-3, gt=0)  # the highest of the cycle
    weight_decay: float = Field(1e-4, ge=0)
    latent_weight: float = Field(0.25, ge=0)  # of the commitment to code words, beside the reconstruction
    top_alone_share: float = Field(0.25, ge=0, le=1)  # of a batch: decoded from the top codes alone
    validation_share: float = Field(0.1, gt=0, lt=1)  # of the clips, by group
    validate_steps: int = Field(500, ge=1)
    amp: bool = True  # bfloat16 on GPUs that have it
    model: VQVAEConfig = VQVAEConfig()

    @model_validator(mode="after")
    def _check(self) -> "TrainingSettings":
        if sum(getattr(self, name) is not None for name in ENDS) != 1:
            raise ValueError(f"expected one of {', '.join(ENDS)}")
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
    fields = {**began, **(_read_toml(config_path) if config_path else {})}
    if preset is not None:
        if preset not in PRESETS:
            raise BadSetting(f"got preset '{preset}', expected one of {', '.join(sorted(PRESETS))}")
        fields["model"] = PRESETS[preset]
    said = {name: value for name, value in given.items() if value is not None}
    if said.keys() & set(ENDS):
        fields = {name: value for name, value in fields.items() if name not in ENDS}
    try:
        model = VQVAEConfig.model_validate(fields.get("model", {}))
        fields = {"crop_samples": _crop_samples(model), **fields, "model": model}
        return TrainingSettings.model_validate({**fields, **said})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the settings"
        raise BadSetting(f"got {name} = {str(first['input'])[:60]!r}: {first['msg']}") from None


def _crop_samples(model: VQVAEConfig) -> int:
    """The shortest crop, of 2 s, 4 s or 8 s, that has some top codes one after another."""
    lengths = (2**15, 2**16, CLIP_SAMPLES)
    enough = (n for n in lengths if model.top_grid((N_MELS, 1 + n // HOP_SAMPLES))[1] >= MIN_TOP_FRAMES)
    return next(enough, CLIP_SAMPLES)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:
        raise BadSetting("got --config under Python 3.10, which cannot read TOML, expected 3.11 or newer") from None
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSetting(f"got a config {path.name} that cannot be read ({error}), expected TOML") from None


def to_toml(settings: TrainingSettings) -> str:
    """What `make_settings` reads back."""
    fields = settings.model_dump(exclude_none=True)
    model = fields.pop("model")
    return "".join([*map(_toml_line, fields.items()), "\n[model]\n", *map(_toml_line, model.items())])


def _toml_line(item: tuple[str, Any]) -> str:
    name, value = item
    return f"{name} = {str(value).lower()}\n"  # numbers and booleans only
