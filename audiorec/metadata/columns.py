"""Columns of a memory-mapped Arrow file: a few cells in microseconds, whole columns as numpy views, no copy of either.

Cells are gathered from Arrow's buffers with numpy and memoryviews, in a fraction of the time of pyarrow's scalars. No
slice of a memoryview leaves its buffer, so that a damaged file gives an exception or a wrong text, never a crash.
"""

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audiorec.errors import BadModelDir

_CACHED_VALUES = 1024
_CACHED_BYTES = 2**16

Rows: TypeAlias = npt.NDArray[np.int64]  # (k,) row numbers in 0..n-1


class Texts:
    """A column of UTF-8 text: a read-only sequence of str, decoded on access."""

    kind = "text"

    def __init__(self, array: Any) -> None:
        """`array`: a pyarrow array of type large_string without nulls."""
        _, offsets, data = array.buffers()
        self.array = array
        self.offsets: npt.NDArray[np.int64] = _view(offsets, np.int64, len(array) + 1)  # into data
        self.data = memoryview(data if data is not None else b"")[: self.offsets[-1]]
        self._starts, self._ends = self.offsets[:-1], self.offsets[1:]
        self._offset_at = self.offsets.data  # a memoryview: faster than numpy for one item

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> str:
        return str(self.data[self._offset_at[index] : self._offset_at[index + 1]], "utf-8")

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def take(self, rows: Rows) -> list[str]:
        """The texts of some rows."""
        data = self.data
        spans = zip(self._starts[rows].tolist(), self._ends[rows].tolist(), strict=True)
        return [data[start:end].tobytes().decode() for start, end in spans]

    def parse(self, cell: str) -> str:
        """What a cell of metadata.tsv is in this column."""
        return cell


class Codes:
    """A dictionary-coded column of text: a code a row into `values`, which are distinct and sorted."""

    kind = "text"

    def __init__(self, array: Any) -> None:
        """`array`: a pyarrow array of type dictionary<int32, large_string> without nulls."""
        self.codes: npt.NDArray[np.int32] = _view(array.indices.buffers()[1], np.int32, len(array))
        self.texts = Texts(array.dictionary)
        is_small = len(self.texts) <= _CACHED_VALUES and len(self.texts.data) <= _CACHED_BYTES
        self.values: Texts | list[str] = list(self.texts) if is_small else self.texts

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Rows) -> list[str]:
        """The texts of some rows."""
        values, codes = self.values, self.codes[rows]
        if isinstance(values, list):
            return [values[code] for code in codes.tolist()]
        return values.take(codes.astype(np.int64))

    def code_of(self, value: str) -> int | None:
        """The code of a value, or None where no row holds it: a binary search."""
        code = bisect_left(self.values, value)
        return code if code < len(self.values) and self.values[code] == value else None

    def parse(self, cell: str) -> str:
        """What a cell of metadata.tsv is in this column."""
        return cell


class Numbers:
    """A column of int64 or float64, with None where a clip has no number."""

    kind = "numbers"

    def __init__(self, array: Any) -> None:
        """`array`: a pyarrow array of type int64 or float64."""
        self._is_int = pa.types.is_int64(array.type)
        validity, data = array.buffers()
        # (n,) int64 or float64; meaningless where there is no number
        self.numbers: npt.NDArray[Any] = _view(data, np.int64 if self._is_int else np.float64, len(array))
        self._bitmap = _view(validity, np.uint8, (len(array) + 7) // 8) if array.null_count else None

    def __len__(self) -> int:
        return len(self.numbers)

    def valid(self) -> npt.NDArray[np.bool_] | None:
        """(n,) bool, True where there is a number; None where every row has one."""
        if self._bitmap is None:
            return None
        return np.unpackbits(self._bitmap, count=len(self), bitorder="little").view(np.bool_)

    def take(self, rows: Rows) -> list[float | int | None]:
        """The numbers of some rows."""
        numbers: list[float | int | None] = self.numbers[rows].tolist()
        if self._bitmap is None:
            return numbers
        valid = self._bitmap[rows >> 3] >> (rows & 7) & 1
        return [number if is_valid else None for number, is_valid in zip(numbers, valid.tolist(), strict=True)]

    def parse(self, cell: str) -> float | int | None:
        """What a cell of metadata.tsv is in this column."""
        if not cell:
            return None
        return int(cell) if self._is_int else float(cell)


Column: TypeAlias = Texts | Codes | Numbers


def open_columns(path: Path) -> tuple[Any, dict[str, Column]]:
    """The one record batch of an Arrow IPC file, memory-mapped, and its columns by name.

    Raises BadModelDir for a file that is missing, cut off, not Arrow, or of types not written here.
    """
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.num_record_batches != 1:
            raise BadModelDir(f"{path.name} has {reader.num_record_batches} record batches, expected 1")
        batch = reader.get_batch(0)
        batch.validate()
        columns = {name: column_of(array) for name, array in zip(batch.schema.names, batch.columns, strict=True)}
    except FileNotFoundError:
        raise BadModelDir(f"{path.name} is missing; build the release again") from None
    except TypeError as error:
        raise BadModelDir(f"{path.name} has {error}; build the release again") from None
    except (OSError, ValueError, pa.ArrowException):
        raise BadModelDir(f"{path.name} is cut off or not an Arrow file; build the release again") from None
    if len(columns) < batch.num_columns:
        raise BadModelDir(f"{path.name} names a column twice: {', '.join(batch.schema.names)}")
    return batch, columns


def column_of(array: Any) -> Column:
    """A pyarrow array as a column. Raises TypeError for one of a type not written here."""
    kind = array.type
    if pa.types.is_int64(kind) or pa.types.is_float64(kind):
        return Numbers(array)
    if array.null_count == 0:
        if pa.types.is_large_string(kind):
            return Texts(array)
        if kind == pa.dictionary(pa.int32(), pa.large_string()) and array.dictionary.null_count == 0:
            return Codes(array)
    raise TypeError(f"a column of type {kind} with {array.null_count} nulls")


def _view(buffer: Any, dtype: type[np.generic], n: int) -> npt.NDArray[Any]:
    """The first n items of a buffer. Raises ValueError when it holds fewer."""
    return np.frombuffer(buffer if buffer is not None else b"", dtype, n)
