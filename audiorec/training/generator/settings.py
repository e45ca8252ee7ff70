"""What the fine-tuning of a generator is asked for; stored in its checkpoints and as `config.toml` in its folder."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import Field, ValidationError

from audiorec.errors import BadSetting
from audiorec.training.run_settings import RunSettings, layered, named


class GeneratorSettings(RunSettings):
    """A share of 0 switches a thing off."""

    base: str = Field(min_length=1)  # a hub id or a directory
    caption: str = ""  # a template; none for the column `caption`, or the default
    rank: int = Field(8, ge=1, le=256)  # of the two matrices that are learnt for each layer
    seconds: float | None = Field(None, gt=0)  # of a crop; what the model generates by itself, where nothing was said
    caption_dropout: float = Field(0.1, ge=0, lt=1)  # of a batch, learnt without a caption (Ho & Salimans 2022)
    average_decay: float = Field(0.995, ge=0, lt=1)  # of the weights that are used
    held_back: float = Field(0.2, gt=0, lt=1)  # of the clips, by group: they only tell at the end whether it helped
    samples_every: int = Field(500, ge=0)  # steps between sounds in TensorBoard
    sample_steps: int = Field(25, ge=1, le=1000)  # of denoising, for these
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    validate_steps: int = Field(200, ge=1)


def make_settings(
    given: Mapping[str, Any],
    *,
    began: Mapping[str, Any] = MappingProxyType({}),
    config_path: Path | None = None,
) -> GeneratorSettings:
    """What a run began with, a TOML file, what is given: each above the last. None is not given.

    Raises BadSetting, naming the setting.
    """
    fields, said = layered(began, config_path, given)
    if "base" not in {**fields, **said}:
        raise BadSetting("got no --base, expected a hub id or a directory of AudioLDM, AudioLDM2 or MusicLDM")
    try:
        return GeneratorSettings.model_validate({**fields, **said})
    except ValidationError as error:
        raise named(error) from None
