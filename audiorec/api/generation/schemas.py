"""The shapes of requests for sounds, and of jobs, as JSON has them."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from audiorec.api.schemas import Result
from audiorec.generate.prompt import Prompt
from audiorec.jobs.job import State
from audiorec.nearest import DEFAULT_K


class GenerateQuery(Prompt):
    """A sound in words, how it is to be made, and which clips are wanted for it."""

    k: int = Field(DEFAULT_K, description="how many clips nearest to the sound")
    filter: dict[str, Any] | None = Field(None, description="conditions on their columns, as in /nearest")
    max_per_artist: int | None = Field(None, ge=1, description="at most so many of them by one artist")

    def to_prompt(self) -> Prompt:
        return Prompt.model_construct(**{name: getattr(self, name) for name in Prompt.model_fields})


class Asked(Prompt):
    """What was asked for; from when the sound is made, with the model's own values where nothing was said."""

    k: int
    filter: dict[str, Any] | None
    max_per_artist: int | None


class Progress(BaseModel):
    stage: Literal["generate", "store", "recommend"] | None = Field(description="none while it waits")
    step: int = Field(description="steps done")
    n_steps: int | None = Field(description="steps in all, where that is known")


class JobError(BaseModel):
    code: str = Field(description="stable, for programs")
    message: str = Field(description="what was got, what was expected, what to do")


class GeneratorFacts(BaseModel):
    """The model that made the sound."""

    name: str
    kind: str
    licence: str = Field(description="of its weights, and with it of what may be done with the sound")
    fingerprint: str


class SoundFacts(BaseModel):
    url: str = Field(description="WAV; FLAC, MP3 and Opus by ?format=flac, mp3, opus")
    duration_s: float
    sample_rate_hz: int
    n_channels: int
    seed: int | None = Field(description="with it, the same request gives the same sound again")
    is_shared: bool = Field(description="whether it was there already, since somebody asked for the same")


class Recommendations(BaseModel):
    """The clips nearest to the sound, and where the release has a text encoder, those nearest to the words."""

    results: list[Result] = Field(description="nearest to the sound, as in /nearest")
    by_prompt: list[Result] | None = Field(description="nearest to the prompt itself; none without a text encoder")
    agreed: list[str] | None = Field(description="the ids that are in both")
    release: str


class JobAnswer(BaseModel):
    id: str
    state: State
    is_cancelling: bool = Field(description="it was cancelled, and ends after the step that is under way")
    request: Asked
    asked_at: str
    begun_at: str | None
    ended_at: str | None
    progress: Progress
    place_in_queue: int | None = Field(description="how many are before it; none once it is begun")
    time_left_s: float | None = Field(description="as far as can be told by the last jobs and its own steps")
    attempt: int = Field(description="2 when the process died that had begun it")
    error: JobError | None
    sound: SoundFacts | None = Field(description="of a finished job")
    generator: GeneratorFacts | None
    recommendations: Recommendations | None
    recommendations_error: JobError | None = Field(description="why a finished job has none")
    took_s: dict[str, float] = Field(description="seconds by stage")


class GeneratorAnswer(BaseModel):
    """What makes sounds here."""

    state: Literal["ready", "starting", "broken", "unavailable"]
    facts: dict[str, Any] | None = Field(description="its name, class, licence and limits, once they are known")
    limits: dict[str, float] = Field(description="what this service allows")
