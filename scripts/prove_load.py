"""Everything that people ask, at once and for long: does it slow down, does it grow? As a table and a picture.

Clients ask by embedding, clip id, with a filter, in batches, by sounds that come again and by new ones. Fails for any
answer that is not a 200, and for a service that holds more memory, files, threads or processes in the last quarter than
in the second one. Latencies are shown, not judged: they are the machine's as well.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from audiorec.benchmark import rendered
from audiorec.proving import MB, Resources, Service, Tally, asking, make_releases, must, percentile, sources

N_SPANS = 60  # of time, in the picture
N_QUARTERS = 4
EXTRA = {"n_files": 20, "n_processes": 0, "n_threads": 12}  # connections come and go, pools fill up late


@dataclass(frozen=True)
class Look:
    at_s: float
    held: Resources


@contextmanager
def watched(pid: int, every_s: float) -> Iterator[list[Look]]:
    """What the service holds, from the beginning of the block to its end."""
    looks, stop = [], threading.Event()

    def watch() -> None:
        while not stop.wait(every_s):
            looks.append(Look(time.monotonic(), Resources.of(pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield looks
    finally:
        stop.set()
        watcher.join()


def spans(begin_s: float, end_s: float, n: int) -> list[tuple[float, float]]:
    edges = [begin_s + (end_s - begin_s) * number / n for number in range(n + 1)]
    return list(pairwise(edges))


def quarters(tally: Tally, looks: Sequence[Look], begin_s: float, end_s: float) -> list[dict[str, Any]]:
    rows = []
    for number, (since_s, until_s) in enumerate(spans(begin_s, end_s, N_QUARTERS), start=1):
        times_ms = tally.times_ms(since_s=since_s, until_s=until_s)
        held = [look.held for look in looks if since_s <= look.at_s < until_s]
        rows.append(
            {
                "quarter": number,
                "requests/s": len(times_ms) / (until_s - since_s),
                "p50 ms": percentile(times_ms, 50),
                "p99 ms": percentile(times_ms, 99),
                "PSS MB": median(look.pss_bytes for look in held) / MB,
                **{name: median(getattr(look, name) for look in held) for name in EXTRA},
            }
        )
    return rows


def kinds(tally: Tally) -> list[dict[str, Any]]:
    rows = []
    for kind in sorted({kind for kind, *_ in tally.answers}):
        times_ms = tally.times_ms(kind=kind)
        p50_ms, p99_ms = percentile(times_ms, 50), percentile(times_ms, 99)
        rows.append({"asked by": kind, "requests": len(times_ms), "p50 ms": p50_ms, "p99 ms": p99_ms})
    return rows


def check(tally: Tally, rows: Sequence[dict[str, Any]], growth_mb: float) -> None:
    tally.must_be_without_failures()
    early, late = rows[1], rows[-1]
    growth = late["PSS MB"] - early["PSS MB"]
    must(growth <= growth_mb, f"got {growth:.1f} MB more in the last quarter, expected at most {growth_mb}")
    for name, extra in EXTRA.items():
        must(
            late[name] <= early[name] + extra,
            f"got {name} of {late[name]}, expected at most {extra} more than {early[name]}",
        )


def draw(path: Path, tally: Tally, looks: Sequence[Look], begin_s: float, end_s: float) -> None:
    """p50, p99 and memory over time."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (latency, memory) = pyplot.subplots(2, 1, sharex=True, figsize=(10, 6), layout="constrained")
    cuts = spans(begin_s, end_s, N_SPANS)
    minutes = [((since_s + until_s) / 2 - begin_s) / 60 for since_s, until_s in cuts]
    for percent in (50, 99):
        times = [percentile(tally.times_ms(since_s=since, until_s=until), percent) for since, until in cuts]
        latency.plot(minutes, times, label=f"p{percent}")
    latency.set(ylabel="ms", yscale="log", title=f"{tally.n_asked:,} requests, {len(tally.failed)} failed")
    latency.legend()
    held_mb = [look.held.pss_bytes / MB for look in looks]
    memory.plot([(look.at_s - begin_s) / 60 for look in looks], held_mb)
    memory.set(ylabel="MB, all processes (PSS)", xlabel="minutes", ylim=(0, 1.2 * max(held_mb)))
    for axes in (latency, memory):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=2, help="connections for each kind of question")
    parser.add_argument("--pause-ms", type=float, default=10.0, help="of a client, before each question")
    parser.add_argument("--growth-mb", type=float, default=20.0, help="more memory than this is an error")
    parser.add_argument("--picture", type=Path, help="a PNG to write, by default load.png in --work-dir")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model_dir, _ = make_releases(options.work_dir, options.clips, 1)
    streams = list(sources(model_dir).values()) * options.clients
    every_s = options.minutes * 60 / N_SPANS / 2
    with (
        tempfile.TemporaryDirectory(prefix="audiorec-load-") as folder,
        Service(model_dir, Path(folder), workers=options.workers, AUDIOREC_WARM="true") as service,
        asking(service.port, streams, pause_s=options.pause_ms / 1e3) as tally,
        watched(service.pid, every_s) as looks,
    ):
        begin_s = time.monotonic()
        time.sleep(options.minutes * 60)
        end_s = time.monotonic()
    rows = quarters(tally, looks, begin_s, end_s)
    draw(options.picture or options.work_dir / "load.png", tally, looks, begin_s, end_s)
    check(tally, rows, options.growth_mb)
    title = f"{tally.n_asked:,} requests, none failed ({options.clips:,} clips, {options.workers} workers)"
    print(rendered({title: rows, "By kind": kinds(tally)}, as_json=options.json))


if __name__ == "__main__":
    main()
