"""Where clips come from: `crawl` brings them, and what is known of them, into a folder that convert and build take.

OUT_DIR/clips/      the files as they came, named by us
OUT_DIR/clips.tsv   a row a clip: path, clip_id, url, title, artist, label and whatever else the source says
OUT_DIR/refused.tsv what could not be had, with the reason
OUT_DIR/.crawl/     the journal, downloads under way, pages kept to be asked for only when they have changed
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import ModuleType

from audiorec.audio.decoder import DecoderPool
from audiorec.crawl.journal import STATE_DIR, Journal
from audiorec.crawl.options import CrawlOptions
from audiorec.crawl.status import Crawled, Plan, Status
from audiorec.crawl.table import is_crawl_folder, write_tables
from audiorec.errors import BadSetting, Busy
from audiorec.files import locked, remove_leftovers
from audiorec.quoting import quoted

__all__ = ["CrawlOptions", "Crawled", "Plan", "Status", "crawl", "plan", "refresh_tables"]

DEFAULT_OPTIONS = CrawlOptions()


def crawl(
    source: str,
    out_dir: Path,
    *,
    options: CrawlOptions = DEFAULT_OPTIONS,
    n_decoders: int | None = None,
    report: Callable[[Status], None] = lambda status: None,
) -> Crawled:
    """Brings what a source offers, and was not had before, into a crawl folder.

    source: a folder, a list file, the URL of a store, feed, list, sound or page, `coub:...` or `ytdlp:URL`.
    n_decoders: processes that check the clips, one a core by default. report: hears twice a second where the crawl is.

    Killed anywhere, the same call goes on where it stopped. Raises BadSetting, BadCatalogue, Busy, NoSpace, and
    CrawlFailure when the source cannot be listed at all; never because of one bad clip.
    """
    run = _program().run
    _check_out_dir(out_dir)
    with ExitStack() as stack:
        stack.enter_context(_locked(out_dir))
        remove_leftovers(out_dir)
        journal = stack.enter_context(Journal(out_dir))
        if options.retry_failed:
            journal.forgive()
        pool = stack.enter_context(DecoderPool(n_decoders or len(os.sched_getaffinity(0)), options.limits))
        crawled: Crawled = asyncio.run(run(source, out_dir, journal, pool, options=options, report=report))
        return crawled


def plan(source: str, out_dir: Path, *, options: CrawlOptions = DEFAULT_OPTIONS) -> Plan:
    """What `crawl` would bring now. Writes nothing. Raises as `crawl` does."""
    planned: Plan = asyncio.run(_program().plan(source, out_dir, options=options))
    return planned


def refresh_tables(folder: Path) -> None:
    """Writes the tables of a crawl folder anew, if it is one: a crawl that was killed may have left old ones."""
    if is_crawl_folder(folder):
        with suppress(Busy), _locked(folder):  # the crawl that is at work there keeps them itself
            write_tables(Journal(folder), folder)


def _program() -> ModuleType:
    try:
        from audiorec.crawl import run
    except ModuleNotFoundError as missing:
        raise BadSetting(
            f"got no {missing.name}, expected the packages that crawling needs: pip install 'audiorec[crawl]'"
        ) from None
    return run


def _locked(out_dir: Path) -> AbstractContextManager[None]:
    return locked(out_dir / STATE_DIR / "lock", f"the crawl folder {out_dir}")


def _check_out_dir(out_dir: Path) -> None:
    if not out_dir.is_dir() or is_crawl_folder(out_dir):
        return
    other = next((path.name for path in out_dir.iterdir() if not path.name.startswith(".")), None)
    if other is not None:
        raise BadSetting(
            f"got a folder with {quoted(other)} in it, expected an empty folder, a new one, or one that a crawl made"
        )
