"""Choose `n_trees` and `search_k` by measuring the catalogue itself, and build the index that they make."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, pstdev

import numpy as np

from audiorec.index import Engine, Floats, Rows
from audiorec.index.annoy import TUNED_K, AnnoyEngine, build_annoy
from audiorec.index.exact import ExactEngine, rank

N_TREES = (4, 8, 16, 32, 64)
MAX_INSERTIONS = 2**26  # n_clips x n_trees: 64 trees over a million clips, built in about 90 s
MIN_SEARCH_K = 64
TREE_COST = 10  # a tree costs a query about as much time as this many candidates
WORTH_GROWING = 0.9  # twice the trees must bring the cost of a query down to this part
TIE = 1e-6  # a clip no more than this less similar than the k-th neighbour counts as found
MARGIN = 3  # standard errors that the recall must lie above the target, as several looks are taken at one sample
WORTH_US = 100  # a query must become this much faster to give up the certainty of exact search
N_TIMED = 100
MAX_GROWTH = 2  # a catalogue that has grown or shrunk by more than this is tuned anew


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was chosen, and how it does on clips that had no part in the choice.

    kind: "annoy", or "exact" where exact search is about as fast or Annoy stays below the target.
    recall_at_10, us_per_query: of the Annoy index, whichever kind was chosen, for single queries without filters.
    n_queries: held-out clips that the recall was measured on. tuned_clips: catalogue that the choice was made for.
    """

    kind: str
    n_trees: int
    search_k: int
    recall_at_10: float
    us_per_query: float
    exact_us_per_query: float
    target_recall: float
    n_queries: int
    tuned_clips: int

    @property
    def reached(self) -> bool:
        """Whether the Annoy index has the recall that was asked for."""
        return self.recall_at_10 >= self.target_recall


@dataclass(frozen=True, slots=True)
class _Trial:
    """An index that was built and its `search_k` settled. recall: what it has at least, by `MARGIN`."""

    path: Path
    n_trees: int
    engine: AnnoyEngine
    recall: float
    reached: bool

    def beaten_below(self, n_trees: int) -> int:
        """The largest `search_k` with which an index of more trees, `n_trees`, would be worth having instead."""
        cost = self.engine.search_k + TREE_COST * self.n_trees
        return int(WORTH_GROWING * cost) - TREE_COST * n_trees


def tune(
    embeddings: Floats,
    path: Path,
    *,
    target_recall: float = 0.99,
    n_queries: int = 2000,
    seed: int = 0,
    report: Callable[[str], object] = lambda line: None,
) -> Tuning:
    """Write to `path` the smallest index of `embeddings`, (n, D) float32 of unit norm, that reaches the target recall.

    Recall is over a clip's ten nearest others, with exact search as the truth. `n_queries` clips choose, as many others
    judge; should those see less than the target, `search_k` grows by eighths until they see it. The trees are doubled
    while that makes queries at the target markedly cheaper, counted in trees and candidates and not in time: a
    catalogue gets the same index on every machine. `report` gets a line of text a trial. Raises NoSpace.
    """
    n = len(embeddings)
    sample = np.random.default_rng(seed).choice(n, min(n, 2 * n_queries), replace=False)
    choosing, judging = (sample[::2], sample[1::2]) if n > 1 else (sample, sample)
    exact = ExactEngine(embeddings)
    floors = _floors(exact, choosing)
    best: _Trial | None = None
    paths = {n_trees: path.with_name(f"{path.name}.{n_trees}") for n_trees in N_TREES}
    try:
        for n_trees, trial_path in paths.items():
            limit = best.beaten_below(n_trees) if best and best.reached else _limit(n)
            if best and (limit < MIN_SEARCH_K or n * n_trees > MAX_INSERTIONS):
                break
            build_annoy(embeddings, trial_path, n_trees, seed)
            engine = AnnoyEngine.open(trial_path, embeddings, n_trees, _limit(n))
            recall = _settle(engine, choosing, floors, target_recall, limit if best else MIN_SEARCH_K, limit)
            trial = _Trial(trial_path, n_trees, engine, recall, recall >= target_recall)
            report(f"{n_trees} trees, search_k {engine.search_k}: recall@10 of at least {recall:.4f}")
            if best and best.reached and not trial.reached:
                break
            if best is None or trial.recall > best.recall or trial.reached:
                best = trial
        assert best is not None
        best.path.replace(path)
    finally:
        for trial_path in paths.values():
            trial_path.unlink(missing_ok=True)
    return _judged(best.engine, best.n_trees, judging, target_recall, tuned_clips=n)


