"""A crawl from end to end, and the look at one that would be."""

from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

from audiorec.audio.decoder import DecoderPool
from audiorec.crawl.engine import Engine
from audiorec.crawl.http import Fetcher
from audiorec.crawl.journal import STATE_DIR, Journal
from audiorec.crawl.options import CrawlOptions
from audiorec.crawl.selection import Selection
from audiorec.crawl.sources import open_source
from audiorec.crawl.status import Crawled, Plan, Status

PAGES_DIR = "pages"
N_SHOWN = 20


async def run(
    source: str,
    out_dir: Path,
    journal: Journal,
    pool: DecoderPool,
    *,
    options: CrawlOptions,
    report: Callable[[Status], None],
) -> Crawled:
    """Raises CrawlFailure when nothing at all can be had of the source."""
    state_dir = out_dir / STATE_DIR
    async with Fetcher(options, pages_dir=state_dir / PAGES_DIR) as fetcher:
        opened = await open_source(source, fetcher, state_dir)
        crawled = await Engine(opened, fetcher, journal, pool, out_dir=out_dir, report=report).run()
    if crawled.listing_failure is not None and not crawled.status.n_handled:
        raise crawled.listing_failure
    return crawled


async def plan(source: str, out_dir: Path, *, options: CrawlOptions) -> Plan:
    """Lists what a run would fetch now, and writes nothing."""
    journal, status, first, n_wanted, expected_s = Journal(out_dir), Status(), [], 0, 0.0
    async with Fetcher(options) as fetcher:
        opened = await open_source(source, fetcher, out_dir / STATE_DIR)
        selection = Selection(opened, journal, options, status)
        async with aclosing(selection.wanted()) as wanted:
            async for item in wanted:
                if selection.enough() or n_wanted >= selection.n_left():
                    break
                n_wanted += 1
                expected_s += item.expected_s or 0.0
                first += [item] if n_wanted <= N_SHOWN else []
    return Plan(status, first, n_wanted, expected_s)
