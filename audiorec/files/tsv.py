"""Tab-separated text that holds any string: a line a row, with \\t \\n \\r and \\\\ escaped by a backslash."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from audiorec.errors import BadModelDir

_UNESCAPED = {r"\t": "\t", r"\n": "\n", r"\r": "\r", r"\\": "\\"}
_ESCAPE = re.compile(r"\\.?", re.DOTALL)


def escape_cell(text: str) -> str:
    """The text on one line and without tabs; `unescape_cell` gives it back exactly."""
    return text.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


def unescape_cell(cell: str) -> str:
    """The text of a cell. Raises BadModelDir for an escape that `escape_cell` never writes."""
    if "\\" not in cell:
        return cell
    try:
        return _ESCAPE.sub(lambda found: _UNESCAPED[found[0]], cell)
    except KeyError as unknown:
        raise BadModelDir(rf"a cell holds the escape {unknown}; only \t, \n, \r and \\ are expected") from None


def tsv_line(cells: Iterable[str]) -> bytes:
    """A row as UTF-8 bytes with its line end. Raises UnicodeEncodeError for half a surrogate pair."""
    return ("\t".join(map(escape_cell, cells)) + "\n").encode()


def read_tsv(path: Path) -> Iterator[dict[str, str]]:
    """Each row as {column: text}, the columns in the file's order.

    Raises BadModelDir, when iterated, for a file that is missing, cut off, not UTF-8 or of ragged rows.
    """
    try:
        with path.open("rb") as lines:
            columns = _cells(next(lines, b""), path.name, 1)
            if len(set(columns)) < len(columns):
                raise BadModelDir(f"{path.name} names a column twice: {', '.join(columns)}")
            for number, line in enumerate(lines, start=2):
                cells = _cells(line, path.name, number)
                if len(cells) != len(columns):
                    raise BadModelDir(f"{path.name}, line {number}: got {len(cells)} cells, expected {len(columns)}")
                yield dict(zip(columns, cells, strict=True))
    except OSError as error:
        raise BadModelDir(f"{path.name} cannot be read: {error.strerror}") from None


def _cells(line: bytes, name: str, number: int) -> list[str]:
    if not line.endswith(b"\n"):
        raise BadModelDir(f"{name}, line {number}: the file ends without a line end; it is empty or was cut off")
    try:
        return [unescape_cell(cell) for cell in line[:-1].decode().split("\t")]
    except UnicodeDecodeError:
        raise BadModelDir(f"{name}, line {number}: not UTF-8 text") from None
    except BadModelDir as error:
        raise BadModelDir(f"{name}, line {number}: {error.message}") from None