def tune_again(
    embeddings: Floats,
    path: Path,
    n_trees: int,
    search_k: int,
    *,
    tuned_clips: int,
    target_recall: float = 0.99,
    n_queries: int = 1000,
    seed: int = 0,
) -> Tuning:
    """Write to `path` the index of `embeddings` that was the choice for a catalogue of nearly the same, and measure it.

    Should it see less than the target, `search_k` grows as in `tune`; where that is not enough, or the catalogue has
    more than doubled or halved since, all is tuned anew. Else it takes a fraction of the time. Raises NoSpace.
    """
    n = len(embeddings)
    if max(n, tuned_clips) > MAX_GROWTH * min(n, tuned_clips):
        return tune(embeddings, path, target_recall=target_recall, seed=seed)
    build_annoy(embeddings, path, n_trees, seed)
    engine = AnnoyEngine.open(path, embeddings, n_trees, search_k)
    judging = np.random.default_rng(seed).choice(n, min(n, n_queries), replace=False)
    again = _judged(engine, n_trees, judging, target_recall, tuned_clips=tuned_clips)
    return again if again.reached else tune(embeddings, path, target_recall=target_recall, seed=seed)


def _judged(engine: AnnoyEngine, n_trees: int, judging: Rows, target_recall: float, *, tuned_clips: int) -> Tuning:
    """What an index does on clips that had no part in its choice, with a `search_k` that lets them see the target."""
    exact = engine.exact
    floors, limit = _floors(exact, judging), _limit(len(engine.embeddings))
    while (recall := fmean(_recalls(engine, judging, floors))) < target_recall and engine.search_k < limit:
        engine.search_k += engine.search_k // 8
    timed = engine.embeddings[judging[:N_TIMED]]
    us, exact_us = _us_per_query(engine, timed), _us_per_query(exact, timed)
    return Tuning(
        kind="annoy" if us + WORTH_US < exact_us and recall >= target_recall else "exact",
        n_trees=n_trees,
        search_k=engine.search_k,
        recall_at_10=recall,
        us_per_query=us,
        exact_us_per_query=exact_us,
        target_recall=target_recall,
        n_queries=len(judging),
        tuned_clips=tuned_clips,
    )


def _limit(n: int) -> int:
    """The largest `search_k` worth trying over n clips: exact search takes a third of the time for the same."""
    return max(10_000, n // 4)


def _settle(engine: AnnoyEngine, rows: Rows, floors: Floats, target_recall: float, start: int, limit: int) -> float:
    """Give `engine` the smallest `search_k` that reaches the target, to a sixteenth; `start` is tried first.

    Returns the recall over clips `rows`, less `MARGIN` standard errors, so that other clips see the target as well.
    """

    def recall_at(search_k: int) -> float:
        engine.search_k = search_k
        recalls = _recalls(engine, rows, floors)
        return fmean(recalls) - MARGIN * pstdev(recalls) / math.sqrt(len(recalls))

    low, high = MIN_SEARCH_K, start
    while (recall := recall_at(high)) < target_recall and high < limit:
        low, high = high, min(2 * high, limit)
    while recall >= target_recall and high - low > high // 16:
        middle = (low + high) // 2
        if (middle_recall := recall_at(middle)) >= target_recall:
            high, recall = middle, middle_recall
        else:
            low = middle
    engine.search_k = high
    return recall


def _floors(exact: ExactEngine, rows: Rows) -> Floats:
    """(Q,) similarities from which on a clip is among the ten nearest others of each clip in `rows`."""
    k = min(TUNED_K, len(exact.embeddings) - 1)
    # The clip itself, or a copy of it in its place, is at the top: the k-th other is the last of k + 1.
    floors: Floats = exact.search(exact.embeddings[rows], k + 1).similarities[:, k] - np.float32(TIE)
    return floors


def _recalls(engine: AnnoyEngine, rows: Rows, floors: Floats) -> list[float]:
    """Recall for each clip in `rows`: the part of its ten nearest others that one bare query returns."""
    k = min(TUNED_K, len(engine.embeddings) - 1)
    if k == 0:
        return [1.0] * len(rows)
    recalls = []
    for row, floor in zip(rows, floors, strict=True):
        vector = engine.embeddings[row]
        found = np.array(engine.index.get_nns_by_vector(vector.tolist(), k + 1, engine.search_k), np.int64)
        order, similarities = rank(engine.embeddings, found, vector)
        n_found = int(np.count_nonzero((similarities >= floor) & (found[order] != row)))
        recalls.append(min(k, n_found) / k)
    return recalls


def _us_per_query(engine: Engine, vectors: Floats) -> float:
    """The median time of a query for ten, in microseconds."""
    times_ns: list[float] = []
    for i in range(len(vectors)):
        start_ns = time.perf_counter_ns()
        engine.search(vectors[i : i + 1], TUNED_K)
        times_ns.append(time.perf_counter_ns() - start_ns)
    return median(times_ns) / 1000
