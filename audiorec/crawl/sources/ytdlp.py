"""Any other site, through yt-dlp: as a library, in a child process that reaches only what it may."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.http import Fetcher, OnBytes
from audiorec.crawl.item import Item, Medium, check_url, clean, cleaned, web_url
from audiorec.crawl.parts import Part
from audiorec.errors import BadSetting
from audiorec.files import writing_to_disk

# Not `-m`, which looks for modules in the current folder first: that one may be full of anything.
CHILD = "import sys; sys.path[:] = sys.argv[1:]; from audiorec.crawl.ytdlp_child import main; main()"
MAX_LINE_BYTES = 2**22
NO_SITES = ("generic", "html5")  # how yt-dlp's words for any page begin
ARCHIVE_FILE = "yt-dlp-archive.txt"

Message = dict[str, Any]


class YtDlp:
    """spec: a URL, of a page or a playlist, with or without `ytdlp:` before it. state_dir: for yt-dlp's own archive.

    What the archive names is not offered again: a person who has one from before can put it there.
    """

    newest_first = False

    def __init__(self, spec: str, fetcher: Fetcher, state_dir: Path) -> None:
        if find_spec("yt_dlp") is None:
            raise BadSetting("got no yt-dlp, expected it for this site: pip install 'audiorec[crawl]'")
        self._url = spec.removeprefix("ytdlp:")
        check_url(self._url)
        self._fetcher = fetcher
        self._archive_path = state_dir / ARCHIVE_FILE
        self.name = f"ytdlp:{self._url}"
        self.n_expected: int | None = None

    async def items(self) -> AsyncGenerator[Item, None]:
        request = {"operation": "list", "url": self._url, "archive": str(self._archive_path)}
        async with self._fetcher.turn(self._url):
            pass  # robots.txt and the host's pace; yt-dlp paces what it asks by itself
        async with aclosing(_messages(request, self._fetcher, self._fetcher.options.file_s)) as messages:
            async for message in messages:
                if "n_expected" in message:
                    self.n_expected = message["n_expected"]
                elif (url := web_url(message.get("url"))) and (item := _item(message, url)):
                    yield item

    async def prepare(self, item: Item) -> Item:
        return replace(item, media=(Medium("best", item.locator, "ytdlp"),))

    def recorded(self, item: Item) -> None:
        if item.key.startswith("ytdlp:"):
            with writing_to_disk(ARCHIVE_FILE), self._archive_path.open("a", encoding="utf-8") as archive:
                archive.write(item.key.removeprefix("ytdlp:") + "\n")


class YtDlpCarrier:
    """Has yt-dlp bring the best sound of a page into a part."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    async def __call__(self, medium: Medium, part: Part, on_bytes: OnBytes) -> dict[str, str]:
        return await self._fetcher.retried(lambda: self._once(medium.url, part, on_bytes))

    async def _once(self, url: str, part: Part, on_bytes: OnBytes) -> dict[str, str]:
        learned: dict[str, str] = {}
        n_bytes = 0
        part.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="ytdlp-", dir=part.path.parent) as folder:
            request = {"operation": "fetch", "url": url, "folder": folder}
            messages = _messages(request, self._fetcher, self._fetcher.options.file_s)
            async with self._fetcher.turn(url), aclosing(messages):
                async for message in messages:
                    if "n_bytes" in message:
                        on_bytes(max(0, message["n_bytes"] - n_bytes))
                        n_bytes = message["n_bytes"]
                    elif "info" in message:
                        learned = _fields(message["info"])
            files = [path for path in Path(folder).iterdir() if path.suffix not in {".part", ".ytdl"}]
            if len(files) != 1:
                raise CrawlFailure(f"got {len(files)} files from yt-dlp, expected one", code="no_sound")
            files[0].replace(part.path)
        return learned


async def _messages(request: Message, fetcher: Fetcher, wall_s: float) -> AsyncGenerator[Message, None]:
    """What the child says, until it ends. wall_s: how long it may be silent, and how long a fetch may take in all."""
    options = fetcher.options
    request |= {
        "allow_private": options.allow_private,
        "user_agent": options.user_agent,
        "interval_s": 1 / options.requests_per_s,
        "stall_s": options.stall_s,
        "max_bytes": options.max_file_bytes,
        "n_tries": options.n_tries,
    }
    async with _child() as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.close()
        ends_at = asyncio.get_running_loop().time() + wall_s
        while True:
            if request["operation"] == "list":
                ends_at = asyncio.get_running_loop().time() + wall_s
            try:
                line = await asyncio.wait_for(child.stdout.readline(), ends_at - asyncio.get_running_loop().time())
                message: Message = (
                    json.loads(line) if line else {"failed": ["ytdlp_died", "got no answer from yt-dlp", False]}
                )
            except asyncio.TimeoutError:
                message = {"failed": ["timeout", f"got nothing more from yt-dlp in {wall_s:g} s", True]}
            except ValueError:  # a line that is too long, or is none of ours
                message = {"failed": ["ytdlp_died", "got an answer of yt-dlp that cannot be read", False]}
            if "failed" in message:
                code, text, transient = message["failed"]
                raise CrawlFailure(clean(text), code=code, transient=transient, free=code == "private_address")
            if "done" in message:
                return
            yield message


@asynccontextmanager
async def _child() -> AsyncGenerator[Process, None]:
    """It ends with the block, and all it started with it."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, *sys.path),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        limit=MAX_LINE_BYTES,
        start_new_session=True,  # a group of its own: what it starts is killed with it, and Ctrl-C is not for it
    )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


def _item(entry: Message, url: str) -> Item | None:
    archive_id = clean(entry.get("archive_id"))
    seconds = entry.get("duration")
    return Item(
        key=f"ytdlp:{archive_id}" if archive_id else f"url:{url}",
        locator=url,
        url=web_url(entry.get("webpage_url")) or url,
        clip_id=archive_id.replace(" ", ":", 1),
        published=_iso_date(entry),
        expected_s=float(seconds) if isinstance(seconds, int | float) else None,
        fields=_fields(entry),
    )


def _fields(info: Message) -> dict[str, str]:
    tags, categories = info.get("tags"), info.get("categories")
    return cleaned(
        {
            "title": info.get("track") or info.get("title"),
            "artist": info.get("artist") or info.get("uploader") or info.get("channel"),
            "album": info.get("album"),
            "label": _joined(categories),
            "license": info.get("license"),
            "source": _site(info),
            "tags": _joined(tags),
            "views": info.get("view_count"),
            "likes": info.get("like_count"),
            "age_limit": info.get("age_limit"),
            "published": _iso_date(info),
        }
    )


def _site(info: Message) -> str:
    extractor = clean(info.get("extractor") or info.get("ie_key")).lower()
    if extractor and not extractor.startswith(NO_SITES):
        return extractor
    return urlsplit(web_url(info.get("webpage_url"))).hostname or ""


def _joined(values: Any) -> str:
    return ";".join(clean(value).replace(";", ",") for value in values) if isinstance(values, list) else ""


def _iso_date(info: Message) -> str:
    date = clean(info.get("upload_date"))
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdecimal() else ""
