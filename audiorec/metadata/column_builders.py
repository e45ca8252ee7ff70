"""Arrow columns made from cells of text, one at a time: what `columns` reads. An empty cell is no value."""

import math
import re
from array import array
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audiorec.errors import BadCatalogue
from audiorec.quoting import quoted

Cell: TypeAlias = str | int | float | None

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MAX_NUMBER_CHARS = 32


class Builder(Protocol):
    """One column in the making."""

    def append(self, cell: str) -> None:
        """Add a row."""

    def array(self) -> Any:
        """The column as a pyarrow array."""


class TextsBuilder:
    """Cells to large_string, for columns where most cells differ."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._offsets = array("q", [0])

    def append(self, cell: str) -> None:
        self._data += cell.encode()
        self._offsets.append(len(self._data))

    def array(self) -> Any:
        buffers = [None, pa.py_buffer(self._offsets), pa.py_buffer(self._data)]
        return pa.Array.from_buffers(pa.large_string(), len(self._offsets) - 1, buffers)


class FloatsBuilder:
    """Cells that are numbers to float64."""

    def __init__(self) -> None:
        self._numbers = array("d")
        self._valid = bytearray()

    def append(self, cell: str) -> None:
        self._numbers.append(float(cell or 0))
        self._valid.append(cell != "")

    def array(self) -> Any:
        return from_items(pa.float64(), np.array(self._numbers), np.frombuffer(self._valid, np.bool_))


class CodesBuilder:
    """Cells to dictionary<int32, large_string>, its dictionary sorted so that a value is found by halving."""

    def __init__(self) -> None:
        self._code_of: dict[str, int] = {}
        self._codes = array("i")

    def append(self, cell: str) -> None:
        self._codes.append(self._code_of.setdefault(cell, len(self._code_of)))

    def array(self) -> Any:
        return dictionary_array(list(self._code_of), np.array(self._codes))


def dictionary_array(values: Sequence[str], codes: npt.NDArray[np.int32]) -> Any:
    """The dictionary<int32, large_string> of n codes into `values`, which are distinct, and in any order."""
    order = sorted(range(len(values)), key=values.__getitem__)
    sorted_code = np.empty(len(values), np.int32)
    sorted_code[order] = np.arange(len(values), dtype=np.int32)
    dictionary = TextsBuilder()
    for position in order:
        dictionary.append(values[position])
    return pa.DictionaryArray.from_arrays(from_items(pa.int32(), sorted_code[codes]), dictionary.array())


class OwnBuilder(CodesBuilder):
    """Cells to int64 or float64 where every one is a JSON number, else to codes, as its parent."""

    def array(self) -> Any:
        given = [text for text in self._code_of if text]
        numbers = parse_numbers(given) if given else None
        if numbers is None:
            return super().array()
        by_code = np.zeros(len(self._code_of), numbers.dtype)
        by_code[[self._code_of[text] for text in given]] = numbers
        codes = np.array(self._codes)
        kind = pa.int64() if numbers.dtype == np.int64 else pa.float64()
        return from_items(kind, by_code[codes], codes != self._code_of.get("", -1))


def cell_text(cell: Cell) -> str:
    """The text of a cell; a number in as many digits as give it back."""
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    return repr(float(cell)) if isinstance(cell, float) else str(int(cell))


def seconds_text(cell: Cell, clip_id: str) -> str:
    """The text of a cell of duration_s. Raises BadCatalogue for what is no finite number >= 0."""
    if cell is None or cell == "":
        return ""
    try:
        seconds = float(cell)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadCatalogue(f"got {quoted(str(cell))} as duration_s of clip {quoted(clip_id)}, expected seconds >= 0")
    return repr(seconds)


def parse_numbers(texts: Sequence[str]) -> npt.NDArray[np.int64] | npt.NDArray[np.float64] | None:
    """JSON numbers as int64 where all are whole, else as float64; None where a text is anything else.

    "007", "+1", "1.", "nan", and whole numbers that would lose digits, are text: most likely codes and ids.
    """
    matches = [_JSON_NUMBER.fullmatch(text) for text in texts if len(text) <= _MAX_NUMBER_CHARS]
    if len(matches) < len(texts) or None in matches:
        return None
    whole = [int(match[0]) for match in matches if match and match[1] is match[2] is None]
    if len(whole) == len(texts):
        return np.array(whole, np.int64) if all(-(2**63) <= number < 2**63 for number in whole) else None
    numbers = np.array([float(text) for text in texts])
    is_exact = np.isfinite(numbers).all() and all(int(float(number)) == number for number in whole)
    return numbers if is_exact else None


def from_items(kind: Any, items: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> Any:
    """`items`: (n,) of the type `kind`; `valid`: (n,), False where there is no value."""
    bitmap = None if valid is None or valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(items), [bitmap, pa.py_buffer(items)])
