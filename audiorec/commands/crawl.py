"""The command that brings clips from elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from audiorec.commands.arguments import MaxS, named, named_path
from audiorec.terminal import EXIT_SOME_REFUSED, has_bars, reported, show

app = typer.Typer()


@contextmanager
def crawl_bar() -> Iterator[Callable[[Any], None]]:
    """The same bar for a crawl, whose end is not always known: what it is given hears where the crawl is.

    There is none before it hears anything, so none for a folder that is taken as it is.
    """
    from tqdm import tqdm

    from audiorec.crawl.summary import megabytes

    with ExitStack() as stack:
        bars: list[Any] = []

        def report(status: Any) -> None:
            if not bars:
                bars.append(stack.enter_context(tqdm(desc="crawl", unit="clip", disable=not has_bars())))
            bar = bars[0]
            bar.total = status.n_expected and status.n_expected - status.n_known
            bar.n = status.n_handled - status.n_known
            bar.set_postfix_str(f"{megabytes(status.n_bytes)}, {status.n_failed} failed")

        yield report


@app.command()
def crawl(
    source: Annotated[
        str,
        typer.Argument(
            parser=named,
            metavar="SOURCE",
            help="coub:hot/weekly, coub:tag/NAME, any page that yt-dlp knows, a podcast feed, a CSV, TSV, M3U or "
            "plain list, a folder, a store such as s3://bucket/sounds.",
        ),
    ],
    out_dir: Annotated[
        Path,
        typer.Argument(parser=named_path, metavar="OUT_DIR", help="The crawl folder: new, or of an earlier crawl."),
    ],
    max_clips: Annotated[int | None, typer.Option(min=1, help="Stop when the folder holds so many.")] = None,
    max_hours: Annotated[float | None, typer.Option(min=0, help="Stop when it holds so many hours.")] = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, help="Stop when it holds so many bytes.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Nothing published before that day; what has no date is taken."),
    ] = None,
    max_s: MaxS = 3600.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be fetched, and fetch nothing.")] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Reach addresses that are not of the public internet too.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0.001, help="Requests a second to each host, at most.")] = 4.0,
    parallel: Annotated[int, typer.Option(min=1, max=256, help="Clips under way.")] = 8,
    robots: Annotated[bool, typer.Option(help="Obey robots.txt; without, only where you may.")] = True,
    contact: Annotated[str, typer.Option(help="Your address or page, told to every server.")] = "",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed too often.")] = False,
) -> None:
    """Bring clips from the web, a list, a folder or a store into a folder that build takes.

    Stopped anywhere, the same command goes on; what was had is not fetched again. Exit code 3: done, but some clips
    could not be had (refused.tsv says which and why).
    """
    from audiorec.audio.decoder import DecodeLimits
    from audiorec.crawl import CrawlOptions, plan
    from audiorec.crawl import crawl as run
    from audiorec.crawl.summary import crawl_summary, plan_summary

    with reported():
        options = CrawlOptions(
            max_clips=max_clips,
            max_hours=max_hours,
            max_bytes=max_bytes,
            since=since.date() if since else None,
            allow_private=allow_private,
            obey_robots=robots,
            contact=contact,
            retry_failed=retry_failed,
            requests_per_s=rate,
            n_parallel=parallel,
            limits=DecodeLimits(max_s=max_s),
        )
        if dry_run:
            show(plan_summary(plan(source, out_dir, options=options)))
            return
        with crawl_bar() as report:
            crawled = run(source, out_dir, options=options, report=report)
        show(crawl_summary(crawled, out_dir))
        if not crawled.is_complete:
            raise typer.Exit(EXIT_SOME_REFUSED)
