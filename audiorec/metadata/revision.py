"""The metadata of a release made from that of another: rows left out, rows put behind, the others not parsed again.

What comes out is what `write_metadata` makes of all the rows, but that a column of words that is left with nothing but
numbers stays one of words.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, compress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audiorec.files import replacing
from audiorec.files.npy import open_npy
from audiorec.files.tsv import read_tsv, tsv_line
from audiorec.metadata import CORE_COLUMNS, Metadata, cells_of, groups_of, write_metadata
from audiorec.metadata.clip_ids import hash_of
from audiorec.metadata.column_builders import Cell, TextsBuilder, dictionary_array, from_items, parse_numbers
from audiorec.metadata.columns import Codes, Column, Numbers, Rows, Texts

BLOCK_BYTES = 2**24


class _OtherType(Exception):
    """A column would have to be stored in another way."""


def revise_metadata(
    directory: Path, base_dir: Path, base: Metadata, kept: Rows, added: Sequence[Mapping[str, Cell]]
) -> None:
    """Writes METADATA_FILES into a directory: the rows `kept` of `base`, ascending, then the rows `added`.

    A row may name columns that `base` lacks. Raises BadCatalogue, as `write_metadata` does, BadModelDir for a
    metadata.tsv of `base` that is damaged, NoSpace.
    """
    named = dict.fromkeys(name for row in added for name in row)
    names = list(dict.fromkeys([*base.columns, *named]))
    cells = [cells_of(row, names) for row in added]
    try:
        if len(names) > len(base.columns):
            raise _OtherType
        arrays = [
            _revised(base.column(name), kept, [row[i] for row in cells], own=name not in CORE_COLUMNS)
            for i, name in enumerate(names)
        ]
    except _OtherType:
        rows = _kept_rows(base_dir, len(base), kept)
        write_metadata(directory, chain(rows, added), names[len(CORE_COLUMNS) :])
        return
    with replacing(directory / "metadata.tsv", durable=True) as tsv:
        _copy_lines(base_dir / "metadata.tsv", kept, tsv)
        tsv.writelines(map(tsv_line, cells))
    with replacing(directory / "clip_ids.npy", durable=True) as file:
        np.save(file, _hash_table(base_dir, len(base), kept, [row[0] for row in cells]))
    with replacing(directory / "groups.npy", durable=True) as file:
        np.save(file, groups_of(dict(zip(names, arrays, strict=True))))
    batch = pa.RecordBatch.from_arrays(arrays, names=names)
    with replacing(directory / "metadata.arrow", durable=True) as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def _kept_rows(base_dir: Path, n_clips: int, kept: Rows) -> Iterator[Mapping[str, Cell]]:
    is_kept = np.zeros(n_clips, np.bool_)
    is_kept[kept] = True
    return compress(read_tsv(base_dir / "metadata.tsv"), is_kept.tolist())


def _revised(column: Column, kept: Rows, cells: Sequence[str], *, own: bool) -> Any:
    """The column as a pyarrow array. Raises _OtherType."""
    if isinstance(column, Texts):
        return pa.concat_arrays([column.array.take(pa.array(kept)), _texts(cells)])
    if isinstance(column, Numbers):
        return _revised_numbers(column, kept, cells)
    return _revised_codes(column, kept, cells, own)


def _texts(cells: Sequence[str]) -> Any:
    builder = TextsBuilder()
    for cell in cells:
        builder.append(cell)
    return builder.array()


def _revised_numbers(column: Numbers, kept: Rows, cells: Sequence[str]) -> Any:
    given = [cell for cell in cells if cell]
    numbers = parse_numbers(given) if given else np.empty(0, column.numbers.dtype)
    if numbers is None or numbers.dtype.kind == "f" != column.numbers.dtype.kind:
        raise _OtherType
    if numbers.dtype.kind == "i" != column.numbers.dtype.kind and any(int(float(n)) != n for n in numbers.tolist()):
        raise _OtherType
    behind = np.zeros(len(cells), column.numbers.dtype)
    has_number = np.array([bool(cell) for cell in cells], np.bool_)
    behind[has_number] = numbers
    valid = column.valid()
    kept_valid = np.ones(len(kept), np.bool_) if valid is None else valid[kept]
    kind = pa.int64() if column.numbers.dtype == np.int64 else pa.float64()
    return from_items(kind, np.concatenate([column.numbers[kept], behind]), np.concatenate([kept_valid, has_number]))


def _revised_codes(column: Codes, kept: Rows, cells: Sequence[str], own: bool) -> Any:
    used, codes = np.unique(column.codes[kept], return_inverse=True)
    values = column.texts.take(used.astype(np.int64))
    if own and not any(values) and any(cells):
        raise _OtherType  # nothing yet: the first cells say what it is
    code_of = {value: code for code, value in enumerate(values)}
    behind = [code_of.setdefault(cell, len(code_of)) for cell in cells]
    return dictionary_array(list(code_of), np.concatenate([codes, behind]).astype(np.int32))


def _copy_lines(source: Path, kept: Rows, target: IO[bytes]) -> None:
    """The header and the lines of these rows, which are escaped: a line end is the end of a row."""
    text = np.memmap(source, np.uint8, "r")
    starts = range(0, len(text), BLOCK_BYTES)
    found = [start + np.flatnonzero(text[start : start + BLOCK_BYTES] == ord("\n")) for start in starts]
    ends = np.concatenate(found) + 1  # of the header, and of each row
    target.write(text[: ends[0]].data)
    last_of_runs = np.flatnonzero(np.diff(kept, append=-1) != 1)
    first = 0
    for last in last_of_runs.tolist():
        target.write(text[ends[kept[first]] : ends[kept[last] + 1]].data)
        first = last + 1


def _hash_table(base_dir: Path, n_clips: int, kept: Rows, added_ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    """As `clip_ids.hash_table`, the hashes that are there not computed again."""
    hashes, rows = open_npy(base_dir / "clip_ids.npy", (2, n_clips), np.uint64)
    new_rows = np.full(n_clips, -1, np.int64)
    new_rows[kept] = np.arange(len(kept))
    rows = new_rows[rows.astype(np.int64)]
    hashes, rows = hashes[rows >= 0], rows[rows >= 0]
    added = np.array([hash_of(clip_id) for clip_id in added_ids], np.uint64)
    all_hashes = np.concatenate([hashes, added])
    all_rows = np.concatenate([rows, len(kept) + np.arange(len(added))]).astype(np.uint64)
    order = np.argsort(all_hashes, kind="stable")
    return np.stack([all_hashes[order], all_rows[order]])
