"""Folders of sound, here or in an object store, with whatever tables lie in them.

A Hugging Face audio folder has a `metadata.csv` or `metadata.jsonl` beside its files, a data set of Kaggle a table
somewhere that calls the files by their names; plain folders have labels for folders.
"""

import asyncio
import os
import posixpath
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from audiorec.catalogue import SIDECARS
from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.item import Item, Medium, web_url
from audiorec.crawl.sources.entries import Entry
from audiorec.crawl.sources.texts import read_text_list
from audiorec.crawl.stores import file_system, read_bytes
from audiorec.errors import BadCatalogue

TABLES = (".csv", ".tsv", ".jsonl")
SPLITS = {"train", "training", "test", "testing", "valid", "validation", "val", "dev", "eval"}


@dataclass(frozen=True)
class Described:
    """A file, or one that a table names and that is not there. entry: what the table says; None: nothing does."""

    name: str  # relative to the folder, with slashes
    entry: Entry | None


class FolderSource:
    """root: a folder here, or the URL of one in a store, as `s3://bucket/sounds`. max_table_bytes: of one table."""

    newest_first = False

    def __init__(self, root: Path | str, *, max_table_bytes: int) -> None:
        self._root = str(root.resolve()) if isinstance(root, Path) else root.rstrip("/")
        self._is_local = isinstance(root, Path)
        self._max_table_bytes = max_table_bytes
        self.name = self._root
        self.n_expected: int | None = None

    async def items(self) -> AsyncGenerator[Item, None]:
        items = await asyncio.to_thread(self._listed)
        self.n_expected = len(items)
        for item in items:
            yield item

    async def prepare(self, item: Item) -> Item:
        return replace(item, media=(Medium("file", item.locator, "store"),))

    def recorded(self, item: Item) -> None:
        pass

    def _listed(self) -> list[Item]:
        names = sorted(self._names())
        files = [name for name in names if PurePosixPath(name).suffix.lower() not in SIDECARS]
        if not files:
            raise BadCatalogue(f"got a folder without a sound file in it ({len(names)} other files), expected some")
        described = self._described(files, [name for name in names if name.lower().endswith(TABLES)])
        has_splits = {name.partition("/")[0].lower() for name in files if "/" in name} <= SPLITS
        return [self._item(one, has_splits) for one in described]

    def _names(self) -> Iterator[str]:
        """Every file below the folder that is not hidden."""
        names = _local_names(self._root) if self._is_local else _stored_names(self._root)
        return (name for name in names if not any(part.startswith(".") for part in name.split("/")))

    def _locator(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _described(self, files: list[str], tables: list[str]) -> Iterator[Described]:
        entries: dict[str, Entry | None] = dict.fromkeys(files)
        find = _Finder(files)
        for table in tables:
            rows = self._rows(table)
            found = [find(entry.sound, posixpath.dirname(table)) for entry in rows]
            for name, entry in zip(found, rows, strict=True) if any(found) else ():
                entries[name or posixpath.normpath(posixpath.join(posixpath.dirname(table), entry.sound))] = entry
        return (Described(name, entry) for name, entry in entries.items())

    def _rows(self, table: str) -> list[Entry]:
        """None of a table that is about something else, or cannot be read: it was not made for us."""
        try:
            text = read_bytes(self._locator(table), self._max_table_bytes).decode("utf-8-sig")
            return read_text_list(text, table)
        except (CrawlFailure, UnicodeDecodeError):
            return []

    def _item(self, one: Described, has_splits: bool) -> Item:
        entry = one.entry or Entry(one.name, fields=_folder_fields(one.name, has_splits))
        locator = self._locator(one.name)
        return Item(
            key=f"file:{locator}",
            locator=locator,
            url=web_url(entry.page),
            clip_id=entry.clip_id or one.name,
            published=entry.published,
            fields={"source": PurePosixPath(urlsplit(self._root).path).name, **entry.fields},
        )


class _Finder:
    """Which file a table means: by its path from the table or from the folder, else by a name that only one has."""

    def __init__(self, files: list[str]) -> None:
        self._files = set(files)
        self._by_name: dict[str, str] = {}
        for name in files:
            for short in {posixpath.basename(name), posixpath.splitext(posixpath.basename(name))[0]}:
                self._by_name[short] = "" if short in self._by_name else name

    def __call__(self, sound: str, table_dir: str) -> str:
        """ "" for none."""
        for name in (posixpath.normpath(posixpath.join(table_dir, sound)), posixpath.normpath(sound)):
            if name in self._files:
                return name
        return self._by_name.get(posixpath.basename(sound), "")


def _local_names(root: str) -> Iterator[str]:
    """Through links too, but never twice into one folder: a loop of links ends."""
    entered = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:
            subfolders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in names)


def _stored_names(root: str) -> Iterator[str]:
    files, path = file_system(root)
    try:
        found: list[Any] = files.find(path)
    except Exception as error:  # each store has its own
        raise CrawlFailure(f"got a store that cannot be listed ({type(error).__name__})", code="store_failed") from None
    prefix = f"{path.rstrip('/')}/"
    return (name.removeprefix(prefix) for name in map(str, found) if name.startswith(prefix))


def _folder_fields(name: str, has_splits: bool) -> dict[str, str]:
    """The first folder on the way is the label, unless all first folders are the parts of a divided set."""
    folders = list(PurePosixPath(name).parts[:-1])
    fields = {"split": folders.pop(0)} if has_splits and folders else {}
    return {**fields, "label": folders[0]} if folders else fields
