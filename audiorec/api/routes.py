"""The routes of the service. Each parses, asks the service, and writes the answer; nothing else happens here."""

from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.responses import RedirectResponse, Response

from audiorec.api import metrics
from audiorec.api.bodies import JSON_TYPE, media_type, parse_options, read_json, read_sound, validated
from audiorec.api.errors import error_facts
from audiorec.api.schemas import (
    Answer,
    Batch,
    BatchAnswer,
    ClipAnswer,
    EmbeddingAnswer,
    Failure,
    Health,
    Model,
    NearestQuery,
    Options,
    Readiness,
)
from audiorec.api.service import Service, service_of
from audiorec.embed import Embedding
from audiorec.errors import AudiorecError, BadQuery
from audiorec.nearest import Neighbours


class ClipIdConvertor(PathConvertor):
    """Starlette's `path` for ids of any text: its pattern ends at a newline."""

    regex = r"[\s\S]*"


class PlainRoute(APIRoute):
    """Hands the request to the endpoint as it is: FastAPI's own search for parameters is a tenth of a quick query."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        if self.dependant.path_params:
            return super().get_route_handler()
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


register_url_convertor("clip_id", ClipIdConvertor())
router = APIRouter(
    route_class=PlainRoute, responses={"default": {"model": Failure, "description": "any error, in one shape"}}
)


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")


@router.post("/nearest", response_model=Answer, tags=["search"], summary="The clips nearest to anything")
async def nearest(request: Request) -> Response:
    """Ask by `embedding` or `clip_id` in JSON, or by a sound: the field `file` of a form, or the body itself.

    With a sound the options stand in the query string.
    """
    start = perf_counter()
    service = service_of(request.app)
    if media_type(request) == JSON_TYPE:
        query = await read_json(request, NearestQuery, service.settings.max_json_bytes)
        neighbours = await service.answer(query)
        return _json(_answer(neighbours, _facts(query), service, start))
    options = validated(Options, parse_options(request.query_params))
    service.check(options)
    embedding = await _embedding(request, service)
    neighbours = await service.answer_vector(embedding.vector, options)
    return _json(_answer(neighbours, _sound_facts(embedding), service, start))


@router.post("/nearest/batch", response_model=BatchAnswer, tags=["search"], summary="Many queries at once")
async def nearest_batch(request: Request) -> Response:
    """Each query as in JSON to `/nearest`. One that is wrong gets its error in its place; the others are answered."""
    service = service_of(request.app)
    batch = await read_json(request, Batch, service.settings.max_json_bytes)
    if len(batch.queries) > service.settings.max_batch:
        raise BadQuery(f"got {len(batch.queries)} queries, expected at most {service.settings.max_batch}: send several")
    return Response(await run_in_threadpool(_answer_all, request, batch.queries), media_type="application/json")


def _answer_all(request: Request, queries: list[Any]) -> bytes:
    return to_json({"answers": [_answer_one(request, query) for query in queries]})


def _answer_one(request: Request, fields: Any) -> dict[str, Any]:
    start = perf_counter()
    service = service_of(request.app)
    try:
        query = validated(NearestQuery, fields)
        return _answer(service.ask(query), _facts(query), service, start)
    except AudiorecError as error:
        return error_facts(request, error.code, error.message)


@router.post("/embed", response_model=EmbeddingAnswer, tags=["search"], summary="The vector of a sound")
async def embed(request: Request) -> Response:
    """A sound as in `/nearest`, to the vector that `/nearest` takes as `embedding`."""
    start = perf_counter()
    service = service_of(request.app)
    embedding = await _embedding(request, service)
    answer = {"embedding": embedding.vector.tolist(), **_rest(_sound_facts(embedding), service, start)}
    return _json(answer)


@router.get(
    "/clips/{clip_id:clip_id}", response_model=ClipAnswer, tags=["catalogue"], summary="What is known of a clip"
)
async def clip(request: Request, clip_id: str) -> Response:
    """A clip id may hold slashes; other signs that URLs give a meaning (? # %) are to be percent-encoded."""
    release = service_of(request.app).nearest.release
    row = release.metadata.row_of(clip_id)
    return _json({"clip": release.metadata.row(row), "release": release.name})


@router.get("/health", response_model=Health, tags=["operation"], summary="Whether a query is answered")
async def health(request: Request) -> Response:
    """Searches the open release for one of its own clips."""
    start = perf_counter()
    service = service_of(request.app)
    release = service.nearest.release
    await service.answer_vector(release.embeddings[0], Options(k=1))
    return _json({"status": "ok", "release": release.name, "took_ms": _took_ms(start)})


@router.get("/ready", response_model=Readiness, tags=["operation"], summary="Whether requests should be sent here")
async def ready(request: Request) -> Response:
    """503 before a release is open and while the service stops."""
    return _json({"status": "ready", "release": service_of(request.app).nearest.release.name})


@router.get("/model", response_model=Model, tags=["catalogue"], summary="The open release")
async def model(request: Request) -> Response:
    """Encoder, index, catalogue and evaluation, as the release's manifest has them."""
    release = service_of(request.app).nearest.release
    described = release.manifest.model_dump(exclude={"files", "build_key", "format_version"})
    return _json({"release": release.name, "columns": release.metadata.columns, **described})


@router.get("/metrics", tags=["operation"], summary="Prometheus metrics", response_class=Response)
async def prometheus(request: Request) -> Response:
    """Of all workers together, when they share a PROMETHEUS_MULTIPROC_DIR, as under `audiorec serve`."""
    text, content_type = await run_in_threadpool(metrics.exposition)
    return Response(text, media_type=content_type)


@router.get("/", include_in_schema=False)
async def root(request: Request) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


async def _embedding(request: Request, service: Service) -> Embedding:
    release = service.nearest.release
    sound = await read_sound(request)
    return await service.uploads.embed(sound, release, request.is_disconnected)


def _facts(query: NearestQuery) -> dict[str, Any]:
    return {"kind": "embedding" if query.embedding is not None else "clip_id"}


def _sound_facts(embedding: Embedding) -> dict[str, Any]:
    n_windows = len(embedding.window_vectors)
    return {"kind": "sound", "n_windows": n_windows, "duration_s": round(embedding.duration_s, 4)}


def _answer(neighbours: Neighbours, facts: dict[str, Any], service: Service, start: float) -> dict[str, Any]:
    return {"results": neighbours.to_dicts(), **_rest(facts, service, start)}


def _rest(facts: dict[str, Any], service: Service, start: float) -> dict[str, Any]:
    return {"query": facts, "release": service.nearest.release.name, "took_ms": _took_ms(start)}


def _took_ms(start: float) -> float:
    return round((perf_counter() - start) * 1e3, 3)
