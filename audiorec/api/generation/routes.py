"""The routes of sounds that are made. Each parses, asks, and writes the answer; nothing else happens here."""

import math
from typing import TYPE_CHECKING, get_args

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from audiorec.api import ranges
from audiorec.api.bodies import read_json, shown
from audiorec.api.generation.callers import caller_of
from audiorec.api.generation.schemas import GenerateQuery, JobAnswer
from audiorec.api.heads import is_head
from audiorec.api.routes import PlainRoute, json_response, opened_of
from audiorec.api.schemas import Failure, Options
from audiorec.api.service import service_of
from audiorec.errors import BadQuery, NoGenerator, WrongState
from audiorec.generate.sound import FORMATS
from audiorec.jobs.job import Job, State, Wishes, release_id

if TYPE_CHECKING:  # with SQLAlchemy, which only those services import that have jobs
    from audiorec.api.generation.generating import Generating

BINARY = {"schema": {"type": "string", "format": "binary"}}
EVENT = {  # as OpenAPI 3.2 (4.14.4) describes a server-sent one
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string", "enum": list(get_args(State))},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobAnswer"},
        },
    },
}
MAX_WAIT_S = 60.0  # proxies lose patience then
RETRY_S = 1
NOT_CONFIGURED = (
    "got a request for a sound, expected a service that was given a model to make it with:\n"
    "export AUDIOREC_GENERATOR_MODEL=DIR_OR_HUB_ID\n"
    "audiorec serve MODEL_DIR"
)
router = APIRouter(
    route_class=PlainRoute,
    tags=["generation"],
    responses={"default": {"model": Failure, "description": "any error, in one shape"}},
)


def generating_of(request: Request) -> "Generating":
    """Raises NoGenerator."""
    generating = service_of(request.app).generating
    if generating is None:
        raise NoGenerator(NOT_CONFIGURED)
    return generating


@router.post(
    "/generate",
    response_model=JobAnswer,
    status_code=202,
    summary="Make a sound from words, and find the clips nearest to it",
    responses={200: {"model": JobAnswer, "description": "it has ended already, or within `wait`"}},
)
async def generate(request: Request) -> Response:
    """A job, which makes the sound later: ask for it where `Location` says, or follow its events.

    With a `seed`, equal requests give the same sound, which is made once. With `wait`, the answer comes when the job
    has ended, as 200, or as 202 after so many seconds; whoever leaves before has cancelled it. Without API keys, a
    header X-Caller-Token of your own keeps others from the job who know its id.
    """
    generating = generating_of(request)
    wait_s = _wait_s(request)
    query = await read_json(request, GenerateQuery, generating.settings.max_json_bytes, own_parameters=("wait",))
    opened = opened_of(request)
    opened.check(Options(k=query.k, filter=query.filter, max_per_artist=query.max_per_artist))
    caller = caller_of(request)
    wishes = Wishes(k=query.k, filter=query.filter, max_per_artist=query.max_per_artist)
    job = await generating.submit(query.to_prompt(), wishes, caller, release_id(opened.release))
    if wait_s and not job.has_ended:

        async def is_over() -> bool:
            return is_stopping(request) or await request.is_disconnected()

        job = await generating.wait(job, wait_s, is_over)
        if not job.has_ended and await request.is_disconnected():  # nobody was told its id
            job = await generating.cancel(job.id, caller)
    return await _answer(request, generating, job, 200 if job.has_ended else 202)


@router.get("/jobs/{job_id}", response_model=JobAnswer, summary="A job: how far it is, and what has become of it")
async def job(request: Request, job_id: str) -> Response:
    """State, steps, place in the queue and time left; of one that has finished, the clips nearest to the sound."""
    generating = generating_of(request)
    return await _answer(request, generating, await generating.find(job_id, caller_of(request)), 200)


@router.delete(
    "/jobs/{job_id}",
    response_model=JobAnswer,
    summary="Cancel a job",
    responses={202: {"model": JobAnswer, "description": "it ends after the step that is under way"}},
)
async def cancel(request: Request, job_id: str) -> Response:
    """One that waits is cancelled at once, one that is being made between two steps. Twice is as good as once."""
    generating = generating_of(request)
    job = await generating.cancel(job_id, caller_of(request))
    return await _answer(request, generating, job, 200 if job.has_ended else 202)


