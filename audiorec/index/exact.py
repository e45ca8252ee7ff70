"""Exact search over the embeddings: the oracle for recall, the fallback, and the engine of small catalogues."""

from collections.abc import Sequence

import numpy as np

from audiorec.index import Codes, Floats, Hits, Mask, Rows

MAX_SCORES = 2**24  # held at once: 64 MiB, or one query's where the catalogue is larger than that
BLOCK_ROWS = 2**13  # embeddings gathered at once
BATCH = 16  # queries multiplied at once
# OpenBLAS spreads a product with a matrix of this many numbers over threads. Beside other work that turns 0.05 ms into
# 8, as the threads wait for each other's time slices, so products are made of smaller ones.
THREADED_SIZE = 9216
GATHER_COST = 6  # gathering a row costs about as much as scanning this many
STRIPE = 64  # scores that share one maximum in `highest`
SLACK = 1e-5  # more than float32 sums of D <= 4096 products of unit vectors differ by between orders of summation


class ExactEngine:
    """Brute force over (n, D) float32 embeddings of unit norm, which may be memory-mapped."""

    kind = "exact"

    def __init__(self, embeddings: Floats) -> None:
        assert embeddings.ndim == 2
        assert embeddings.dtype == np.float32
        self.embeddings = np.asarray(embeddings)  # np.memmap itself costs microseconds in every expression

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
        """See `Engine.search`."""
        n = len(self.embeddings)
        rows: Rows | None = None
        if allowed is not None:
            allowed = allowed.copy()
            allowed[list(excluded)] = False
            if GATHER_COST * np.count_nonzero(allowed) < n:
                rows = np.flatnonzero(allowed)
        codes = groups if groups is None or rows is None else groups[rows]
        batch = max(1, min(BATCH, MAX_SCORES // n))
        found = []
        for start in range(0, len(vectors), batch):
            queries = vectors[start : start + batch]
            scores = self._scores(queries, rows)
            if rows is None and allowed is not None:
                np.copyto(scores, -np.inf, where=~allowed)
            elif rows is None:
                scores[:, list(excluded)] = -np.inf
            for vector, line in zip(queries, scores, strict=True):
                best, similarities = self._best(vector, line, rows, k, codes, group_cap)
                found.append((best if rows is None else rows[best], similarities))
        return pack(found, k)

    def _scores(self, queries: Floats, rows: Rows | None) -> Floats:
        """Cosines, to within `SLACK`, of all clips, (B, n), or of `rows` only, (B, len(rows))."""
        if rows is None and len(queries) == 1:
            return products(self.embeddings, queries).reshape(1, -1)
        m = len(self.embeddings) if rows is None else len(rows)
        scores = np.empty((len(queries), m), np.float32)
        for start in range(0, m, BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            scores[:, block] = products(self.embeddings[block if rows is None else rows[block]], queries).T
        return scores

    def _best(
        self, vector: Floats, scores: Floats, rows: Rows | None, k: int, codes: Codes | None, group_cap: int | None
    ) -> tuple[Rows, Floats]:
        """Positions in `scores`, which is overwritten, of the best k or more clips, ranked, and their similarities."""
        size = k if codes is None or group_cap is None else 4 * k
        while True:
            top = highest(scores, size)
            top_rows = top if rows is None else rows[top]
            order, similarities = rank(self.embeddings, top_rows, vector)
            top = top[order]
            if codes is None or group_cap is None:
                return top, similarities
            kept = within_cap(codes[top], group_cap)
            if kept.all() or np.count_nonzero(kept) >= k:
                return top[kept], similarities[kept]
            # Groups over their cap would crowd out the next round too: leave of them only what was kept.
            kept_scores = scores[top[kept]]
            scores[np.isin(codes, codes[top[~kept]])] = -np.inf
            scores[top[kept]] = kept_scores
            size *= 4


def products(embeddings: Floats, queries: Floats) -> Floats:
    """(m, B) products of (m, D) `embeddings` and (B, D) `queries`, in one thread."""
    (m, dim), n_queries = embeddings.shape, len(queries)
    tile = 64
    while tile > 1 and tile * dim >= THREADED_SIZE:
        tile //= 2
    tiled = m - m % tile
    out = np.empty((m, n_queries), np.float32)
    np.matmul(embeddings[:tiled].reshape(-1, tile, dim), queries.T, out=out[:tiled].reshape(-1, tile, n_queries))
    np.matmul(embeddings[tiled:], queries.T, out=out[tiled:])
    return out


def highest(scores: Floats, size: int) -> Rows:
    """Ascending positions of the `size` highest of (m,) scores and of all within `SLACK` of them; never of a -inf."""
    m = len(scores)
    floor = -2.0  # below any cosine
    if m >= 2 * STRIPE * size:
        # At least `size` stripes hold a score as high as the `size`-th best stripe maximum. That bounds the answer from
        # below in one pass over memory, ten times faster than partitioning all the scores.
        maxima = scores[: m - m % STRIPE].reshape(-1, STRIPE).max(axis=1)
        floor = max(floor, _nth_highest(maxima, size) - SLACK)
    candidates = np.flatnonzero(scores >= floor)
    if len(candidates) > size:
        remaining = scores[candidates]
        candidates = candidates[remaining >= _nth_highest(remaining, size) - SLACK]
    return candidates


def _nth_highest(scores: Floats, n: int) -> float:
    return float(np.partition(scores, len(scores) - n)[len(scores) - n])


def rank(embeddings: Floats, rows: Rows, vector: Floats) -> tuple[Rows, Floats]:
    """The order that ranks (m,) `rows`, by falling similarity to `vector`, then by row; the similarities so ordered.

    einsum sums every row in the same order, so copies of a clip get the same similarity in any batch and behind any
    engine; a BLAS product does not promise that.
    """
    similarities = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        np.einsum("ij,j->i", embeddings.take(rows[block], axis=0), vector, out=similarities[block])
    np.minimum(similarities, 1, out=similarities)
    np.maximum(similarities, -1, out=similarities)
    order = np.lexsort((rows, -similarities))
    return order, similarities[order]


def within_cap(codes: Codes, group_cap: int) -> Mask:
    """Which of the ranked (m,) `codes` are among the first `group_cap` of their value, or negative."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    positions = np.arange(len(codes))
    first = np.searchsorted(ordered, ordered)
    kept = np.empty(len(codes), np.bool_)
    kept[order] = (positions - first < group_cap) | (ordered < 0)
    return kept


def pack(found: Sequence[tuple[Rows, Floats]], k: int) -> Hits:
    """Hits of k columns from each query's ranked rows and similarities, cut or padded."""
    rows = np.full((len(found), k), -1, np.int64)
    similarities = np.full((len(found), k), -np.inf, np.float32)
    for i, (some_rows, some_similarities) in enumerate(found):
        rows[i, : len(some_rows)] = some_rows[:k]
        similarities[i, : len(some_rows)] = some_similarities[:k]
    return Hits(rows, similarities)
