"""The routes of the service. Each parses, asks the service, and writes the answer; nothing else happens here."""

from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.responses import Response

from audiorec.api.bodies import JSON_TYPE, media_type, parse_options, read_json, read_sound, validated
from audiorec.api.errors import error_facts
from audiorec.api.opened import ASKED, Opened
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
from audiorec.api.scrape import scrape
from audiorec.api.security import documentation
from audiorec.api.service import service_of
from audiorec.api.stages import stage
from audiorec.api.text_jobs import Found
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


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(value), status, headers, media_type="application/json")


@router.post("/nearest", response_model=Answer, tags=["search"], summary="The clips nearest to anything")
async def nearest(request: Request) -> Response:
    """Ask by `embedding`, `clip_id` or `text` in JSON, or by a sound: the field `file` of a form, or the body itself.

    With a sound the options stand in the query string.
    """
    start = perf_counter()
    opened = opened_of(request)
    if media_type(request) == JSON_TYPE:
        query = await read_json(request, NearestQuery, opened.settings.max_json_bytes)
        if opened.asked(query) == "text":
            neighbours = await _answer_text(request, opened, query)
        else:
            neighbours = await opened.answer(query)
        return json_response(_answer(neighbours, _facts(query), opened, start))
    options = validated(Options, parse_options(request.query_params))
    opened.check(options)
    embedding = await embedding_of(request, opened)
    neighbours = await opened.answer_vector(embedding.vector, options)
    return json_response(_answer(neighbours, sound_facts(embedding), opened, start))


@router.post("/nearest/batch", response_model=BatchAnswer, tags=["search"], summary="Many queries at once")
async def nearest_batch(request: Request) -> Response:
    """Each query as in JSON to `/nearest`. One that is wrong gets its error in its place; the others are answered."""
    opened = opened_of(request)
    batch = await read_json(request, Batch, opened.settings.max_json_bytes)
    if len(batch.queries) > opened.settings.max_batch:
        raise BadQuery(f"got {len(batch.queries)} queries, expected at most {opened.settings.max_batch}: send several")
    found = await _found_for(request, opened, batch.queries)
    answers = await run_in_threadpool(_answer_all, request, opened, batch.queries, found)
    return Response(answers, media_type="application/json")


def _answer_all(request: Request, opened: Opened, queries: list[Any], found: dict[int, Found]) -> bytes:
    answers = [_answer_one(request, opened, query, found.get(place)) for place, query in enumerate(queries)]
    return to_json({"answers": answers})


def _answer_one(request: Request, opened: Opened, fields: Any, found: Found | None) -> dict[str, Any]:
    start = perf_counter()
    try:
        query = validated(NearestQuery, fields)
        return _answer(opened.ask(query, found), _facts(query), opened, start)
    except AudiorecError as error:
        return error_facts(request, error.code, error.message)


@router.post("/embed", response_model=EmbeddingAnswer, tags=["search"], summary="The vector of a sound")
async def embed(request: Request) -> Response:
    """A sound as in `/nearest`, to the vector that `/nearest` takes as `embedding`."""
    start = perf_counter()
    opened = opened_of(request)
    embedding = await embedding_of(request, opened)
    answer = {"embedding": embedding.vector.tolist(), **rest(sound_facts(embedding), opened, start)}
    return json_response(answer)


@router.get(
    "/clips/{clip_id:clip_id}", response_model=ClipAnswer, tags=["catalogue"], summary="What is known of a clip"
)
async def clip(request: Request, clip_id: str) -> Response:
    """A clip id may hold slashes; other signs that URLs give a meaning (? # %) are to be percent-encoded."""
    release = opened_of(request).release
    row = release.metadata.row_of(clip_id)
    (known,) = release.rows([row])
    return json_response({"clip": known, "release": release.name})


@router.get("/health", response_model=Health, tags=["operation"], summary="Whether a query is answered")
async def health(request: Request) -> Response:
    """Searches the open release for one of its own clips. Answers while uploads and batches fill the worker."""
    start = perf_counter()
    opened = opened_of(request)
    await opened.health.check()
    return json_response({"status": "ok", "release": opened.release.name, "took_ms": _took_ms(start)})


