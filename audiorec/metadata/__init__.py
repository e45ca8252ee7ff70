"""What a release knows of its clips: written once as text and as Arrow, read from memory maps that all workers share.

    metadata.tsv     a header and a row a clip, for people
    metadata.arrow   the same as one Arrow record batch, in the same order
    clip_ids.npy     (2, n) uint64: the hashes of the clip ids, sorted, above the row of each
    groups.npy       (n,) int32: rows of one code are by the same artist; an artist that is unknown, or made up
                     (`placeholders.py`), is a group of its own

A reader holds nothing on its heap that grows with the number of clips.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audiorec.errors import BadCatalogue, BadModelDir, UnknownClip
from audiorec.files import replacing
from audiorec.files.npy import open_npy
from audiorec.files.tsv import escape_cell, read_tsv, tsv_line, unescape_cell
from audiorec.metadata.clip_ids import ClipIds, hash_table
from audiorec.metadata.column_builders import (
    Builder,
    Cell,
    CodesBuilder,
    FloatsBuilder,
    OwnBuilder,
    TextsBuilder,
    cell_text,
    seconds_text,
)
from audiorec.metadata.columns import Codes, Column, Numbers, Rows, Texts, column_of, open_columns
from audiorec.metadata.placeholders import PLACEHOLDER_COLUMN, says_so
from audiorec.quoting import quoted

__all__ = [
    "CORE_COLUMNS",
    "LABEL_SEPARATOR",
    "METADATA_FILES",
    "Cell",
    "Metadata",
    "escape_cell",
    "read_tsv",
    "split_labels",
    "unescape_cell",
    "write_metadata",
]

LABEL_SEPARATOR = ";"
METADATA_FILES = ("metadata.tsv", "metadata.arrow", "clip_ids.npy", "groups.npy")

_CORE: dict[str, type[Column]] = {
    "clip_id": Texts,
    "url": Texts,
    "title": Texts,
    "artist": Codes,
    "album": Codes,
    "label": Codes,
    "duration_s": Numbers,
    "license": Codes,
    "sha256": Texts,
    "source": Texts,
}
_BUILDERS: dict[type[Column], Callable[[], Builder]] = {
    Texts: TextsBuilder,
    Codes: CodesBuilder,
    Numbers: FloatsBuilder,
}
CORE_COLUMNS = tuple(_CORE)
_ANSWER_COLUMNS = ("clip_id", "url", "title", "artist", "label")
_VERIFY_ROWS = 4096
_DAMAGED = "metadata.arrow is damaged; build the release again"


def split_labels(cell: str) -> list[str]:
    """The labels of a label cell such as "dog;cat"; none for an empty one."""
    return [label for label in cell.split(LABEL_SEPARATOR) if label]


def write_metadata(directory: Path, rows: Iterable[Mapping[str, Cell]], own_columns: Sequence[str] = ()) -> None:
    """Write METADATA_FILES into an existing directory, each flushed to disk, in one pass over the rows.

    A row maps CORE_COLUMNS and `own_columns` to cells; one left out or None is empty, save clip_id. An own column is
    stored as numbers when all its cells are JSON numbers, else as text. Raises BadCatalogue for no rows, a clip id that
    is empty or used twice, a duration that is no number >= 0, text that is not Unicode, and own columns that clash.
    """
    names = (*CORE_COLUMNS, *own_columns)
    _check_names(names)
    builders = {name: _BUILDERS[_CORE[name]]() if name in _CORE else OwnBuilder() for name in names}
    with replacing(directory / "metadata.tsv", durable=True) as tsv:
        tsv.write(tsv_line(names))
        for row in rows:
            cells = cells_of(row, names)
            tsv.write(tsv_line(cells))
            for builder, cell in zip(builders.values(), cells, strict=True):
                builder.append(cell)
    arrays = {name: builder.array() for name, builder in builders.items()}
    batch = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(names))
    if batch.num_rows == 0:
        raise BadCatalogue("got no clips, expected at least one")
    with replacing(directory / "clip_ids.npy", durable=True) as file:
        np.save(file, hash_table(Texts(arrays["clip_id"])))
    with replacing(directory / "groups.npy", durable=True) as file:
        np.save(file, groups_of(arrays))
    with replacing(directory / "metadata.arrow", durable=True) as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


class Metadata:
    """The metadata of an open release. Rows are numbered 0..n-1, as in every file of it."""

    @classmethod
    def open(cls, directory: Path) -> "Metadata":
        """Map the files, after checks of structure that do not read them through. Raises BadModelDir."""
        batch, columns = open_columns(directory / "metadata.arrow")
        if tuple(columns)[: len(CORE_COLUMNS)] != CORE_COLUMNS:
            expected = ", ".join(CORE_COLUMNS)
            raise BadModelDir(f"metadata.arrow has the columns {', '.join(columns)}; expected first {expected}")
        for name, kind in _CORE.items():
            if not isinstance(columns[name], kind):
                got = batch.schema.field(name).type
                raise BadModelDir(f"metadata.arrow has {name} as {got}; build the release again")
        if batch.num_rows == 0:
            raise BadModelDir("metadata.arrow has 0 rows, expected at least 1")
        return cls(directory, batch, columns)

    def __init__(self, directory: Path, batch: Any, columns: dict[str, Column]) -> None:
        """Use `open`. Raises BadModelDir where the other files do not fit the columns."""
        ids, artists = columns["clip_id"], columns["artist"]
        assert isinstance(ids, Texts)
        assert isinstance(artists, Codes)
        self._directory = directory
        self._batch = batch
        self._columns = columns
        self._n_rows: int = batch.num_rows
        self._ids = ids
        self._artists = artists
        self._rest = [name for name in columns if name not in _ANSWER_COLUMNS]
        self._in_answer_order = [columns[name] for name in (*_ANSWER_COLUMNS, *self._rest)]
        self._clip_ids = ClipIds(directory / "clip_ids.npy", ids)
        self.columns = tuple(columns)
        self.own_columns = self.columns[len(CORE_COLUMNS) :]
        # (n,) int32, mapped: rows of one code are by the same artist
        self.groups: npt.NDArray[np.int32] = open_npy(directory / "groups.npy", (self._n_rows,), np.int32)

    def __len__(self) -> int:
        return self._n_rows

    @property
    def numeric_columns(self) -> tuple[str, ...]:
        return tuple(name for name, column in self._columns.items() if isinstance(column, Numbers))

    def column(self, name: str) -> Column:
        """A column, to read or compare as a whole. Raises KeyError for a name that is not in `columns`."""
        return self._columns[name]

    def clip_id(self, row: int) -> str:
        """The id of the clip in a row."""
        return str(self._take([self._ids], [row])[0][0])

    def find(self, clip_id: str) -> int | None:
        """The row of a clip, or None where the catalogue has no such clip."""
        try:
            return self._clip_ids.find(clip_id)
        except UnicodeDecodeError:
            raise BadModelDir(_DAMAGED) from None

    def row_of(self, clip_id: str) -> int:
        """The row of a clip. Raises UnknownClip."""
        row = self.find(clip_id)
        if row is None:
            raise UnknownClip(
                f"got the clip id {quoted(clip_id)}, expected one of the {self._n_rows} clips of this catalogue"
            )
        return row

    def sample(self, n_clips: int) -> Rows:
        """Ascending rows of a random sample of the catalogue: nearly the same clips in one that is nearly the same."""
        return self._clip_ids.sample(n_clips)

    def row(self, row: int) -> dict[str, Any]:
        """One clip, as in `rows`."""
        return self.rows([row])[0]

    def rows(self, rows: Sequence[int] | Rows) -> list[dict[str, Any]]:
        """Clips as the service answers them: {clip_id, url, title, artist, label, metadata: {every other column}}.

        Text is "" where there is none, a number None. Raises IndexError for a row outside 0..n-1.
        """
        cells = self._take(self._in_answer_order, rows)
        answers = zip(*cells[: len(_ANSWER_COLUMNS)], strict=True)
        rests = zip(*cells[len(_ANSWER_COLUMNS) :], strict=True)
        return [
            {
                "clip_id": clip_id,
                "url": url,
                "title": title,
                "artist": artist,
                "label": label,
                "metadata": dict(zip(self._rest, rest, strict=True)),
            }
            for (clip_id, url, title, artist, label), rest in zip(answers, rests, strict=True)
        ]

    def verify(self) -> None:
        """Read all files through and hold them against each other: seconds per 100,000 clips. Raises BadModelDir."""
        try:
            self._batch.validate(full=True)
        except ValueError:
            raise BadModelDir(_DAMAGED) from None
        for name, column in self._columns.items():
            if isinstance(column, Codes) and not all(a < b for a, b in pairwise(column.texts)):
                raise BadModelDir(f"metadata.arrow has the values of {name} out of order; build the release again")
        self._clip_ids.verify()
        if not np.array_equal(self.groups, _groups(self._artists, self._columns.get(PLACEHOLDER_COLUMN))):
            raise BadModelDir("groups.npy does not belong to the artists of metadata.arrow; build the release again")
        self._verify_text()

    def _verify_text(self) -> None:
        written = read_tsv(self._directory / "metadata.tsv")
        for start in range(0, self._n_rows, _VERIFY_ROWS):
            rows = np.arange(start, min(start + _VERIFY_ROWS, self._n_rows))
            if not self._holds(rows, list(islice(written, len(rows)))):
                raise BadModelDir(f"metadata.tsv is not what metadata.arrow holds after row {start}; build it again")
        if next(written, None) is not None:
            raise BadModelDir(f"metadata.tsv has more rows than metadata.arrow, expected {self._n_rows}")

    def _holds(self, rows: Rows, texts: Sequence[Mapping[str, str]]) -> bool:
        if len(texts) != len(rows) or tuple(texts[0]) != self.columns:
            return False
        try:
            return all(
                column.take(rows) == [column.parse(text[name]) for text in texts]
                for name, column in self._columns.items()
            )
        except ValueError:
            return False

    def _take(self, columns: Iterable[Column], rows: Sequence[int] | Rows) -> list[list[Any]]:
        wanted = np.asarray(rows, np.int64)
        numbers = wanted.tolist()
        if numbers and not 0 <= min(numbers) <= max(numbers) < self._n_rows:
            raise IndexError(f"rows {min(numbers)} to {max(numbers)} of a catalogue of {self._n_rows} clips")
        try:
            return [column.take(wanted) for column in columns]
        except (IndexError, UnicodeDecodeError):
            raise BadModelDir(_DAMAGED) from None


def _check_names(names: Sequence[str]) -> None:
    for position, name in enumerate(names):
        if not name or name in names[:position]:
            raise BadCatalogue(f"got a column named {quoted(name)}, expected a name that is not taken: rename it")


def cells_of(row: Mapping[str, Cell], names: Sequence[str]) -> list[str]:
    """The text of a row's cells as metadata.tsv has them. Raises BadCatalogue, as `write_metadata` does."""
    assert row.keys() <= set(names), f"cells without a column: {row.keys() - set(names)}"
    clip_id = cell_text(row.get("clip_id"))
    if not clip_id:
        raise BadCatalogue("got a clip with an empty clip_id, expected one for every clip")
    cells = [
        seconds_text(row.get(name), clip_id) if name == "duration_s" else cell_text(row.get(name)) for name in names
    ]
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        raise BadCatalogue(
            f"got text of clip {quoted(clip_id)} that is not Unicode, expected UTF-8: rename it"
        ) from None
    return cells


def groups_of(arrays: Mapping[str, Any]) -> npt.NDArray[np.int32]:
    """(n,): a code an artist, and one of its own for each clip without any. arrays: pyarrow's, by column."""
    placeholders = arrays.get(PLACEHOLDER_COLUMN)
    return _groups(Codes(arrays["artist"]), None if placeholders is None else column_of(placeholders))


def _groups(artists: Codes, placeholders: Column | None) -> npt.NDArray[np.int32]:
    groups = artists.codes.copy()
    is_unknown = artists.codes == 0 if artists.values[0] == "" else np.zeros(len(groups), np.bool_)
    if isinstance(placeholders, Codes):
        is_unknown |= np.array([says_so(value) for value in placeholders.values], np.bool_)[placeholders.codes]
    elif isinstance(placeholders, Numbers):  # somebody's own table, with ones
        valid = placeholders.valid()
        is_unknown |= (placeholders.numbers == 1) & (True if valid is None else valid)
    unknown = np.flatnonzero(is_unknown)
    groups[unknown] = len(artists.values) + unknown
    return groups
