"""What the training of a classifier is asked for; stored in its checkpoints and as `config.toml` in its folder."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import Field, ValidationError, model_validator

from audiorec.audio import CLIP_SAMPLES
from audiorec.training.run_settings import ENDS, RunSettings, layered, named

DEFAULT_EPOCHS = 20.0  # fewer where the macro F1 stops rising


class ClassifierSettings(RunSettings):
    """base: a directory or a hub id. Shares are of the clips; what one artist or group made is in one part."""

    base: str = Field(min_length=1)
    batch_size: int = Field(16, ge=1)  # crops a step
    learning_rate: float = Field(1e-4, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    crop_samples: int = Field(2**16, ge=2**13, le=CLIP_SAMPLES)  # 4.1 s, of which one is learnt
    validation_share: float = Field(0.15, gt=0, lt=1)  # chooses the best checkpoint and the layer
    test_share: float = Field(0.2, gt=0, lt=1)  # says at the end how good it is; used for nothing else
    validate_steps: int = Field(0, ge=0)  # 0: once an epoch
    patience: int = Field(10, ge=1)  # so many validations without a better macro F1 end the run
    class_weights: bool = True  # a rare label counts as much as a frequent one
    train_front_end: bool = False  # the convolutions too: what has random weights needs it, pretrained ones seldom

    @model_validator(mode="after")
    def _check_shares(self) -> "ClassifierSettings":
        if self.validation_share + self.test_share >= 0.9:
            raise ValueError("expected validation_share and test_share to leave a tenth of the clips to learn from")
        return self


def make_settings(
    given: Mapping[str, Any],
    *,
    began: Mapping[str, Any] = MappingProxyType({}),
    config_path: Path | None = None,
) -> ClassifierSettings:
    """What a run began with, a TOML file, what is given: each above the last. None is not given.

    Raises BadSetting, naming the setting.
    """
    fields, said = layered(began, config_path, given)
    if not {**fields, **said}.keys() & set(ENDS):
        fields["epochs"] = DEFAULT_EPOCHS
    try:
        return ClassifierSettings.model_validate({**fields, **said})
    except ValidationError as error:
        raise named(error) from None
