"""Microseconds of `Nearest.search`, beside bare Annoy on the same index, and of metadata, beside pyarrow itself."""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audiorec.benchmark import rendered
from audiorec.index.annoy import AnnoyEngine
from audiorec.metadata.filters import evaluate, parse_filter
from audiorec.nearest import Nearest
from audiorec.release import INDEX_FILE, Release, open_release
from audiorec.testing import make_release

Call = Callable[[int], object]

K = 10
N_TIMES = 500
N_SLOW = 50  # scans of all rows


def medians_us(calls: Sequence[Call], n_times: int) -> list[float]:
    """Of each call, in turns; every one gets 0 to n_times - 1, and none the number that the one before it had."""
    times_ns = np.empty((len(calls), n_times))
    for turn in range(n_times):
        for i, call in enumerate(calls):
            number = (turn + i * n_times // len(calls)) % n_times
            start_ns = time.perf_counter_ns()
            call(number)
            times_ns[i, turn] = time.perf_counter_ns() - start_ns
    return [median(times) / 1000 for times in times_ns.tolist()]


def search_row(release: Release) -> dict[str, Any]:
    """Bare Annoy gets ready-made lists, and gives rows alone: no check of the vector, no exact cosines, no ranks."""
    facts, nearest = release.manifest.index, Nearest(release)
    engine = release.engine
    if not isinstance(engine, AnnoyEngine):  # the index is there all the same
        engine = AnnoyEngine.open(release.directory / INDEX_FILE, release.embeddings, facts.n_trees, facts.search_k)
    rows = np.random.default_rng(0).choice(len(release.embeddings), N_TIMES, replace=False)
    queries: list[list[float]] = release.embeddings[rows].tolist()
    ours_us, described_us, annoy_us = medians_us(
        [
            lambda i: nearest.search(queries[i], K),
            lambda i: nearest.search(queries[i], K).to_dicts(),
            lambda i: engine.index.get_nns_by_vector(queries[i], K, facts.search_k),
        ],
        N_TIMES,
    )
    return {
        "clips": len(release.embeddings),
        "index": release.engine.kind,
        "trees": facts.n_trees,
        "search_k": facts.search_k,
        "recall@10": facts.recall_at_10,
        "Nearest.search us": ours_us,
        "with metadata us": described_us,
        "bare annoy us": annoy_us,
        "ratio": ours_us / annoy_us,
    }


def metadata_rows(release: Release) -> list[dict[str, Any]]:
    metadata = release.metadata
    batch = pa.ipc.open_file(pa.memory_map(str(release.directory / "metadata.arrow"))).get_batch(0)
    rows = np.random.default_rng(0).integers(len(metadata), size=(N_TIMES, K))
    ids = [metadata.clip_id(int(row)) for row in rows[:, 0]]
    label, genres = metadata.row(0)["label"], ["genre 001", "genre 002", "genre 003"]
    filters = {"label": label}, {"genre": genres}, {"duration_s": {"gte": 1}}
    masks = [partial(lambda wanted, _: evaluate(parse_filter(wanted), metadata), wanted) for wanted in filters]
    clip_ids, labels, all_genres, durations_s = (batch[name] for name in ("clip_id", "label", "genre", "duration_s"))
    compared: list[tuple[str, Call, str, Call, int]] = [
        ("row_of", lambda i: metadata.row_of(ids[i]), "index", lambda i: pc.index(clip_ids, ids[i]), N_SLOW),
        ("rows, 10", lambda i: metadata.rows(rows[i]), "take", lambda i: batch.take(rows[i]).to_pylist(), N_TIMES),
        ("filter label", masks[0], "equal", lambda i: pc.equal(labels, label), N_SLOW),
        ("filter genre, any of 3", masks[1], "is_in", lambda i: pc.is_in(all_genres, pa.array(genres)), N_SLOW),
        ("filter duration_s, 1 side", masks[2], "greater_equal", lambda i: pc.greater_equal(durations_s, 1), N_SLOW),
    ]
    figures = []
    for name, ours, theirs_name, theirs, n_times in compared:
        ours_us, theirs_us = medians_us([ours, theirs], n_times)
        beside = {"pyarrow": theirs_name, "pyarrow us": theirs_us, "ratio": ours_us / theirs_us}
        figures.append({"clips": len(metadata), "what": name, "us": ours_us, **beside})
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="clips")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    releases = [open_release(make_release(options.work_dir / f"random-{n}", n)) for n in options.sizes]
    tables = {
        "Nearest.search for ten, beside bare Annoy": [search_row(release) for release in releases],
        "Metadata, beside pyarrow": metadata_rows(releases[-1]),
    }
    print(rendered(tables, as_json=options.json))


if __name__ == "__main__":
    main()
