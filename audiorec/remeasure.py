"""An open release measured again: its retrieval by label, and its index against exact search."""

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from audiorec.index.exact import ExactEngine
from audiorec.release import Release, open_release
from audiorec.release.describe import evaluation_of
from audiorec.release.manifest import Evaluation

K = 10
N_QUERIES = 1_000
TIE = 1e-6  # a clip less similar than the k-th true neighbour by no more than this is as good


def remeasure(model_dir: Path) -> tuple[Evaluation, dict[str, Any]]:
    """(evaluation as in the manifest, {"kind", "recall_at_10", "us_per_query", "exact_us_per_query", "n_queries"}).

    The encoder's scores are new; the baselines' are those of the build, which had the sounds. Raises BadModelDir.
    """
    release = open_release(model_dir)
    recorded = release.manifest.evaluation
    evaluation = evaluation_of(release.embeddings, release.metadata, recorded.encoder.name, recorded.baselines)
    return evaluation, measure_index(release)


def measure_index(release: Release, *, seed: int = 1) -> dict[str, Any]:
    """Recall@10 and time of single queries for catalogue clips, each left out of its own answer."""
    n_clips = len(release.embeddings)
    rows = np.random.default_rng(seed).choice(n_clips, min(n_clips, N_QUERIES), replace=False)
    k = min(K, n_clips - 1)
    exact = ExactEngine(release.embeddings)
    recalls, seconds, exact_seconds = [], [], []
    for row in rows.tolist():
        vector = release.embeddings[row : row + 1]
        start = perf_counter()
        found = release.engine.search(vector, k, excluded=[row]) if k else None
        middle = perf_counter()
        truth = exact.search(vector, k, excluded=[row]) if k else None
        exact_seconds.append(perf_counter() - middle)
        seconds.append(middle - start)
        if found is not None and truth is not None:
            recalls.append(float(np.mean(found.similarities[0] >= truth.similarities[0, -1] - TIE)))
    return {
        "kind": release.engine.kind,
        "recall_at_10": round(float(np.mean(recalls)) if recalls else 1.0, 4),
        "us_per_query": round(float(np.median(seconds)) * 1e6, 1),
        "exact_us_per_query": round(float(np.median(exact_seconds)) * 1e6, 1),
        "n_queries": len(rows),
    }
