"""Recall@10 and microseconds of Annoy over n_trees x search_k, beside exact search on the same vectors in the same run.

    python scripts/bench_index.py --sizes 10000 100000 --json index.json

The vectors resemble embeddings of real clips (`audiorec.testing.random_embeddings`). Queries are drawn like them and
are not in the catalogue.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audiorec.index import Floats
from audiorec.index.annoy import AnnoyEngine, build_annoy
from audiorec.index.exact import ExactEngine
from audiorec.index.tuning import tune
from audiorec.testing import random_embeddings

K = 10


def median_us(queries: Floats, *searches: Callable[[Floats], object]) -> list[float]:
    """The median time of each search over (Q, D) queries, taken in turns, each on a query it has not just seen."""
    times_ns = np.empty((len(searches), len(queries)))
    for i in range(len(queries)):
        for j, search in enumerate(searches):
            query = queries[(i + j * len(queries) // 2) % len(queries)]
            start_ns = time.perf_counter_ns()
            search(query)
            times_ns[j, i] = time.perf_counter_ns() - start_ns
    medians: list[float] = (np.median(times_ns, axis=1) / 1000).tolist()
    return medians


def measure(n: int, options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each n_trees and search_k over n vectors, and one for what `tune` chooses."""
    vectors = random_embeddings(n + options.queries, options.dim)
    np.save(folder / "embeddings.npy", vectors[options.queries :])
    embeddings = np.load(folder / "embeddings.npy", mmap_mode="r")
    queries, path = vectors[: options.queries], folder / "index.ann"
    exact = ExactEngine(embeddings)
    floors = exact.search(queries, K).similarities[:, -1:] - 1e-6
    exact_us = median_us(queries, lambda query: exact.search(query[None], K))[0]

    def row(n_trees: int, search_k: int, build_s: float, tuned: str = "") -> dict[str, Any]:
        engine = AnnoyEngine.open(path, embeddings, n_trees, max(search_k, n // 10))
        engine.search_k = search_k
        recall = float((engine.search(queries, K).similarities >= floors).mean())
        # Bare Annoy gets its lists ready-made: what turning an array into one costs is the engine's.
        lists = {query.tobytes(): query.tolist() for query in queries}
        annoy_us, engine_us = median_us(
            queries,
            lambda query: engine.index.get_nns_by_vector(lists[query.tobytes()], K, search_k, include_distances=True),
            lambda query: engine.search(query[None], K),
        )
        return {
            "vectors": n,
            "n_trees": n_trees,
            "search_k": search_k,
            "MB": path.stat().st_size / 1e6,
            "build s": build_s,
            "recall@10": recall,
            "annoy us": annoy_us,
            "engine us": engine_us,
            "exact us": exact_us,
            "engine / annoy": engine_us / annoy_us,
            "exact / annoy": exact_us / annoy_us,
            "tuned": tuned,
        }

    for n_trees in options.trees:
        start_s = time.perf_counter()
        build_annoy(embeddings, path, n_trees, seed=0)
        build_s = time.perf_counter() - start_s
        for search_k in options.search_k:
            yield row(n_trees, search_k, build_s)
    if options.tune:
        start_s = time.perf_counter()
        tuned = tune(embeddings, path)
        yield row(tuned.n_trees, tuned.search_k, time.perf_counter() - start_s, tuned.kind)


def cell(value: float | str) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="vectors")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--trees", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--search-k", type=int, nargs="+", default=[100, 1000, 4000, 16_000, 64_000])
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--tune", action="store_true", help="add what tuning chooses; build_s is then all of tuning")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    options = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}; dim {options.dim}; one query at a time"
    )
    rows: list[dict[str, Any]] = []
    for n in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(n, options, Path(folder)):
                if not rows:
                    print("\n| " + " | ".join(row) + " |\n|" + "---:|" * len(row))
                rows.append(row)
                print("| " + " | ".join(cell(value) for value in row.values()) + " |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
