"""Where clips come from. What a person writes as SOURCE is told apart here."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from audiorec.crawl.http import Fetcher
from audiorec.crawl.sniff import HEAD_BYTES, is_feed, is_text, is_web_page, refuse_sound
from audiorec.crawl.sources.base import Source
from audiorec.crawl.sources.coub import HOSTS, Coub
from audiorec.crawl.sources.folders import FolderSource
from audiorec.crawl.sources.lists import ListSource, SingleUrl
from audiorec.crawl.sources.ytdlp import YtDlp
from audiorec.errors import BadSetting
from audiorec.quoting import quoted

__all__ = ["Source", "open_source"]


async def open_source(spec: str, fetcher: Fetcher, state_dir: Path) -> Source:
    """A folder, a list, a store, a timeline, a page. A URL is looked at to see which of these it is.

    Raises BadSetting for what is none of them, CrawlFailure for a URL where nothing answers.
    """
    if spec.startswith("coub:"):
        return Coub(spec, fetcher)
    if spec.startswith("ytdlp:"):
        return YtDlp(spec, fetcher, state_dir)
    if "://" not in spec:
        return _open_local(Path(spec), fetcher)
    parts = urlsplit(spec)
    if parts.scheme not in {"http", "https"}:
        return FolderSource(spec, max_table_bytes=fetcher.options.max_page_bytes)
    if parts.hostname in HOSTS:
        return Coub(spec, fetcher)
    head = (await fetcher.head(spec)).body[:HEAD_BYTES]
    if is_web_page(head):
        return YtDlp(spec, fetcher, state_dir)
    if is_feed(head) or is_text(head):
        return ListSource(spec, fetcher)
    return SingleUrl(spec)


def _open_local(path: Path, fetcher: Fetcher) -> Source:
    if os.path.isdir(path):  # no error where it cannot be looked at
        return FolderSource(path, max_table_bytes=fetcher.options.max_page_bytes)
    if os.path.isfile(path):
        refuse_sound(path)
        return ListSource(path, fetcher)
    raise BadSetting(
        f"got {quoted(str(path))}, which is not there, expected a folder, a list file, a URL, coub:... or ytdlp:URL"
    )