@router.get(
    "/jobs/{job_id}/events",
    summary="A job's changes as they happen",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {"itemSchema": EVENT}}},
        204: {"description": "whoever asks has had the last event already"},
    },
)
async def events(request: Request, job_id: str) -> Response:
    """Server-sent events, each named by the state of the job and with the job as its data; they end when it ends."""
    from audiorec.api.generation.events import LAST_ID
    from audiorec.api.generation.events import events as stream

    generating = generating_of(request)
    job = await generating.find(job_id, caller_of(request))
    if request.headers.get("last-event-id") == LAST_ID:  # a browser would connect again for ever
        return Response(status_code=204)
    told = stream(generating.watch, job, _prefix(request), lambda: is_head(request) or is_stopping(request))
    return StreamingResponse(
        told, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


@router.get(
    "/jobs/{job_id}/audio",
    summary="The sound of a finished job",
    response_class=Response,
    responses={
        200: {
            "description": "the sound; 206 for a part of it, by a Range header",
            "content": {form.media_type: BINARY for form in FORMATS.values()},
        },
        206: {"description": "a part of it", "content": {form.media_type: BINARY for form in FORMATS.values()}},
        304: {"description": "whoever asks has it already"},
        416: {"model": Failure, "description": "a part that begins after its end"},
    },
)
async def audio(request: Request, job_id: str) -> Response:
    """WAV unless `format` says flac, mp3 or opus. 409 before the job has finished, 410 when the sound is deleted."""
    from audiorec.api.generation.audio import opened_sound

    generating = generating_of(request)
    kind = _format(request)
    job = await generating.find(job_id, caller_of(request))
    if job.state != "finished" or job.sound is None:
        raise _no_sound(job)
    key, places = job.sound, await generating.places()
    file, n_bytes = await generating.run(lambda: opened_sound(places.sounds, key, kind))
    headers = {
        "Content-Type": FORMATS[kind].media_type,
        "Content-Disposition": f'inline; filename="{job.id}.{kind}"',
        "Cache-Control": "private, max-age=3600, immutable",
    }
    return ranges.answer(request, file, n_bytes, tag=f"{key[:32]}-{kind}", headers=headers)


def is_stopping(request: Request) -> bool:
    """Whether the server has begun to stop: see `PatientProtocol`."""
    return bool(getattr(request.state, "is_stopping", False))


async def _answer(request: Request, generating: "Generating", job: Job, status: int) -> Response:
    from audiorec.api.generation.answers import job_answer

    paces = None if job.has_ended else await generating.paces()
    headers = {"Location": f"{_prefix(request)}/jobs/{job.id}", "Cache-Control": "no-store"}
    if not job.has_ended:
        headers["Retry-After"] = str(RETRY_S)
    return json_response(job_answer(job, paces, _prefix(request)), status, headers)


def _prefix(request: Request) -> str:
    return str(request.scope.get("root_path", ""))


def _wait_s(request: Request) -> float:
    values = request.query_params.getlist("wait")
    try:
        wait_s = float(values[0]) if len(set(values)) == 1 else 0.0 if not values else math.nan
    except ValueError:
        wait_s = math.nan
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise BadQuery(f"got wait = {shown(' and '.join(values))}, expected 0 to {MAX_WAIT_S:g} seconds")
    return wait_s


def _format(request: Request) -> str:
    values = set(request.query_params.getlist("format")) or {"wav"}
    kind = values.pop().lower()
    if values or kind not in FORMATS:
        raise BadQuery(f"got format = {shown(kind)}, expected one of {', '.join(FORMATS)}")
    return kind


def _no_sound(job: Job) -> WrongState:
    if not job.has_ended:
        return WrongState(f"got a job that is {job.state}, expected one that has finished: ask again when it has")
    why = f": {job.error_message}" if job.error_message else ""
    return WrongState(f"got a job that was {job.state}, expected one that has finished{why}", code=f"job_{job.state}")
