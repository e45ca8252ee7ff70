"""The crawl itself: takes what a source offers, a bounded number at once, and keeps what turns out to be sound."""

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.audio.decoder import DecoderPool
from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.http import Fetcher, OnBytes
from audiorec.crawl.item import Item, Medium
from audiorec.crawl.journal import STATE_DIR, Journal
from audiorec.crawl.parts import Part
from audiorec.crawl.selection import Selection
from audiorec.crawl.sniff import HEAD_BYTES, extension_of
from audiorec.crawl.sources import Source
from audiorec.crawl.sources.ytdlp import YtDlpCarrier
from audiorec.crawl.status import Crawled, Status
from audiorec.crawl.stores import StoreCarrier
from audiorec.crawl.table import write_tables
from audiorec.errors import BadAudio

CLIPS_DIR = "clips"
PARTS_DIR = "parts"
MEASURED = {"path", "clip_id", "sha256", "duration_s", "medium"}  # columns in which nobody else has a say
TICK_S = 0.5  # between two looks at the status
TABLES_S = 30.0  # between two writings of the tables, or twenty times what a writing takes

# Brings a medium into a part: what it learned of the clip on the way, by column. Raises CrawlFailure.
Carrier: TypeAlias = Callable[[Medium, Part, OnBytes], Awaitable[dict[str, str]]]


