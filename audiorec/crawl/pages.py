"""Pages that were fetched before, kept with what the server needs to answer that nothing has changed."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from zlib import error as BadGzip

from audiorec.crawl.item import digest_of
from audiorec.files import replacing


@dataclass(frozen=True)
class Page:
    """url: where it came from in the end, after redirects."""

    url: str
    content_type: str
    body: bytes
    etag: str = ""
    last_modified: str = ""

    @property
    def text(self) -> str:
        """UTF-8, or what old programs write in its place."""
        try:
            return self.body.decode("utf-8-sig")
        except UnicodeDecodeError:
            return self.body.decode("cp1252", errors="replace")


class PageCache:
    """pages_dir: where they are; None keeps nothing."""

    def __init__(self, pages_dir: Path | None) -> None:
        self._pages_dir = pages_dir

    def get(self, url: str) -> Page | None:
        if self._pages_dir is None:
            return None
        try:
            header, _, body = gzip.decompress(self._path(url).read_bytes()).partition(b"\n")
            return Page(body=body, **json.loads(header))
        except (OSError, EOFError, BadGzip, ValueError, TypeError):
            return None

    def put(self, url: str, page: Page) -> None:
        """Only if the server gave something to ask by."""
        if self._pages_dir is None or not (page.etag or page.last_modified):
            return
        header = {"url": page.url, "content_type": page.content_type}
        header |= {"etag": page.etag, "last_modified": page.last_modified}
        self._pages_dir.mkdir(parents=True, exist_ok=True)
        with replacing(self._path(url)) as file:
            file.write(gzip.compress(json.dumps(header).encode() + b"\n" + page.body, 1))

    def _path(self, url: str) -> Path:
        assert self._pages_dir is not None
        return self._pages_dir / f"{digest_of(url)}.gz"
