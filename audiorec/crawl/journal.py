"""What a crawl folder knows: each thing that was offered, and what became of it, a line of JSON each.

    {"item": KEY, "source": ..., ...}    it was offered: written before anything of it is fetched
    {"done": KEY, "row": {...}, ...}     it is a clip; its file gets its name after this line is written
    {"failed": KEY, "code": ...}         it could not be had, this time

In memory is a digest for every clip, and the whole item only of those that are not done.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.item import Item, digest_of
from audiorec.errors import BadCatalogue
from audiorec.files import replacing, writing_to_disk

STATE_DIR = ".crawl"
JOURNAL_FILE = "journal.jsonl"
FORMAT = 1

Line = dict[str, Any]


@dataclass
class Open:
    """Something that is not done: its item, which source offered it, and how often it failed, the last time how."""

    item: Item
    source: str
    n_failed: int = 0
    code: str = ""
    message: str = ""


@dataclass
class Totals:
    n_clips: int = 0
    n_bytes: int = 0
    seconds: float = 0.0


class Journal:
    """Reads what is there when made. Use as a context to write; nobody else may, meanwhile.

    A process killed in the middle of a line loses that line and nothing else.
    """

    def __init__(self, out_dir: Path) -> None:
        self._path = out_dir / STATE_DIR / JOURNAL_FILE
        self._done: set[bytes] = set()
        self._clip_ids: set[bytes] = set()
        self._open: dict[str, Open] = {}
        self.totals = Totals()
        for line in self._lines():
            self._learn(line)

    def __enter__(self) -> "Journal":
        with writing_to_disk("a crawl folder"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as file:  # without what was overtaken by later lines
            file.write(_encoded({"format": FORMAT}))
            for entry in self._open.values():
                for line in _open_lines(entry):
                    file.write(_encoded(line))
            file.writelines(_encoded(line) for line in self._lines() if "done" in line)
        with writing_to_disk(JOURNAL_FILE):
            self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _lines(self) -> Iterator[Line]:
        if not self._path.exists():
            return
        with self._path.open("rb") as lines:
            for number, text in enumerate(lines):
                line = _parsed(text)
                if number == 0 and line.get("format") != FORMAT:
                    raise BadCatalogue(
                        f"got a crawl folder of format {line.get('format')}, expected {FORMAT}: crawl into another one"
                    )
                yield line

    def _learn(self, line: Line) -> None:
        if "done" in line:
            self._open.pop(line["done"], None)
            self._done.add(_short(line["done"]))
            self._clip_ids.add(_short(line["row"]["clip_id"]))
            self.totals.n_clips += 1
            self.totals.n_bytes += line["bytes"]
            self.totals.seconds += line["seconds"]
        elif "item" in line:
            item = Item(**{name: line[name] for name in Item(key="", locator="").to_dict()})
            self._open.setdefault(item.key, Open(item, line["source"]))
        elif "failed" in line and line["failed"] in self._open:
            entry = self._open[line["failed"]]
            entry.n_failed += line["n"]
            entry.code, entry.message = line["code"], line["message"]

    def _add(self, line: Line) -> None:
        with writing_to_disk(JOURNAL_FILE):
            self._file.write(_encoded(line))
        self._learn(line)

    def is_done(self, key: str) -> bool:
        return _short(key) in self._done

    def is_done_digest(self, digest: str) -> bool:
        """The same, by an item's digest."""
        return bytes.fromhex(digest) in self._done

    def open_digests(self) -> set[str]:
        """The digests of what was offered and is not done."""
        return {entry.item.digest for entry in self._open.values()}

    def n_failed(self, key: str) -> int:
        """In how many runs it failed."""
        return self._open[key].n_failed if key in self._open else 0

    def add_item(self, item: Item, source: str) -> None:
        if item.key not in self._open:
            self._add({"item": item.key, "source": source, **item.to_dict()})

    def add_done(self, item: Item, row: dict[str, str], *, n_bytes: int, seconds: float) -> None:
        """The row's clip id gives way to one of our own when another clip has it."""
        if _short(row["clip_id"]) in self._clip_ids:
            row["clip_id"] = item.digest
        self._add({"done": item.key, "row": row, "bytes": n_bytes, "seconds": seconds})

    def add_failed(self, item: Item, failure: CrawlFailure) -> None:
        n = 0 if failure.free else 1
        self._add({"failed": item.key, "n": n, "code": failure.code, "message": failure.message})

    def forgive(self) -> None:
        """Gives everything that failed its tries back."""
        for entry in self._open.values():
            entry.n_failed = 0

    def unfinished(self, source: str) -> list[Item]:
        """What this source offered in an earlier run, and is not done."""
        return [entry.item for entry in self._open.values() if entry.source == source]

    def rows(self) -> Iterator[dict[str, str]]:
        """Every clip's row of the table, in the order in which they came."""
        return (line["row"] for line in self._lines() if "done" in line)

    def failures(self) -> Iterator[dict[str, str]]:
        """Every thing that failed and was not had since."""
        for entry in self._open.values():
            if entry.code:
                facts = {"clip_id": entry.item.readable_id, "code": entry.code, "message": entry.message}
                yield {**facts, "url": entry.item.url, "n_runs": str(entry.n_failed)}


def _open_lines(entry: Open) -> Iterator[Line]:
    yield {"item": entry.item.key, "source": entry.source, **entry.item.to_dict()}
    if entry.code:
        yield {"failed": entry.item.key, "n": entry.n_failed, "code": entry.code, "message": entry.message}


def _short(text: str) -> bytes:
    return bytes.fromhex(digest_of(text))


def _encoded(line: Line) -> bytes:
    return json.dumps(line).encode() + b"\n"


def _parsed(text: bytes) -> Line:
    """{} for a line that was cut off."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
