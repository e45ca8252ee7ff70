"""The page in the browser: a handful of files beside this one, which ask the service as any client does.

It shows nothing of the catalogue by itself, and so is open where the rest needs a key.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from audiorec.api.security import PAGE_PATH, POLICY

INDEX = "index.html"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "media-src 'self' blob: https: http:; require-trusted-types-for 'script'; trusted-types 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PERMISSIONS = "microphone=(self), camera=(), geolocation=()"
HEADERS = {POLICY.decode(): PAGE_POLICY, "Permissions-Policy": PERMISSIONS}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class PageFile:
    content: bytes
    media_type: str
    tag: str


@cache
def page_files() -> dict[str, PageFile]:
    """By name, read once."""
    found = {}
    for entry in files(__name__).iterdir():
        media_type = MEDIA_TYPES.get(entry.name[entry.name.rfind(".") :])
        if media_type is not None:
            content = entry.read_bytes()
            found[entry.name] = PageFile(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


@router.get("/")
async def page(request: Request) -> Response:
    return _answer(request, page_files()[INDEX], HEADERS)


@router.get(PAGE_PATH + "/{name}")
async def page_file(request: Request, name: str) -> Response:
    """What the page is made of, under its own name. Raises HTTPException for all else."""
    file = page_files().get(name)
    if file is None or name == INDEX:
        raise HTTPException(404)
    return _answer(request, file, {})


def _answer(request: Request, file: PageFile, headers: dict[str, str]) -> Response:
    """Kept by browsers, and asked for by its tag each time: a new version shows at once."""
    headers = {**headers, "ETag": file.tag, "Cache-Control": "no-cache"}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
