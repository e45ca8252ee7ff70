"""From a clip to its embedding: windows, their unit vectors, the mean of those that sound, normalised again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from audiorec.audio import SAMPLE_RATE_HZ, Pcm, sounding, windows

Array = npt.NDArray[np.float32]

BATCH_WINDOWS = 16


class WindowEncoder(Protocol):
    """What `export.LoadedEncoder` is."""

    dim: int

    def encode(self, windows: Array) -> Array: ...


@dataclass(frozen=True, slots=True)
class Embedding:
    """vector: (D,) float32, unit norm. window_vectors: (n_windows, D) float32, zero where a window is silent."""

    vector: Array
    window_vectors: Array
    duration_s: float


def embed(pcm: Pcm, encoder: WindowEncoder) -> Embedding:
    """pcm: a clip, (n_samples,) int16. The one way from a clip to its embedding."""
    cut = windows(pcm)
    heard = sounding(cut)
    vectors = np.zeros((len(cut), encoder.dim), np.float32)
    vectors[heard] = in_batches(encoder.encode, cut[heard])
    return Embedding(clip_vector(vectors[heard]), vectors, len(pcm) / SAMPLE_RATE_HZ)


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
