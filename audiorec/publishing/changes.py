"""What was added to a catalogue and removed from it since it was built: a table in the releases that came of it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from audiorec.catalogue.convert import write_rows
from audiorec.files.tsv import read_tsv
from audiorec.metadata import Metadata
from audiorec.quoting import quoted

CHANGES_FILE = "changes.tsv"
ADDED, REMOVED = "added", "removed"

Changes = Mapping[str, str]  # clip id -> ADDED, a replaced clip too, or REMOVED


def read_changes(release_dir: Path) -> Changes:
    """None for a release that was built. Raises BadModelDir for a table that is damaged."""
    path = release_dir / CHANGES_FILE
    return {row["clip_id"]: row["change"] for row in read_tsv(path)} if path.exists() else {}


def write_changes(release_dir: Path, before: Changes, added: Iterable[str], removed: Iterable[str]) -> None:
    """before: of the release that this one is made from. added, removed: clip ids."""
    changes = {**before, **dict.fromkeys(removed, REMOVED), **dict.fromkeys(added, ADDED)}
    rows = ({"clip_id": clip_id, "change": changes[clip_id]} for clip_id in sorted(changes))
    write_rows(release_dir / CHANGES_FILE, ("clip_id", "change"), rows)


def undone(new: Metadata, current: Metadata, changes: Changes) -> list[str]:
    """What a new release, which is built from a folder, would undo of the changes of the current one: a phrase each."""
    missing, returned = [], []
    for clip_id, change in changes.items():
        row = new.find(clip_id)
        if change == REMOVED and row is not None:
            returned.append(clip_id)
        elif change == ADDED and (row is None or _sha256(new, row) != _sha256(current, current.row_of(clip_id))):
            missing.append(clip_id)
    told = [
        (missing, "lacks {} that had been added ({}): put them into the folder"),
        (returned, "has {} again that had been removed ({}): take them out of the folder"),
    ]
    return [text.format(_count(clip_ids), quoted(clip_ids[0])) for clip_ids, text in told if clip_ids]


def _sha256(metadata: Metadata, row: int) -> str:
    return str(metadata.column("sha256").take(np.array([row]))[0])


def _count(clip_ids: list[str]) -> str:
    return f"{len(clip_ids):,} clips" if len(clip_ids) > 1 else "a clip"
