"""Whatever a person gives `audiorec build` for clips, as a folder of clips."""

import os
from collections.abc import Callable
from pathlib import Path

from audiorec.crawl import Crawled, CrawlOptions, Status, crawl, refresh_tables
from audiorec.crawl.sniff import refuse_sound

CRAWL_DIR = "crawl"


def gather(
    source: str, work_dir: Path, *, options: CrawlOptions, report: Callable[[Status], None]
) -> tuple[Path, Crawled | None]:
    """(the folder, how the crawl into it went). A folder is taken as it is; a list or URL is crawled into `work_dir`.

    Raises as `crawl` does.
    """
    folder = Path(source)
    is_elsewhere = "://" in source or source.startswith(("coub:", "ytdlp:"))
    if os.path.isdir(folder) or not (os.path.isfile(folder) or is_elsewhere):
        refresh_tables(folder)
        return folder, None
    if not is_elsewhere:
        refuse_sound(folder)
    out_dir = work_dir / CRAWL_DIR
    return out_dir, crawl(source, out_dir, options=options, report=report)
