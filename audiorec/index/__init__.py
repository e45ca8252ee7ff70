"""Nearest-neighbour engines behind one signature: a batch of vectors in, ranked rows and cosines out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from audiorec.errors import BadSetting

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Hits:
    """What a batch of B queries found: clips by row, nearest first; equal similarities by ascending row.

    rows: (B, k) int64, -1 where fewer than k clips pass the filters.
    similarities: (B, k) float32 cosines in [-1, 1], computed from the embeddings; -inf where the row is -1.
    """

    rows: Rows
    similarities: Floats


class Engine(Protocol):
    """A way to search one catalogue of n unit vectors of D dimensions. Safe to share between threads."""

    @property
    def kind(self) -> str:
        """The name that the manifest records: a key of `ENGINES`."""
        ...

    def search(
        self,
        vectors: Floats,
        k: int,
        *,
        allowed: Mask | None = None,
        excluded: Sequence[int] = (),
        groups: Codes | None = None,
        group_cap: int | None = None,
    ) -> Hits:
        """The k clips nearest to each of `vectors`, (B, D) float32 of unit norm; k of them whenever k pass.

        allowed: (n,) bool, the clips that may be found. excluded: rows that may not.
        groups: (n,) int32, one code a clip; with `group_cap` >= 1 at most that many clips of one code are found.
        A negative code means no group and is never capped.
        """
        ...


def _exact(path: Path, embeddings: Floats, n_trees: int, search_k: int) -> Engine:
    from audiorec.index.exact import ExactEngine

    return ExactEngine(embeddings)


def _annoy(path: Path, embeddings: Floats, n_trees: int, search_k: int) -> Engine:
    from audiorec.index.annoy import AnnoyEngine

    return AnnoyEngine.open(path, embeddings, n_trees, search_k)


ENGINES: dict[str, Callable[[Path, Floats, int, int], Engine]] = {"annoy": _annoy, "exact": _exact}


def open_engine(kind: str, path: Path, embeddings: Floats, *, n_trees: int, search_k: int) -> Engine:
    """The engine called `kind` over `embeddings`, (n, D) float32 of unit norm, and the index file at `path`.

    Raises BadSetting for an unknown kind and BadModelDir for an index that does not belong to the embeddings.
    """
    if kind not in ENGINES:
        raise BadSetting(f"unknown index kind {kind!r}: expected one of {', '.join(sorted(ENGINES))}")
    return ENGINES[kind](path, embeddings, n_trees, search_k)
