"""What a worker costs in memory: PSS of `audiorec serve` with 1, 2 and 6 workers, on a small and on a large release."""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiorec.benchmark import Post, free_port, load, pss_of, rendered, running
from audiorec.release import open_release
from audiorec.testing import make_release

N_QUERIES = 100  # few enough that every worker gets each of them, and touches the same pages
MB = 1_000_000


def measure(release_dir: Path, n_workers: int, bodies: Sequence[bytes], n_seconds: int) -> Counter[str]:
    """After every worker has answered some hundreds of queries."""
    port = free_port()
    command = [sys.executable, "-m", "audiorec.cli", "serve", str(release_dir), "--port", str(port)]
    with running([*command, "--workers", str(n_workers)], port, path="/ready") as pid:
        load(port, [Post("/nearest", body) for body in bodies], n_clients=8 * n_workers, duration_s=n_seconds)
        return pss_of(pid)


def rows(release_dir: Path, n_clips: int, workers: Sequence[int], n_seconds: int) -> list[dict[str, Any]]:
    queries = open_release(release_dir).embeddings[:: n_clips // N_QUERIES]
    bodies = [json.dumps({"embedding": query.tolist()}).encode() for query in queries]
    measured = {n: measure(release_dir, n, bodies, n_seconds) for n in workers}
    before = dict(zip(workers[1:], workers, strict=False))

    def added(n: int, kind: str) -> float | str:
        return (measured[n][kind] - measured[before[n]][kind]) / (n - before[n]) / MB if n in before else ""

    return [
        {
            "clips": n_clips,
            "release MB": sum(path.stat().st_size for path in release_dir.iterdir()) / MB,
            "workers": n,
            "PSS MB": pss["Pss"] / MB,
            "anonymous MB": pss["Pss_Anon"] / MB,
            "an added worker MB": added(n, "Pss"),
            "anonymous": added(n, "Pss_Anon"),
        }
        for n, pss in measured.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000], help="clips")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 6])
    parser.add_argument("--seconds", type=int, default=5, help="of load before the memory is looked at")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = []
    for n_clips in options.sizes:
        release_dir = make_release(options.work_dir / f"random-{n_clips}", n_clips)
        figures += rows(release_dir, n_clips, sorted(options.workers), options.seconds)
    title = (
        "PSS of all processes of the service, asked by embedding. An added worker: beside the row above; "
        "the second also brings the process that supervises them"
    )
    print(rendered({title: figures}, as_json=options.json))


if __name__ == "__main__":
    main()
