"""The body of a response with its Content-Encoding undone, in pieces that stay small whatever they expand to."""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator

from audiorec.crawl.failures import CrawlFailure

BLOCK_BYTES = 2**16
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


async def decoded(blocks: AsyncIterator[bytes], encoding: str) -> AsyncGenerator[bytes, None]:
    """Yields at most BLOCK_BYTES at a time, so that a caller who counts can stop a bomb. Raises CrawlFailure."""
    if encoding in {"", "identity"}:
        async for block in blocks:
            yield block
        return
    if encoding not in _WINDOW_BITS:
        raise CrawlFailure(f"got the encoding {encoding[:40]!r}, expected gzip, deflate or none", code="bad_encoding")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        async for block in blocks:
            while block:
                if piece := inflater.decompress(block, BLOCK_BYTES):
                    yield piece
                block = inflater.unconsumed_tail
    except zlib.error as error:
        raise CrawlFailure(f"got a body that is not the {encoding} it says ({error})", code="bad_encoding") from None
    if not inflater.eof:
        raise CrawlFailure(
            "got a compressed body that breaks off, expected a whole one", code="cut_off", transient=True
        )
