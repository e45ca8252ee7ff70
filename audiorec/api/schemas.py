"""The shapes of requests and answers, as JSON has them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from audiorec.nearest import DEFAULT_K

FiniteNumber = Annotated[float, Field(allow_inf_nan=False)]
MAX_DIMENSIONS = 65_536
PREDICTED = "what the release's classifier says, whatever the label is; only in a release that has one"


class Options(BaseModel):
    """What narrows and sizes an answer. `k`, as the others, may stand in the query string as well."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    k: int = Field(DEFAULT_K, description="how many neighbours")
    filter: dict[str, Any] | None = Field(
        None,
        description="conditions on columns, all must hold: a value, a list of values, "
        '{"not": value or list}, {"gte": 1, "lt": 10}',
    )
    exclude: list[str] = Field([], fail_fast=True, description="clip ids to leave out")
    max_per_artist: int | None = Field(None, ge=1, description="at most so many clips by one artist")


class NearestQuery(Options):
    """Exactly one of embedding, clip_id and text; and options."""

    embedding: list[FiniteNumber] | None = Field(
        None,
        max_length=MAX_DIMENSIONS,
        fail_fast=True,
        description="a vector of this release's dimension, of any length but zero",
    )
    clip_id: str | None = Field(None, description="a clip of the catalogue; it is left out of its own answer")
    text: str | None = Field(None, description="what to look for, in words, where the release has a text encoder")


class Batch(BaseModel):
    """Many queries at once: each is answered, or refused, on its own."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    queries: list[Any] = Field(min_length=1, description="queries as POST /nearest takes them")


class Result(BaseModel):
    """A clip of an answer."""

    rank: int = Field(description="1 is nearest")
    clip_id: str
    similarity: float = Field(description="the cosine, 1 = same")
    distance: float = Field(description="sqrt(2 - 2 cosine), 0 = same")
    url: str
    title: str
    artist: str
    label: str
    metadata: dict[str, Any] = Field(description="the other columns of metadata.tsv, the person's own among them")
    predicted_label: str | None = Field(None, description=PREDICTED)


class QueryFacts(BaseModel):
    """What was asked. The last two only for a sound."""

    kind: str = Field(description="embedding, clip_id, text or sound")
    n_windows: int | None = None
    duration_s: float | None = None


class Answer(BaseModel):
    results: list[Result]
    query: QueryFacts
    release: str = Field(description="the release that answered")
    took_ms: float


class ErrorFacts(BaseModel):
    code: str = Field(description="stable, for programs")
    message: str = Field(description="what was got, what was expected, what to do")
    request_id: str = Field(description="the same as in the header X-Request-Id and in the log")


class Failure(BaseModel):
    """The one shape of every error."""

    error: ErrorFacts


class BatchAnswer(BaseModel):
    answers: list[Answer | Failure]


class EmbeddingAnswer(BaseModel):
    embedding: list[float] = Field(description="unit norm, of the release's dimension")
    query: QueryFacts
    release: str
    took_ms: float


class Clip(BaseModel):
    clip_id: str
    url: str
    title: str
    artist: str
    label: str
    metadata: dict[str, Any]
    predicted_label: str | None = Field(None, description=PREDICTED)


class ClipAnswer(BaseModel):
    clip: Clip
    release: str


class Health(BaseModel):
    status: str
    release: str
    took_ms: float = Field(description="of one query on the open release")


class RefusedRelease(BaseModel):
    """What the model directory's `current` leads to, and why this worker goes on with the release before it."""

    release: str
    reason: str = Field(description="what was got, what was expected, what to do")


class Readiness(BaseModel):
    status: str
    release: str
    refused_release: RefusedRelease | None


class Model(BaseModel):
    """The open release, as its manifest describes it."""

    release: str
    refused_release: RefusedRelease | None
    created_at: str
    encoder: dict[str, Any]
    index: dict[str, Any]
    catalogue: dict[str, Any]
    evaluation: dict[str, Any]
    columns: list[str] = Field(description="what `filter` can name")
    numeric_columns: list[str] = Field(description="those of them that hold numbers; the others hold text")
    has_sounds: bool = Field(description="whether GET /clips/{clip_id}/sound has the clips' own files")
    made_with: dict[str, Any]
    generator: dict[str, Any] | None = Field(description="what makes sounds here: licence and limits; none: nothing")