@router.get("/ready", response_model=Readiness, tags=["operation"], summary="Whether requests should be sent here")
async def ready(request: Request) -> Response:
    """503 before a release is open and while the service stops. A newer release that is refused does no harm."""
    service = service_of(request.app)
    refusal = service.follower.refusal
    return json_response({"status": "ready", "release": service.opened.release.name, "refused_release": refusal})


@router.get("/model", response_model=Model, tags=["catalogue"], summary="The open release")
async def model(request: Request) -> Response:
    """Encoder, index, catalogue and evaluation, as the release's manifest has them."""
    service = service_of(request.app)
    release = service.opened.release
    described = release.manifest.model_dump(exclude={"files", "build_key", "format_version"})
    names = {"release": release.name, "refused_release": service.follower.refusal}
    generator = service.generating and await service.generating.described()
    columns = {"columns": release.metadata.columns, "numeric_columns": release.metadata.numeric_columns}
    known = {"generator": generator, "has_sounds": service.clip_files is not None}
    return json_response({**names, **columns, **known, **described})


@router.get("/metrics", tags=["operation"], summary="Prometheus metrics", response_class=Response)
async def prometheus(request: Request) -> Response:
    """Of all workers together, when they share a PROMETHEUS_MULTIPROC_DIR, as under `audiorec serve`."""
    generating = service_of(request.app).generating
    text, content_type = await scrape(generating.metrics if generating else None)
    return Response(text, media_type=content_type)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    return documentation(request.app.title, request.scope.get("root_path", ""))


def opened_of(request: Request) -> Opened:
    """The release that a request works on from its beginning to its end; the log names it."""
    opened = service_of(request.app).opened
    request.state.release = opened.release.name
    return opened


async def embedding_of(request: Request, opened: Opened) -> Embedding:
    """Of the sound that a request brings. Raises BadAudio, BadQuery, Overloaded, UnsupportedBody."""
    with stage("read") as reading:
        sound = await read_sound(request)
        reading.set(bytes=len(sound))
    return await service_of(request.app).uploads.embed(sound, opened.release, request.is_disconnected)


async def _answer_text(request: Request, opened: Opened, query: NearestQuery) -> Neighbours:
    opened.check(query)
    (vector,) = await _found(request, opened, [query.text or ""])
    if isinstance(vector, BadQuery):
        raise vector
    return await opened.answer_vector(vector, query)


async def _found_for(request: Request, opened: Opened, queries: list[Any]) -> dict[int, Found]:
    """What becomes of the texts in a batch, by their places in it."""
    texts = {place: query["text"] for place, query in enumerate(queries) if _asks_by_text(query)}
    if not texts or not opened.release.has_text:
        return {}
    return dict(zip(texts, await _found(request, opened, list(texts.values())), strict=True))


def _asks_by_text(fields: Any) -> bool:
    """And by nothing else. It may still be wrong in other ways."""
    is_text = isinstance(fields, dict) and isinstance(fields.get("text"), str)
    return is_text and fields.get("embedding") is None and fields.get("clip_id") is None


async def _found(request: Request, opened: Opened, texts: list[str]) -> list[Found]:
    return await service_of(request.app).texts.embed(texts, opened.release, request.is_disconnected)


def _facts(query: NearestQuery) -> dict[str, Any]:
    return {"kind": next(name for name in ASKED if getattr(query, name) is not None)}


def sound_facts(embedding: Embedding) -> dict[str, Any]:
    """What an answer says of a sound that was asked by."""
    n_windows = len(embedding.window_vectors)
    return {"kind": "sound", "n_windows": n_windows, "duration_s": round(embedding.duration_s, 4)}


def _answer(neighbours: Neighbours, facts: dict[str, Any], opened: Opened, start: float) -> dict[str, Any]:
    return {"results": neighbours.to_dicts(), **rest(facts, opened, start)}


def rest(facts: dict[str, Any], opened: Opened, start: float) -> dict[str, Any]:
    """What every answer to a query ends with. start: of `perf_counter`."""
    return {"query": facts, "release": opened.release.name, "took_ms": _took_ms(start)}


def _took_ms(start: float) -> float:
    return round((perf_counter() - start) * 1e3, 3)