class Engine:
    """One run of one source into one crawl folder. pool: the decoders that say what is sound."""

    def __init__(
        self,
        source: Source,
        fetcher: Fetcher,
        journal: Journal,
        pool: DecoderPool,
        *,
        out_dir: Path,
        report: Callable[[Status], None],
    ) -> None:
        self._source = source
        self._options = fetcher.options
        self._carriers: dict[str, Carrier] = {
            "http": fetcher.bring,
            "ytdlp": YtDlpCarrier(fetcher),
            "store": StoreCarrier(self._options.max_file_bytes),
        }
        self._journal = journal
        self._pool = pool
        self._threads = ThreadPoolExecutor(self._options.n_parallel)
        self._out_dir = out_dir
        self._parts_dir = out_dir / STATE_DIR / PARTS_DIR
        self._report = report
        self._status = Status()
        self._selection = Selection(source, journal, self._options, self._status)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Crawled:
        """Until the source has no more, or the crawl has enough. Raises NoSpace when the disk is full."""
        _tidy_parts(self._journal, self._out_dir)
        listing_failure = None
        ticker = asyncio.create_task(self._tick())
        try:
            try:
                await self._take_all()
            except CrawlFailure as failure:
                listing_failure = failure
            while self._tasks:
                await self._one_ends()
        finally:
            await _cancelled([ticker, *self._tasks])
            self._threads.shutdown(wait=False, cancel_futures=True)
            write_tables(self._journal, self._out_dir)
        self._show()
        return Crawled(self._status, self._journal.totals, self._selection.enough(), listing_failure)

    async def _take_all(self) -> None:
        async with aclosing(self._selection.wanted()) as wanted:
            while await self._has_room():
                item = await anext(wanted, None)
                if item is None:
                    return
                self._tasks.add(asyncio.create_task(self._take(item)))

    async def _has_room(self) -> bool:
        """Waits until another clip may begin; False when the crawl has enough."""
        while not self._selection.enough():
            if len(self._tasks) < min(self._options.n_parallel, self._selection.n_left()):
                return True
            await self._one_ends()
        return False

    async def _one_ends(self) -> None:
        done, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _take(self, item: Item) -> None:
        """All of one clip. Whatever is wrong with it is written down and hurts no other."""
        self._journal.add_item(item, self._source.name)
        part = Part(self._parts_dir, item.digest)
        try:
            offered = item if item.media else await self._source.prepare(item)
            self._check_length(offered)
            medium, learned, seconds = await self._fetch(offered, part)
        except CrawlFailure as failure:
            if not failure.transient:
                part.clear()
            self._journal.add_failed(item, failure)
            self._status.add_failure(failure.code, f"{item.readable_id}: {failure.message}")
            return
        self._keep(offered, part, medium, learned, seconds)
        self._source.recorded(item)
        self._status.n_new += 1

    def _check_length(self, item: Item) -> None:
        max_s = self._options.limits.max_s
        if item.expected_s is not None and item.expected_s > max_s:
            message = f"got a sound of {item.expected_s:.0f} s, expected at most {max_s:g} s: --max-s takes longer ones"
            raise CrawlFailure(message, code="too_long", free=True)

    async def _fetch(self, item: Item, part: Part) -> tuple[Medium, dict[str, str], float]:
        """The first medium that exists and is sound, what was learned with it, and its seconds.

        A failure that may pass is no reason to take a worse one.
        """
        failure = CrawlFailure("got no file with sound in what was offered", code="no_sound")
        for medium in item.media:
            if medium.only_after is None or medium.only_after == failure.code:
                try:
                    learned = await self._carriers[medium.carrier](medium, part, self._count_bytes)
                    return medium, learned, await self._seconds(part)
                except CrawlFailure as error:
                    if error.transient:
                        raise
                    part.clear()
                    failure = error
        raise failure

    async def _seconds(self, part: Part) -> float:
        """Decodes it, in a limited child: how long it is. Raises CrawlFailure with the reason why it is no clip."""

        def measure() -> int:
            with part.path.open("rb") as file:
                os.fsync(file.fileno())  # on disk before the journal says that it is
            with self._pool.borrowed() as decoder:
                n_samples: int = decoder.call("measure", {"path": str(part.path)})[0]["n_samples"]
                return n_samples

        try:
            n_samples = await asyncio.get_running_loop().run_in_executor(self._threads, measure)
        except BadAudio as error:
            raise CrawlFailure(error.message, code=error.code, free=error.code == "no_ffmpeg") from None
        return n_samples / SAMPLE_RATE_HZ

    def _keep(self, item: Item, part: Part, medium: Medium, learned: dict[str, str], seconds: float) -> None:
        path = _clip_path(part)
        row = {"path": path, "clip_id": item.readable_id, "url": item.url}
        row |= {name: value for name, value in {**learned, **item.fields}.items() if value and name not in MEASURED}
        row |= {"published": item.published, "medium": medium.name, "duration_s": f"{seconds:.4f}"}
        self._journal.add_done(item, row, n_bytes=part.path.stat().st_size, seconds=seconds)
        part.finish(self._out_dir / path)

    def _count_bytes(self, n_bytes: int) -> None:
        self._status.n_bytes += n_bytes

    def _show(self) -> None:
        self._status.n_expected = self._selection.n_expected()
        self._report(self._status)

    async def _tick(self) -> None:
        tables_at = time.monotonic() + TABLES_S
        while True:
            await asyncio.sleep(TICK_S)
            self._show()
            began = time.monotonic()
            if began >= tables_at:
                write_tables(self._journal, self._out_dir)
                tables_at = time.monotonic() + max(TABLES_S, 20 * (time.monotonic() - began))


def _clip_path(part: Part) -> str:
    """Where the file of a clip goes in the crawl folder: nothing of it was chosen by the other side."""
    with part.path.open("rb") as file:
        extension = extension_of(file.read(HEAD_BYTES))
    digest = part.path.name
    return f"{CLIPS_DIR}/{digest[:2]}/{digest}{extension}"


def _tidy_parts(journal: Journal, out_dir: Path) -> None:
    """After a run that was killed: gives the files their names whose clips were written down just before.

    What can be gone on with stays; the rest goes.
    """
    parts_dir = out_dir / STATE_DIR / PARTS_DIR
    unfinished = journal.open_digests()
    for path in sorted(parts_dir.glob("*")) if parts_dir.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.stem not in unfinished:
            part = Part(parts_dir, path.stem)
            if part.path == path and journal.is_done_digest(path.name):
                part.finish(out_dir / _clip_path(part))
            part.clear()


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
