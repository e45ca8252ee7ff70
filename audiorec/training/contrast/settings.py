"""What a contrastive training is asked for; stored in its checkpoints and as `config.toml` in its folder."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import Field, ValidationError

from audiorec.audio import CLIP_SAMPLES
from audiorec.encoders.convnet import ConvNetConfig
from audiorec.training.run_settings import RunSettings, layered, named

MIN_BATCH = 4  # clips: fewer are no contrast


class ContrastSettings(RunSettings):
    """Shares are of a batch's clips or views, in [0, 1]; a share of 0 switches a thing off."""

    batch_size: int = Field(96, ge=MIN_BATCH)  # clips a step; each gives two views
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    crop_samples: int = Field(2**15, ge=2**13, le=CLIP_SAMPLES)  # 2.05 s
    temperature: float = Field(0.1, gt=0)
    label_weight: float = Field(0.5, ge=0, le=1)  # of the loss: the rest tells instances apart
    by_label_share: float = Field(0.5, ge=0, le=1)  # drawn by label, four clips of each
    mate_share: float = Field(0.5, ge=0, le=1)  # whose second view is of another take of the same instance
    source_power: float = Field(-0.5, ge=-1, le=0)  # how often a source is drawn, per clip: its number of clips to this
    average_decay: float = Field(0.995, ge=0, lt=1)  # of the weights that are used
    noise_share: float = Field(0.4, ge=0, le=1)  # 25 to 60 dB under full scale
    lead_in_share: float = Field(0.25, ge=0, le=1)  # up to a second of silence first
    stretch: float = Field(0.25, ge=0, lt=1)  # slower by up to this
    shift_share: float = Field(0.7, ge=0, le=1)
    shift: float = Field(0.06, ge=0, lt=0.5)  # in frequency, of the mel scale's whole height, up or down
    equaliser: float = Field(1.0, ge=0)  # deviation of a smooth curve over frequency: natural logarithm of power
    mix_share: float = Field(0.5, ge=0, le=1)
    mix: float = Field(0.25, ge=0, lt=1)  # another view's share of the power, up to this
    low_pass_share: float = Field(0.2, ge=0, le=1)  # nothing above some band of the upper half
    leave_out: tuple[str, ...] = ()  # sources of a corpus
    model: ConvNetConfig = ConvNetConfig()


def make_settings(
    given: Mapping[str, Any],
    *,
    began: Mapping[str, Any] = MappingProxyType({}),
    config_path: Path | None = None,
) -> ContrastSettings:
    """What a run began with, a TOML file, what is given: each above the last. None is not given.

    Raises BadSetting, naming the setting.
    """
    fields, said = layered(began, config_path, given)
    try:
        return ContrastSettings.model_validate({**fields, **said})
    except ValidationError as error:
        raise named(error) from None
