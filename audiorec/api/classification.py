"""The route that names the labels of a sound."""

from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from audiorec.api.bodies import JSON_TYPE, media_type, read_json
from audiorec.api.routes import PlainRoute, embedding_of, json_response, opened_of, rest, sound_facts
from audiorec.api.schemas import Failure, QueryFacts
from audiorec.classify import classifier_of, classify_clip, classify_embedding
from audiorec.errors import BadQuery

CLASSIFY_PATH = "/classify"

router = APIRouter(
    route_class=PlainRoute, responses={"default": {"model": Failure, "description": "any error, in one shape"}}
)


class ClassifyQuery(BaseModel):
    """A clip of the catalogue; a sound is sent as in /nearest."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    clip_id: str = Field(description="a clip of the catalogue")


class LabelScore(BaseModel):
    label: str
    score: float = Field(description="in [0, 1]; where a clip has one label, the sum of all is 1")


class ClassifyAnswer(BaseModel):
    predicted_label: str = Field(description="the likeliest; where a clip can have several, all from 0.5, joined by ;")
    labels: list[LabelScore] = Field(description="all that the classifier knows, the likeliest first")
    label: str | None = Field(None, description="what the catalogue itself says of the clip, for a clip of it")
    query: QueryFacts
    release: str = Field(description="the release that answered")
    took_ms: float


@router.post(CLASSIFY_PATH, response_model=ClassifyAnswer, tags=["search"], summary="The labels of a clip or a sound")
async def classify(request: Request) -> Response:
    """Ask by `clip_id` in JSON, or by a sound: the field `file` of a form, or the body itself.

    Of a long sound, the mean over its windows. 422 in a release whose encoder was not trained to tell labels apart.
    """
    start = perf_counter()
    opened = opened_of(request)
    classifier_of(opened.release)
    if media_type(request) == JSON_TYPE:
        query = await read_json(request, ClassifyQuery, opened.settings.max_json_bytes)
        label = opened.release.metadata.row(opened.release.metadata.row_of(query.clip_id))["label"]
        found = {**classify_clip(query.clip_id, opened.release).to_json(), "label": label}
        facts: dict[str, Any] = {"kind": "clip_id"}
    else:
        if request.query_params:
            raise BadQuery(f"got the parameter {next(iter(request.query_params))!r:.60}, expected none for /classify")
        embedding = await embedding_of(request, opened)
        found, facts = classify_embedding(embedding, opened.release).to_json(), sound_facts(embedding)
    return json_response({**found, **rest(facts, opened, start)})
