"""Annoy's forest of random hyperplane trees: build the index file, open it, search it."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from annoy import AnnoyIndex

from audiorec.errors import BadModelDir, NoSpace
from audiorec.index import Codes, Floats, Hits, Mask, Rows
from audiorec.index.annoy_file import verify_annoy as verify_annoy  # for those who verify without opening
from audiorec.index.exact import GATHER_COST, ExactEngine, pack, rank, within_cap

TUNED_K = 10  # `search_k` is chosen for answers of this length; longer ones examine more in proportion
CANDIDATE_COST = 10  # examining a candidate takes Annoy about as long as exact search takes for this many rows
N_PROBES = 16  # clips asked for themselves when an index is opened


def build_annoy(embeddings: Floats, path: Path, n_trees: int, seed: int) -> None:
    """Write the index of `embeddings`, (n, D) float32 of unit norm, to `path`, by a temporary file and one rename.

    One thread builds: with several, Annoy numbers the nodes as they come, and one catalogue would give many files.
    Raises NoSpace where the disk is full or cannot be written.
    """
    index = AnnoyIndex(embeddings.shape[1], "angular")
    index.set_seed(seed)
    for row, vector in enumerate(np.asarray(embeddings)):
        index.add_item(row, vector.tolist())
    index.build(n_trees, n_jobs=1)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        index.save(os.fspath(temporary))
        index.unload()
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = error.strerror or error  # Annoy's own errors have a text, without a path, and no number
        raise NoSpace(
            f"{path.name} could not be written ({reason}): free space, or check that it is writable"
        ) from error


class AnnoyEngine:
    """An open index over (n, D) float32 unit embeddings, with exact search behind it. `open` makes one."""

    kind = "annoy"

    def __init__(self, index: AnnoyIndex, embeddings: Floats, search_k: int) -> None:
        self.index = index
        self.embeddings = np.asarray(embeddings)  # np.memmap itself costs microseconds in every expression
        self.search_k = search_k
        self.exact = ExactEngine(embeddings)

    @classmethod
    def open(cls, path: Path, embeddings: Floats, n_trees: int, search_k: int) -> "AnnoyEngine":
        """Map the index file at `path`. Raises BadModelDir unless it is the one of these embeddings, with `n_trees`.

        A small file is verified whole, of a large one a sample; `verify_annoy` looks at every node of either.
        """
        n, dim = embeddings.shape
        if not 1 <= search_k < 2**31:
            raise BadModelDir(f"{path.name}: got search_k {search_k}, expected 1 to 2147483647: build the index again")
        verify_annoy(path, embeddings, n_trees, quick=True)
        index = AnnoyIndex(dim, "angular")
        try:
            index.load(os.fspath(path))
        except (OSError, UnicodeError) as error:
            raise BadModelDir(f"{path.name} could not be mapped: {error}") from error
        if index.get_n_items() != n:
            raise BadModelDir(f"{path.name}: got {index.get_n_items()} clips, expected {n}: build the index again")
        engine = cls(index, embeddings, search_k)
        engine._probe(path.name)
        return engine

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
        """See `Engine.search`. Filtered answers are picked from a longer list of candidates, or come from exact search
        where that takes less time or the list still holds too few.
        """
        n = len(self.embeddings)
        n_allowed = n if allowed is None else int(np.count_nonzero(allowed))
        length = k + len(excluded)
        if allowed is not None:
            length = int(1.5 * length * n / max(n_allowed, 1))
        if group_cap is not None:
            length *= 2
        budget = min(n, GATHER_COST * n_allowed) // CANDIDATE_COST
        banned = frozenset(excluded)
        found = [self._approximate(vector, k, length, budget, allowed, banned, groups, group_cap) for vector in vectors]
        hits = pack(found, k)
        short = [i for i, (rows, _) in enumerate(found) if len(rows) < k]
        if short:
            exact = self.exact.search(
                vectors[short], k, allowed=allowed, excluded=excluded, groups=groups, group_cap=group_cap
            )
            hits.rows[short], hits.similarities[short] = exact.rows, exact.similarities
        return hits

    def _approximate(
        self,
        vector: Floats,
        k: int,
        length: int,
        budget: int,
        allowed: Mask | None,
        banned: Collection[int],
        groups: Codes | None,
        group_cap: int | None,
    ) -> tuple[Rows, Floats]:
        """k or more ranked rows and similarities from ever longer lists, `length` at first; fewer than k, or none, when
        the next list would have Annoy examine more than `budget` candidates.
        """
        query = vector.tolist()
        rows, similarities = np.empty(0, np.int64), np.empty(0, np.float32)
        while True:
            # In proportion to the list, so that the tail of a long one is as complete as the tuned ten.
            search_k = max(self.search_k, self.search_k * length // TUNED_K)
            if length > TUNED_K and search_k > budget:
                return rows, similarities
            nearest = self.index.get_nns_by_vector(query, length, search_k)
            rows = np.array([row for row in nearest if row not in banned] if banned else nearest, np.int64)
            if allowed is not None:
                rows = rows[allowed[rows]]
            order, similarities = rank(self.embeddings, rows, vector)
            rows = rows[order]
            if groups is not None and group_cap is not None:
                kept = within_cap(groups[rows], group_cap)
                rows, similarities = rows[kept], similarities[kept]
            if len(rows) >= k:
                return rows, similarities
            length *= 4

    def _probe(self, name: str) -> None:
        """Ask for some clips by their own vectors. Raises BadModelDir where the answers contradict the embeddings."""
        n = len(self.embeddings)
        probes = np.linspace(0, n - 1, min(n, N_PROBES)).astype(np.int64)
        n_found = 0
        for probe in probes:
            vector = self.embeddings[probe]
            rows, distances = self.index.get_nns_by_vector(
                vector.tolist(), TUNED_K, self.search_k, include_distances=True
            )
            got, expected = np.square(distances), 2 - 2 * (self.embeddings[rows] @ vector)
            if not np.allclose(got, expected, rtol=0, atol=1e-3):
                worst = np.argmax(np.abs(got - expected))
                raise BadModelDir(
                    f"{name}: got a squared distance of {got[worst]:.4g} between clips {probe} and {rows[worst]},"
                    f" expected {expected[worst]:.4g} from the embeddings: build the index again"
                )
            n_found += len(got) > 0 and got[0] < 1e-3
        if 2 * n_found < len(probes):  # a search_k of few candidates may miss some, among many copies of one clip
            raise BadModelDir(
                f"{name}: {n_found} of {len(probes)} clips found themselves, expected all: build the index again"
            )
