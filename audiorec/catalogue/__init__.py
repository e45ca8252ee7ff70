"""A folder of clips: which files there are, and what `labels.csv`, a crawl's `clips.tsv` or the folder names say."""

import csv
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from audiorec.errors import BadCatalogue, BadModelDir
from audiorec.files.tsv import read_tsv

LABELS_FILE = "labels.csv"
CRAWLED_FILE = "clips.tsv"
MAX_CLIP_ID_CHARACTERS = 1_000
SIDECARS = {  # by extension: what lies beside clips and was never meant to be one
    *(".csv", ".tsv", ".txt", ".md", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".html", ".nfo", ".log", ".pdf"),
    *(".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".svg", ".ico", ".cue", ".m3u", ".m3u8", ".pls", ".lrc"),
    *(".srt", ".vtt", ".db", ".ini", ".sfv", ".md5", ".py", ".ipynb", ".zip", ".tar", ".gz"),
}


@dataclass(frozen=True)
class Refusal:
    """A clip that is left out, and why. Becomes a row of `refused.tsv`."""

    clip_id: str
    code: str
    message: str


@dataclass(frozen=True)
class Candidate:
    """A file that may become a clip. `fields`: what is said of it, by column."""

    path: Path
    clip_id: str
    fields: dict[str, str]


@dataclass
class Scan:
    candidates: list[Candidate] = field(default_factory=list)  # in the order of their clip ids
    refusals: list[Refusal] = field(default_factory=list)
    n_ignored: int = 0  # sidecars and hidden files


def scan(audio_dir: Path) -> Scan:
    """Lists a folder, all levels deep. Symbolic links are followed, each folder is entered once.

    Labels come from a `labels.csv` beside the clips (at any level; column `path` is relative to it), else from the name
    of the first folder on the way to the clip. A crawl's `clips.tsv` is read likewise; a `labels.csv` beside it comes
    first. Raises BadCatalogue for a folder or table that cannot be used.
    """
    check_folder(audio_dir)
    found = Scan()
    labels: dict[Path, dict[str, str]] = {}
    files: list[Path] = []
    for folder, names in _walk(audio_dir, found):
        for path, fields in _read_tables(folder, names).items():
            labels[path] = labels.get(path, {}) | fields
        files += [folder / name for name in names]
    for path in sorted(files):
        if _consider(path, audio_dir, labels.get(path), found):
            labels.pop(path, None)
    for path, fields in labels.items():
        clip_id = fields.get("clip_id") or os.path.relpath(path, audio_dir)
        found.refusals.append(
            Refusal(
                clip_id,
                "missing_file",
                f"got a row of {LABELS_FILE} or {CRAWLED_FILE} for a file that is not in the folder",
            )
        )
    return found


def check_folder(audio_dir: Path) -> None:
    """Raises BadCatalogue for what is no folder."""
    if not os.path.isdir(audio_dir):
        raise BadCatalogue(f"got {audio_dir}, which {_what_is_wrong(audio_dir)}, expected a folder of clips")


def scan_all(paths: Iterable[Path]) -> Scan:
    """Lists folders, each as `scan` does, and single files: the id of one is its name, and a table beside it is read.

    Raises BadCatalogue for a path where there is nothing, and as `scan` does.
    """
    found = Scan()
    tables: dict[Path, dict[Path, dict[str, str]]] = {}
    for path in (Path(os.path.abspath(path)) for path in paths):
        if os.path.isdir(path):
            part = scan(path)
            found.candidates += part.candidates
            found.refusals += part.refusals
            found.n_ignored += part.n_ignored
        elif os.path.lexists(path):
            folder = path.parent
            if folder not in tables:
                tables[folder] = _read_tables(folder, os.listdir(folder))
            _consider(path, folder, tables[folder].get(path), found)
        else:
            raise BadCatalogue(f"got {path}, which {_what_is_wrong(path)}, expected a clip or a folder of clips")
    once = {(candidate.path, candidate.clip_id): candidate for candidate in found.candidates}
    found.candidates = sorted(once.values(), key=lambda candidate: candidate.clip_id)
    return found


def _what_is_wrong(path: Path) -> str:
    """With a path that is not a folder of clips, nor a clip."""
    try:
        path.stat()
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "is not a folder"


def _read_tables(folder: Path, names: Collection[str]) -> dict[Path, dict[str, str]]:
    """What the tables in a folder say of files; where both name one, its `labels.csv` comes first."""
    tables = read_crawled(folder / CRAWLED_FILE) if CRAWLED_FILE in names else {}
    labels = read_labels(folder / LABELS_FILE) if LABELS_FILE in names else {}
    return {path: tables.get(path, {}) | labels.get(path, {}) for path in {**tables, **labels}}


def _walk(audio_dir: Path, found: Scan) -> Iterator[tuple[Path, list[str]]]:
    """os.walk through links, but never twice into one folder: a loop of links ends."""

    def refuse(error: OSError) -> None:
        clip_id = _readable(os.path.relpath(error.filename or audio_dir, audio_dir))
        found.refusals.append(Refusal(clip_id, "unreadable", f"got a folder that cannot be read ({error.strerror})"))

    entered = set()
    for folder, subfolders, names in os.walk(audio_dir, onerror=refuse, followlinks=True):
        try:
            status = os.stat(folder)
        except OSError as error:
            refuse(error)
            subfolders.clear()
            continue
        if (status.st_dev, status.st_ino) in entered:
            subfolders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield Path(folder), names


def _consider(path: Path, audio_dir: Path, fields: dict[str, str] | None, found: Scan) -> bool:
    """Takes a file, or passes it over as no clip: whether it was taken. fields: what a table says of it."""
    if path.name.startswith(".") or (path.suffix.lower() in SIDECARS and fields is None):
        found.n_ignored += 1
        return False
    _take(path, audio_dir, fields, found)
    return True


def _take(path: Path, audio_dir: Path, fields: dict[str, str] | None, found: Scan) -> None:
    relative = path.relative_to(audio_dir).as_posix()
    clip_id = (fields or {}).get("clip_id") or relative
    problem = _problem(path, clip_id)
    if problem:
        found.refusals.append(Refusal(_readable(clip_id), *problem))
        return
    if fields is None:
        folders = PurePosixPath(relative).parts[:-1]
        fields = {"label": folders[0]} if folders else {}
    found.candidates.append(Candidate(path, clip_id, fields))


def _problem(path: Path, clip_id: str) -> tuple[str, str] | None:
    """(reason code, message) for what can be seen without opening the file."""
    if clip_id != _readable(clip_id):
        return "bad_name", "got a file name that is not UTF-8, expected one that can be written down: rename it"
    if len(clip_id) > MAX_CLIP_ID_CHARACTERS:
        return "bad_name", f"got a clip id of {len(clip_id)} characters, expected at most {MAX_CLIP_ID_CHARACTERS}"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return "unreadable", f"got a file that cannot be read ({error.strerror})"
    return None if stat.S_ISREG(mode) else ("not_a_file", "got a pipe, socket or device, expected a file")


def _readable(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def read_labels(path: Path) -> dict[Path, dict[str, str]]:
    """Reads a `labels.csv`: file -> its columns but `path`. UTF-8; the first line names the columns.

    Raises BadCatalogue, with the line, for one that is not such a file.
    """
    labels: dict[Path, dict[str, str]] = {}
    lines: dict[Path, int] = {}
    if not path.is_file():
        raise BadCatalogue(f"got a {LABELS_FILE} that is not a file, expected a table, or none")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="", strict=True)
            if "path" not in (reader.fieldnames or []):
                raise BadCatalogue(
                    f"got a {LABELS_FILE} with the columns {', '.join(reader.fieldnames or []) or '(none)'}, "
                    "expected one named path: add it, relative to the file"
                )
            for row in reader:
                clip_path = path.parent / os.path.normpath(row.pop("path"))
                if clip_path in labels:
                    raise BadCatalogue(
                        f"got line {reader.line_num} of {LABELS_FILE} for a path that line {lines[clip_path]} has, "
                        "expected one row a clip: join several labels by ';'"
                    )
                lines[clip_path] = reader.line_num
                labels[clip_path] = {name.strip(): value.strip() for name, value in row.items() if name.strip()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadCatalogue(
            f"got a {LABELS_FILE} that is not UTF-8 CSV ({error}), expected one: save it as that"
        ) from None
    except OSError as error:
        raise BadCatalogue(f"got a {LABELS_FILE} that cannot be read ({error.strerror})") from None
    return labels


def read_crawled(path: Path) -> dict[Path, dict[str, str]]:
    """Reads a crawl's `clips.tsv`: file -> its columns but `path`; nothing from one that names no paths.

    Raises BadCatalogue for one that is damaged.
    """
    try:
        rows = read_tsv(path)
        first = next(rows, {})
        if "path" not in first:
            return {}
        return {path.parent / os.path.normpath(row.pop("path")): row for row in (first, *rows)}
    except BadModelDir as error:
        raise BadCatalogue(
            f"got a {CRAWLED_FILE} that cannot be read ({error.message}), expected the table of a crawl: crawl again"
        ) from None
