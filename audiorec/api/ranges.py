"""A part of a file as an HTTP answer (RFC 9110, section 14), so that players can seek and downloads go on."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from audiorec.api.heads import is_head
from audiorec.errors import NoSuchPart
from audiorec.quoting import quoted

BLOCK_BYTES = 2**18
SPAN = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def span_of(header: str, n_bytes: int) -> tuple[int, int] | None:
    """(first byte, the one after the last), None for all of it. Raises NoSuchPart.

    Several spans, and what is no span, are answered with the whole file, as the RFC allows.
    """
    found = SPAN.fullmatch(header.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        n_last = int(found[2])
        if not n_last or not n_bytes:
            raise _no_such_part(header, n_bytes)
        return max(0, n_bytes - n_last), n_bytes
    first, end = int(found[1]), min(int(found[2]) + 1, n_bytes) if found[2] else n_bytes
    if found[2] and int(found[2]) < first:
        return None
    if first >= n_bytes:
        raise _no_such_part(header, n_bytes)
    return first, end


def _no_such_part(header: str, n_bytes: int) -> NoSuchPart:
    return NoSuchPart(
        f"got the range {quoted(header)}, expected one that begins before the end of {n_bytes:,} bytes", n_bytes=n_bytes
    )


def answer(request: Request, file: BinaryIO, n_bytes: int, *, tag: str, headers: dict[str, str]) -> Response:
    """The file, or the part that was asked for, read as it is sent. tag: of the content, which never changes.

    headers: of the answer, with its content type. Closes the file. Raises NoSuchPart.
    """
    headers = {**headers, "Accept-Ranges": "bytes", "ETag": f'"{tag}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        file.close()
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range", "")
    if request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        wanted = ""
    try:
        span = span_of(wanted, n_bytes)
    except NoSuchPart:
        file.close()
        raise
    first, end = span or (0, n_bytes)
    headers["Content-Length"] = str(end - first)
    if span is not None:
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{n_bytes}"
    status = 206 if span else 200
    if is_head(request):
        file.close()
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_blocks(file, first, end), status, headers)


def _blocks(file: BinaryIO, first: int, end: int) -> Iterator[bytes]:
    """In threads: starlette sees to that."""
    with file:
        file.seek(first)
        while first < end and (block := file.read(min(BLOCK_BYTES, end - first))):
            yield block
            first += len(block)
