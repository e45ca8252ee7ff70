"""What every training run is asked for, and settings as TOML."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from audiorec.errors import BadSetting

ENDS = ("epochs", "minutes", "cpu_minutes", "steps")


class RunSettings(BaseModel):
    """Ends after one of `ENDS`. Only a run by epochs or steps can be repeated to the last digit."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)  # TOML as we write it has no such

    minutes: float | None = Field(None, gt=0)  # of wall-clock time, validation included
    cpu_minutes: float | None = Field(None, gt=0)  # of all threads of a process together: the same on a busy machine
    epochs: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)
    batch_size: int = Field(32, ge=1)  # in all processes together
    learning_rate: float = Field(1e-3, gt=0)  # the highest of the cycle
    weight_decay: float = Field(1e-4, ge=0)
    validation_share: float = Field(0.1, gt=0, lt=1)  # of the clips, by group
    validate_steps: int = Field(500, ge=1)
    amp: bool = True  # bfloat16 where the device computes with it

    @model_validator(mode="after")
    def _check_end(self) -> "RunSettings":
        ends = [name for name in ENDS if getattr(self, name) is not None]
        if len(ends) != 1:
            raise ValueError(f"got {' and '.join(ends) or 'no end'} for the run, expected one of {', '.join(ENDS)}")
        return self


def layered(
    began: Mapping[str, Any], config_path: Path | None, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run began with and a TOML file, the second above the first; and what was given. None is not given.

    A given end takes the place of theirs.
    """
    fields = {**began, **(read_toml(config_path) if config_path else {})}
    said = {name: value for name, value in given.items() if value is not None}
    if said.keys() & set(ENDS):
        fields = {name: value for name, value in fields.items() if name not in ENDS}
    return fields, said


def named(error: ValidationError) -> BadSetting:
    """A validation's first error as one of ours, naming the setting."""
    first = error.errors()[0]
    name, reason = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return BadSetting(f"got no {name}, expected it as --{name.replace('_', '-')} or in the config")
    if not name:  # what several settings say together
        return BadSetting(reason if reason.startswith("got ") else f"got settings that do not fit together: {reason}")
    reason = re.sub("^: Input should be ", ", expected ", f": {reason}")
    return BadSetting(f"got {name} = {str(first['input'])[:60]!r}{reason}")


def read_toml(path: Path) -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:
        raise BadSetting("got --config under Python 3.10, which cannot read TOML, expected 3.11 or newer") from None
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSetting(f"got a config {path.name} that cannot be read ({error}), expected TOML") from None


def to_toml(settings: RunSettings) -> str:
    """What `read_toml` reads back: the settings, then those of the model, where it has some."""
    fields = settings.model_dump(mode="json", exclude_none=True)
    model = fields.pop("model", {})
    of_model = ["\n[model]\n", *map(_toml_line, model.items())] if model else []
    return "".join([*map(_toml_line, fields.items()), *of_model])


def _toml_line(item: tuple[str, Any]) -> str:
    name, value = item
    # numbers, booleans, words and lists of them are written alike, but that TOML has no pairs of surrogates
    return f"{name} = {json.dumps(value, ensure_ascii=False)}\n"
