"""Files that are not on the web: on a disk here, or in an object store that fsspec knows."""

import asyncio
import threading
from typing import IO, Any, cast

import fsspec  # type: ignore[import-untyped,unused-ignore]

from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.http import OnBytes
from audiorec.crawl.item import Medium
from audiorec.crawl.parts import Part
from audiorec.crawl.sniff import HEAD_BYTES, refuse_text
from audiorec.errors import BadSetting
from audiorec.quoting import quoted

BLOCK_BYTES = 2**18
FAILURES: dict[type[Exception], str] = {
    FileNotFoundError: "not_found",
    IsADirectoryError: "not_found",
    PermissionError: "forbidden",
}


def file_system(url: str) -> tuple[Any, str]:
    """(the fsspec file system, the path in it). Raises BadSetting for a kind of store that is not installed."""
    try:
        files, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise BadSetting(f"got {quoted(url)}, expected a store that fsspec can open here ({error})") from None
    return files, path


def is_local(locator: str) -> bool:
    return locator.startswith("/")


def read_bytes(locator: str, max_bytes: int) -> bytes:
    """A whole small file. Raises CrawlFailure when it is larger, or cannot be read."""
    with _opened(locator) as file:
        body = _read(file, locator, max_bytes + 1)
    if len(body) > max_bytes:
        raise CrawlFailure(f"got a table of more than {max_bytes:,} bytes, which is the limit", code="too_large")
    return body


class StoreCarrier:
    """Copies a file into a part. max_bytes: the largest."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    async def __call__(self, medium: Medium, part: Part, on_bytes: OnBytes) -> dict[str, str]:
        stopped = threading.Event()
        try:
            n_bytes = await asyncio.to_thread(self._copy, medium.url, part, stopped)
        finally:
            stopped.set()
        on_bytes(n_bytes)
        return {}

    def _copy(self, locator: str, part: Part, stopped: threading.Event) -> int:
        n_bytes = 0
        with _opened(locator) as source, part.writing(locator, None, append=False) as write:
            while (block := _read(source, locator, BLOCK_BYTES)) and not stopped.is_set():
                if not n_bytes:
                    refuse_text(block[:HEAD_BYTES])
                n_bytes += len(block)
                if n_bytes > self._max_bytes:
                    message = f"got a file of more than {self._max_bytes:,} bytes, which is the limit: left alone"
                    raise CrawlFailure(message, code="too_large")
                write(block)
        return n_bytes


def _opened(locator: str) -> IO[bytes]:
    try:
        if is_local(locator):
            return open(locator, "rb")
        files, path = file_system(locator)
        return cast(IO[bytes], files.open(path, "rb"))
    except BadSetting as error:
        raise CrawlFailure(error.message, code="bad_scheme", free=True) from None
    except Exception as error:  # each store has its own
        raise _failure(locator, error) from None


def _read(file: IO[bytes], locator: str, n_bytes: int) -> bytes:
    try:
        return file.read(n_bytes)
    except Exception as error:
        raise _failure(locator, error) from None


def _failure(locator: str, error: Exception) -> CrawlFailure:
    code = FAILURES.get(type(error), "store_failed")
    name = quoted(locator.rpartition("/")[2])
    message = f"got {name}, which cannot be read ({type(error).__name__}), expected a file"
    return CrawlFailure(message, code=code, transient=code == "store_failed")
