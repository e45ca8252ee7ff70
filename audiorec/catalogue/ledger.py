"""What became of each file that was converted: a line of JSON a file, written as soon as it is known."""

import json
from pathlib import Path
from typing import Any, TypeAlias

from audiorec.audio import RECIPE_VERSION
from audiorec.files import replacing, writing_to_disk

Entry: TypeAlias = dict[str, Any]  # {"sha256", "n_samples", "tags"}, or {"refused": [code, message]}

LEDGER_FILE = "ledger.jsonl"
TRANSIENT = {"unreadable", "decoder_crashed", "decode_timeout", "no_ffmpeg"}  # reasons that another run may not meet


class Ledger:
    """Use as a context. A process killed in the middle of a line loses that line and nothing else.

    The first line names the recipe, and the limit on length that refusals were made by. Under another recipe nothing
    of it holds; under another limit what was refused is tried again.
    """

    def __init__(self, wav_dir: Path, *, max_s: float) -> None:
        self._path = wav_dir / LEDGER_FILE
        self._header = {"recipe": RECIPE_VERSION, "max_s": max_s}
        self._stamps: dict[str, list[int]] = {}
        self._entries: dict[str, Entry] = {}

    def __enter__(self) -> "Ledger":
        self._read()
        with replacing(self._path) as file:  # without what was overtaken by later lines
            file.write(_line(self._header))
            for path, entry in self._entries.items():
                file.write(_line({"path": path, "stamp": self._stamps[path], **entry}))
        with writing_to_disk(LEDGER_FILE):
            self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read(self) -> None:
        lines = self._path.read_bytes().split(b"\n") if self._path.exists() else []
        header = _parse(lines[0]) if lines else {}
        if header.get("recipe") != RECIPE_VERSION:
            return
        for line in lines[1:]:
            entry = _parse(line)
            if {"path", "stamp"} <= entry.keys() and ("sha256" in entry or header == self._header):
                path = entry.pop("path")
                self._stamps[path], self._entries[path] = entry.pop("stamp"), entry

    def entry(self, path: Path) -> Entry | None:
        """What became of this file, unless it has changed since, or failed for a reason that may have passed."""
        entry = self._entries.get(str(path))
        if entry is None or ("refused" in entry and entry["refused"][0] in TRANSIENT):
            return None
        return entry if self._stamps[str(path)] == stamp_of(path) else None

    def add(self, path: Path, stamp: list[int], entry: Entry) -> None:
        """stamp: from `stamp_of`, taken before the file was read."""
        self._stamps[str(path)], self._entries[str(path)] = stamp, entry
        with writing_to_disk(LEDGER_FILE):
            self._file.write(_line({"path": str(path), "stamp": stamp, **entry}))

    def last(self, path: Path) -> Entry:
        """What became of this file in the end, a passing failure too."""
        return self._entries[str(path)]


def stamp_of(path: Path) -> list[int]:
    """Size and time of change: a file with the same stamp is taken to be the same. [] when it has gone."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
