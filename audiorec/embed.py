"""From a clip to its embedding: windows, their unit vectors, the mean of those that sound, normalised again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from audiorec.audio import CLIP_SAMPLES, SAMPLE_RATE_HZ, Pcm, count_windows, sounding, windows

Array = npt.NDArray[np.float32]

BATCH_WINDOWS = 4  # at 16 the baselines take twice as long for a window, at 1 a large network a third longer


class WindowEncoder(Protocol):
    """What `export.LoadedEncoder` is."""

    dim: int
    n_labels: int

    def outputs(self, windows: Array) -> Array: ...


@dataclass(frozen=True, slots=True)
class Embedding:
    """vector: (D,) float32, unit norm. window_vectors: (n_windows, D) float32, zero where a window is silent.

    label_scores: (n_labels,) float32 in [0, 1], the mean over the windows that sound, by an encoder with a head.
    """

    vector: Array
    window_vectors: Array
    duration_s: float
    label_scores: Array | None = None


def embed(pcm: Pcm, encoder: WindowEncoder) -> Embedding:
    """pcm: a clip, (n_samples,) int16. The one way from a clip to its embedding."""
    making = EmbeddingInMaking(pcm, encoder.dim, encoder.n_labels)
    while making.n_left:
        if len(cut := making.take(BATCH_WINDOWS)):
            making.give(encoder.outputs(cut))
    return making.finished()


class EmbeddingInMaking:
    """A clip on its way through an encoder, some windows at a time: no more of them are in memory."""

    def __init__(self, pcm: Pcm, dim: int, n_labels: int = 0) -> None:
        """pcm: (n_samples,) int16. dim, n_labels: of the encoder."""
        self.n_left = count_windows(len(pcm))
        self._pcm = pcm
        self._heard = np.zeros(self.n_left, np.bool_)
        self._vectors = np.zeros((self.n_left, dim), np.float32)
        self._label_scores = np.zeros((self.n_left, n_labels), np.float32)
        self._taken = slice(0)

    def take(self, n: int) -> Array:
        """The next n windows, or those that are left, without the silent ones: (n or fewer, CLIP_SAMPLES) float32."""
        first = self._taken.stop
        self._taken = slice(first, first + min(n, self.n_left))
        self.n_left -= self._taken.stop - first
        cut = windows(self._pcm[first * CLIP_SAMPLES : self._taken.stop * CLIP_SAMPLES])
        heard = sounding(cut)
        self._heard[self._taken] = heard
        return cut if heard.all() else cut[heard]

    def give(self, outputs: Array) -> None:
        """The encoder's of the windows that were taken last, where there were any: (n, dim + n_labels)."""
        heard, dim = self._heard[self._taken], self._vectors.shape[1]
        self._vectors[self._taken][heard] = outputs[:, :dim]
        self._label_scores[self._taken][heard] = outputs[:, dim:]

    def finished(self) -> Embedding:
        vector = clip_vector(self._vectors[self._heard])
        label_scores = self._label_scores[self._heard].mean(axis=0) if self._label_scores.size else None
        return Embedding(vector, self._vectors, len(self._pcm) / SAMPLE_RATE_HZ, label_scores)


def in_batches(function: Callable[[Array], Array], x: Array) -> Array:
    """function over the rows of x, a bounded number at a time."""
    return np.concatenate([function(x[i : i + BATCH_WINDOWS]) for i in range(0, len(x), BATCH_WINDOWS)])


def clip_vector(window_vectors: Array) -> Array:
    """window_vectors: (n_windows >= 1, D), unit norm. Returns (D,) float32, unit norm."""
    mean = window_vectors.mean(axis=0, dtype=np.float64)
    norm = np.linalg.norm(mean)
    if norm < 1e-6:  # windows that cancel out exactly: take the first, any direction is as good
        mean, norm = window_vectors[0].astype(np.float64), np.float64(1)
    vector: Array = (mean / norm).astype(np.float32)
    return vector
