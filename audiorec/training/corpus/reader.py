"""The corpus as a sequence of clips, memory-mapped."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audiorec.audio import FULL_SCALE, Pcm
from audiorec.errors import BadCatalogue
from audiorec.training.corpus.shards import CORPUS_FILE, WORD_COLUMNS, read_shard

Words = npt.NDArray[np.str_]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Names:
    """A column of words as numbers: `names[ids[row]]` is what `row` has."""

    names: Words
    ids: Ids


class Corpus:
    """Clips by row.

    Columns: source, label, instance, take, licence and credit as Names; n_samples (n_clips,) int64; parameters
    (n_clips, N_PARAMETERS) float16 in [0, 1], NaN where a clip has none.

    `corpus[row]` is a view of the file, (n_samples,) int16; `waveform` the same as float32 in [-1, 1].
    Raises BadCatalogue for a folder that is not a whole corpus.
    """

    def __init__(self, corpus_dir: Path) -> None:
        try:
            n_shards = int(json.loads((corpus_dir / CORPUS_FILE).read_bytes())["n_shards"])
        except (OSError, ValueError, KeyError):
            raise BadCatalogue(
                f"got {corpus_dir} without a whole {CORPUS_FILE}, expected a corpus: make it first"
            ) from None
        shards = [read_shard(corpus_dir, number) for number in range(n_shards)]
        rows = [row for shard in shards for row in shard.rows]
        self._sounds = [shard.sound for shard in shards]
        self._shard = np.repeat(np.arange(n_shards), [len(shard.rows) for shard in shards])
        self._offset = np.array([row["offset"] for row in rows], np.int64)
        self.n_samples = np.array([row["n_samples"] for row in rows], np.int64)
        self.parameters = np.concatenate([shard.parameters for shard in shards])
        self.source, self.label, self.instance, self.take, self.licence, self.credit = (
            _as_names([row[column] for row in rows]) for column in WORD_COLUMNS
        )

    def __len__(self) -> int:
        return len(self.n_samples)

    def __getitem__(self, row: int) -> Pcm:
        start = self._offset[row]
        return np.asarray(self._sounds[self._shard[row]][start : start + self.n_samples[row]])

    def waveform(self, row: int) -> npt.NDArray[np.float32]:
        """(n_samples,) float32 in [-1, 1]."""
        return self[row].astype(np.float32) / np.float32(FULL_SCALE)


def _as_names(words: list[str]) -> Names:
    names, ids = np.unique(np.array(words, np.str_), return_inverse=True)
    return Names(names, ids.astype(np.int64))
