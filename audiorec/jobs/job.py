"""A job: a sound that somebody has asked for, and what has become of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from audiorec.generate.prompt import Prompt
from audiorec.release import Release

State = Literal["queued", "running", "finished", "failed", "cancelled"]
Stage = Literal["", "generate", "store", "recommend"]
ENDED: tuple[State, ...] = ("finished", "failed", "cancelled")
N_ATTEMPTS = 2  # a job whose process died is tried once more


class Wishes(BaseModel):
    """Which clips are to be recommended for the sound: as in a query to `Nearest`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int
    filter: dict[str, Any] | None = None
    max_per_artist: int | None = None

    def as_key(self) -> str:
        """Equal texts: equal wishes."""
        return json.dumps(self.model_dump(), sort_keys=True)


@dataclass(frozen=True)
class Caller:
    """Who asks. owner: who may see what he asks for; empty is whoever knows a job's id. counted_as: for limits."""

    owner: str
    counted_as: str


class Outcome(BaseModel):
    """What a finished job holds beside its sound.

    generator: the model's facts. took_s: seconds by stage. recommendations: as `audiorec.generate.recommend` gives
    them; None where `trouble` says why there are none.
    """

    model_config = ConfigDict(frozen=True)

    generator: dict[str, Any]
    duration_s: float
    sample_rate_hz: int
    n_channels: int
    is_shared: bool  # it was there already
    seed: int | None  # the one that was drawn where none was asked for
    took_s: dict[str, float]
    release: str
    release_id: str  # tells it from another of that name
    recommendations: dict[str, Any] | None
    trouble: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """As it was at `now_s`. Times are Unix times."""

    number: int
    id: str
    owner: str
    state: State
    prompt: Prompt
    wishes: Wishes
    sound: str | None
    asked_s: float
    begun_s: float | None
    ended_s: float | None
    now_s: float
    stage: Stage
    step: int
    n_steps: int
    attempt: int
    is_cancelled: bool
    error_code: str | None
    error_message: str | None
    outcome: Outcome | None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    def is_of(self, release_id: str) -> bool:
        """Whether its recommendations are of a release."""
        return self.outcome is not None and self.outcome.release_id == release_id and self.outcome.trouble is None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Job":
        """row: of the table, with `now_s`."""
        known = {name: row[name] for name in cls.__dataclass_fields__ if name not in ("prompt", "wishes", "outcome")}
        return cls(
            prompt=Prompt.model_validate_json(row["prompt"]),
            wishes=Wishes.model_validate_json(row["wishes"]),
            outcome=Outcome.model_validate_json(row["outcome"]) if row["outcome"] else None,
            **known,
        )


def release_id(release: Release) -> str:
    """Tells it from another of the same name, in another model directory or after a prune."""
    return f"{release.name} {release.manifest.created_at}"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a job, for as long as it is renewed."""

    number: int
    maker: str
    attempt: int
