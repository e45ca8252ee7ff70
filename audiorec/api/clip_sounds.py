"""The route of a clip's own sound."""

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from audiorec.api import ranges
from audiorec.api.clip_files import MEDIA_TYPES
from audiorec.api.routes import PlainRoute, clip, opened_of
from audiorec.api.schemas import Failure
from audiorec.api.service import service_of
from audiorec.errors import MissingSound

SOUND_PATH = "/clips/{clip_id}/sound"
SUFFIX = "/sound"
NOT_CONFIGURED = "got a request for a clip's sound, expected a service that was told their folder: --clips-dir DIR"
CONTENT = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES.values()}

router = APIRouter(
    route_class=PlainRoute, responses={"default": {"model": Failure, "description": "any error, in one shape"}}
)


@router.get(
    "/clips/{clip_id:clip_id}/sound",
    tags=["catalogue"],
    summary="The sound of a clip",
    response_class=Response,
    responses={
        200: {"description": "the file; 206 for a part of it, by a Range header", "content": CONTENT},
        206: {"description": "a part of it", "content": CONTENT},
        304: {"description": "whoever asks has it already"},
        416: {"model": Failure, "description": "a part that begins after its end"},
    },
)
async def clip_sound(request: Request, clip_id: str) -> Response:
    """The file that it was made from, as it is, where the service was given the folder of those (`has_sounds` of
    /model); else, and where the file is not there any more, 404."""
    metadata = opened_of(request).release.metadata
    if metadata.find(clip_id) is None and metadata.find(clip_id + SUFFIX) is not None:
        return await clip(request, clip_id + SUFFIX)  # of an id that ends so, what is known of it
    metadata.row_of(clip_id)
    files = service_of(request.app).clip_files
    if files is None:
        raise MissingSound(NOT_CONFIGURED, code="sounds_not_configured")
    sound = await run_in_threadpool(files.open, clip_id)
    headers = {
        "Content-Type": sound.media_type,
        "Content-Disposition": "inline",
        "Cache-Control": "private, no-cache",  # the file may change while the release does not
    }
    return ranges.answer(request, sound.file, sound.n_bytes, tag=sound.tag, headers=headers)
