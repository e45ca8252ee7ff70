"""A cache on disk of what an encoder computes before its fitted last step: one entry a clip, kept between builds.

    features.f32    the features of every sounding window, float32, one after another
    features.jsonl  a line a clip: its SHA-256, where its features begin, and which of its windows sound

A clip's features are appended before the line that names them, so a killed process leaves at most a tail that no line
names, which the next one overwrites.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from audiorec.audio import Pcm, sounding, windows
from audiorec.embed import BATCH_WINDOWS, clip_vector, in_batches
from audiorec.files import writing_to_disk

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Function = Callable[[Array], Array]

BLOCK_CLIPS = 1024


class FeatureStore:
    """Use as a context. `directory` belongs to one encoder: the features of another one go to another directory."""

    def __init__(self, directory: Path, n_features: int) -> None:
        self._directory = directory
        self.n_features = n_features
        self._spans: dict[str, tuple[int, str]] = {}  # SHA-256 -> first row, "1101": a digit a window

    def __enter__(self) -> "FeatureStore":
        with writing_to_disk("the features"):
            self._directory.mkdir(parents=True, exist_ok=True)
            self._data = (self._directory / "features.f32").open("a+b")
            self._lines = (self._directory / "features.jsonl").open("a+b")
            self._n_rows = self._read_lines()
            _cut(self._data, self._n_rows * self.n_features * 4)
        return self

    def __exit__(self, *_: object) -> None:
        with writing_to_disk("the features"), self._data, self._lines:
            pass  # closing tries again to write what a full disk has refused

    def _read_lines(self) -> int:
        """Takes the lines whose features are there, cuts off the rest. Returns how many rows they name."""
        n_there = self._data.seek(0, os.SEEK_END) // (self.n_features * 4)
        self._lines.seek(0)
        n_rows = n_good_bytes = 0
        for line in self._lines:
            try:
                sha256, first_row, heard = json.loads(line)
                end = first_row + heard.count("1")
            except (ValueError, TypeError, AttributeError):
                break
            if not line.endswith(b"\n") or first_row != n_rows or end > n_there:
                break
            self._spans[sha256] = (first_row, heard)
            n_rows, n_good_bytes = end, n_good_bytes + len(line)
        _cut(self._lines, n_good_bytes)
        return n_rows

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._spans

    def append(self, sha256: str, features: Array, heard: Mask) -> None:
        """features: (number of windows that sound, n_features). heard: (n_windows,) bool."""
        assert features.shape == (int(heard.sum()), self.n_features), features.shape
        digits = "".join("1" if sounds else "0" for sounds in heard)
        with writing_to_disk("the features"):
            self._data.write(np.ascontiguousarray(features, "<f4").data)
            self._data.flush()
            self._lines.write(json.dumps([sha256, self._n_rows, digits]).encode() + b"\n")
            self._lines.flush()
        self._spans[sha256] = (self._n_rows, digits)
        self._n_rows += len(features)

    def heard(self, sha256: str) -> Mask:
        """Which windows of a clip sound: (n_windows,) bool."""
        return np.array([digit == "1" for digit in self._spans[sha256][1]], np.bool_)

    def n_heard(self, sha256: str) -> int:
        """How many windows of a clip sound."""
        return self._spans[sha256][1].count("1")

    def of(self, sha256s: Iterable[str]) -> Array:
        """The features of these clips' sounding windows, one clip after another: (n, n_features) float32."""
        spans = [self._spans[sha256] for sha256 in sha256s]
        rows = np.concatenate([np.arange(first, first + digits.count("1")) for first, digits in spans])
        stored = np.memmap(self._data.name, np.float32, "r", shape=(self._n_rows, self.n_features))
        return np.asarray(stored[rows])


def _cut(file: IO[bytes], n_bytes: int) -> None:
    if file.seek(0, os.SEEK_END) > n_bytes:  # a file that is whole is left alone
        file.truncate(n_bytes)


def add_features(features: Function, clips: Iterable[tuple[str, Pcm]], store: FeatureStore) -> Iterator[str]:
    """Adds the features of clips, (SHA-256, pcm), to the store; yields each SHA-256 once it is there.

    features: windows (n, CLIP_SAMPLES) to (n, n_features). Windows of several short clips go through it together.
    """
    batch: list[tuple[str, Array, Mask]] = []
    n_windows = 0
    for sha256, pcm in clips:
        cut = windows(pcm)
        heard = sounding(cut)
        batch.append((sha256, cut[heard], heard))
        n_windows += int(heard.sum())
        if n_windows >= BATCH_WINDOWS:
            yield from _flush(features, batch, store)
            batch, n_windows = [], 0
    if batch:
        yield from _flush(features, batch, store)


def _flush(features: Function, batch: Sequence[tuple[str, Array, Mask]], store: FeatureStore) -> Iterator[str]:
    joined = in_batches(features, np.concatenate([cut for _, cut, _ in batch]))
    ends = np.cumsum([len(cut) for _, cut, _ in batch])[:-1]
    for (sha256, _, heard), part in zip(batch, np.split(joined, ends), strict=True):
        store.append(sha256, part, heard)
        yield sha256


def means_of(function: Function, store: FeatureStore, sha256s: Sequence[str]) -> Iterator[Array]:
    """The mean of function, features (n, n_features) to (n, m), over the sounding windows of each clip in turn."""
    for start in range(0, len(sha256s), BLOCK_CLIPS):
        block = sha256s[start : start + BLOCK_CLIPS]
        ends = np.cumsum([store.n_heard(sha256) for sha256 in block])[:-1]
        for part in np.split(function(store.of(block)), ends):
            yield part.mean(axis=0)


def vectors_of(post: Function, store: FeatureStore, sha256s: Sequence[str], dim: int) -> Iterator[tuple[Array, Array]]:
    """(embedding (D,), window vectors (n_windows, D), zero where silent) of each clip in turn.

    post: features (n, n_features) to unit vectors (n, D).
    """
    for start in range(0, len(sha256s), BLOCK_CLIPS):
        block = sha256s[start : start + BLOCK_CLIPS]
        unit = post(store.of(block))
        first = 0
        for sha256 in block:
            heard = store.heard(sha256)
            window_vectors = np.zeros((len(heard), dim), np.float32)
            last = first + int(heard.sum())
            window_vectors[heard] = unit[first:last]
            yield clip_vector(unit[first:last]), window_vectors
            first = last
