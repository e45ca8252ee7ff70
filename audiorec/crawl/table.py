"""The crawl folder's tables: `clips.tsv`, which convert and build read, and `refused.tsv`."""

import os
from pathlib import Path

from audiorec.catalogue import CRAWLED_FILE
from audiorec.catalogue.convert import REFUSED_FILE, write_rows
from audiorec.crawl.journal import STATE_DIR, Journal
from audiorec.metadata import CORE_COLUMNS

MAX_OWN_COLUMNS = 200  # a list from elsewhere may call every cell differently
FIRST_COLUMNS = ("path", *CORE_COLUMNS)
REFUSED_COLUMNS = ("clip_id", "code", "message", "url", "n_runs")


def write_tables(journal: Journal, out_dir: Path) -> None:
    """Both tables, from the journal. A clip whose file a person deleted has no row."""
    own = dict.fromkeys(name for row in journal.rows() for name in row)
    columns = [name for name in FIRST_COLUMNS if name in own or name in {"path", "clip_id"}]
    columns += [name for name in own if name not in FIRST_COLUMNS][:MAX_OWN_COLUMNS]
    write_rows(out_dir / CRAWLED_FILE, columns, (row for row in journal.rows() if (out_dir / row["path"]).exists()))
    write_rows(out_dir / REFUSED_FILE, REFUSED_COLUMNS, journal.failures())


def is_crawl_folder(folder: Path) -> bool:
    return os.path.isdir(folder / STATE_DIR)  # no error where it cannot be looked at
