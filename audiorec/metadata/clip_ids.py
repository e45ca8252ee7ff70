"""From a clip id to its row without a scan: the hashes of all ids, sorted and memory-mapped."""

import hashlib
from bisect import bisect_left
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audiorec.errors import BadCatalogue, BadModelDir
from audiorec.files.npy import open_npy
from audiorec.metadata.columns import Texts
from audiorec.quoting import quoted


def hash_of(clip_id: str) -> int:
    """64 bits of BLAKE2b: the same in every process and on every machine."""
    text = clip_id.encode("utf-8", "surrogatepass")  # a question may hold half a surrogate pair; no id does
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def hash_table(ids: Texts) -> npt.NDArray[np.uint64]:
    """(2, n) uint64: the hashes of all ids, sorted, above the row of each. Raises BadCatalogue for an id used twice."""
    hashes = np.fromiter(map(hash_of, ids), np.uint64, len(ids))
    rows = np.argsort(hashes, kind="stable")
    table = np.stack([hashes[rows], rows.astype(np.uint64)])
    same = np.flatnonzero(table[0, 1:] == table[0, :-1])
    counts = Counter(ids.take(rows[np.union1d(same, same + 1)]))
    twice = [clip_id for clip_id, count in counts.items() if count > 1]
    if twice:
        raise BadCatalogue(f"got {len(twice)} clip ids more than once, one is {quoted(min(twice))}: rename the clips")
    return table


class ClipIds:
    """The mapped hash table of a release, over its column of clip ids."""

    def __init__(self, path: Path, ids: Texts) -> None:
        """Raises BadModelDir for a file that is missing, broken, or made for another number of clips."""
        self._table = open_npy(path, (2, len(ids)), np.uint64)
        if (last := int(self._table[1].max())) >= len(ids):
            raise BadModelDir(f"{path.name} points to row {last}, expected rows below {len(ids)}")
        self._ids = ids
        self._name = path.name
        self._hashes, self._rows = memoryview(self._table[0]), memoryview(self._table[1])

    def find(self, clip_id: str) -> int | None:
        """The row of a clip, or None where the catalogue has no such clip."""
        clip_hash = hash_of(clip_id)
        for position in range(bisect_left(self._hashes, clip_hash), len(self._ids)):
            if self._hashes[position] != clip_hash:
                break
            row: int = self._rows[position]
            if self._ids[row] == clip_id:
                return row
        return None

    def sample(self, n_clips: int) -> npt.NDArray[np.int64]:
        """The rows, ascending, of that many clips or of all, drawn by the hashes of their ids."""
        return np.sort(self._table[1, :n_clips]).astype(np.int64)

    def verify(self) -> None:
        """Make the table again and compare. Raises BadModelDir."""
        try:
            matches = np.array_equal(self._table, hash_table(self._ids))
        except BadCatalogue as error:
            raise BadModelDir(f"metadata.arrow is damaged: {error.message}") from None
        if not matches:
            raise BadModelDir(
                f"{self._name} does not belong to the clip ids of metadata.arrow; build the release again"
            )
