"""Swaps under load: again and again another release is made current while clients ask by embedding, clip id and sound.

Fails unless every answer is a 200 and wholly of the release that it names, every worker lets go of the old release, and
the memory is the same after all swaps.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from io import BytesIO
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
import torch

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.audio.decode import decode
from audiorec.benchmark import descendants, free_port, pss_of, rendered, running
from audiorec.embed import embed
from audiorec.nearest import Nearest, Neighbours
from audiorec.proving import MB, never_seen, percentile
from audiorec.release import make_current
from audiorec.testing import make_release

N_RELEASES = 3
N_QUERIES = 20  # of each kind
DEADLINE_S = 120
MAX_S = 60.0
KINDS = ("embedding", "clip_id", "sound", "new sound")  # a sound that comes again may be answered from a cache

Shown = list[tuple[str, str]]  # clip id and title of each result; a title tells the release


@dataclass(frozen=True)
class Query:
    """truth: what each release answers, by its name."""

    kind: str
    body: bytes
    media_type: str
    truth: Mapping[str, Shown]


@dataclass
class Record:
    """What the clients saw: of every answer its kind, when it was asked for, and how long it took."""

    answers: list[tuple[str, float, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)

    def note(self, query: Query, start_s: float, status: int, body: bytes) -> None:
        self.answers.append((query.kind, start_s, time.monotonic() - start_s))
        if status != 200:
            self.failed.append(f"{query.kind}: {status} {body.decode()}")
            return
        answer = json.loads(body)
        if shown(answer["results"]) != query.truth[answer["release"]]:
            self.mixed.append(f"{query.kind}: {answer}")

    def times_ms(self, kind: str, windows: Sequence[tuple[float, float]]) -> list[float]:
        """Of the requests that were under way within one of the windows."""
        return [
            took_s * 1e3
            for asked, start_s, took_s in self.answers
            if asked == kind and any(start_s < end and start_s + took_s > begin for begin, end in windows)
        ]


def shown(results: Sequence[Mapping[str, Any]]) -> Shown:
    return [(result["clip_id"], result["title"]) for result in results]


def queries(releases: Sequence[Path]) -> list[Query]:
    """Each with the answer of every release, by the library."""
    opened = {release.name: Nearest(release) for release in releases}

    def query(kind: str, body: bytes, media_type: str, truth: Mapping[str, Neighbours]) -> Query:
        return Query(kind, body, media_type, {name: shown(found.to_dicts()) for name, found in truth.items()})

    made = []
    rng = np.random.default_rng(0)
    first = next(iter(opened.values())).release
    for row in np.linspace(0, len(first.embeddings) - 1, N_QUERIES, dtype=np.int64).tolist():
        vector, clip_id = first.embeddings[row].tolist(), first.metadata.clip_id(row)
        envelope = np.repeat(rng.random(16), SAMPLE_RATE_HZ // 16)
        file = BytesIO()
        soundfile.write(file, envelope * rng.uniform(-1, 1, SAMPLE_RATE_HZ), SAMPLE_RATE_HZ, format="WAV")
        sound = file.getvalue()
        pcm = decode(sound, max_s=MAX_S)
        vectors = {name: embed(pcm, nearest.release.encoder).vector for name, nearest in opened.items()}
        by_vector = {name: nearest.search(vector) for name, nearest in opened.items()}
        by_id = {name: nearest.search_id(clip_id) for name, nearest in opened.items()}
        by_sound = {name: nearest.search(vectors[name]) for name, nearest in opened.items()}
        made += [
            query("embedding", json.dumps({"embedding": vector}).encode(), "application/json", by_vector),
            query("clip_id", json.dumps({"clip_id": clip_id}).encode(), "application/json", by_id),
            query("sound", sound, "audio/wav", by_sound),
            query("new sound", sound, "audio/wav", by_sound),
        ]
    return made


@contextmanager
def asked(port: int, queries: Sequence[Query], n_clients: int) -> Iterator[Record]:
    """Clients that ask without a pause until the block ends: `n_clients` for each kind of query."""
    record, stop = Record(), threading.Event()

    def ask(mine: Sequence[Query]) -> None:
        while not stop.is_set():
            connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)  # a new one each round: to any worker
            with closing(connection):
                for query in mine:
                    start_s = time.monotonic()
                    try:
                        body = never_seen(query.body) if query.kind == "new sound" else query.body
                        connection.request("POST", "/nearest", body, {"Content-Type": query.media_type})
                        response = connection.getresponse()
                        record.note(query, start_s, response.status, response.read())
                    except (OSError, HTTPException) as error:
                        record.failed.append(f"{query.kind}: {error!r}")
                        break

    by_kind = [[query for query in queries if query.kind == kind] for kind in KINDS]
    clients = [threading.Thread(target=ask, args=[mine]) for mine in by_kind for _ in range(n_clients)]
    for client in clients:
        client.start()
    try:
        yield record
    finally:
        stop.set()
        for client in clients:
            client.join()


def mapped(pid: int, model_dir: Path) -> set[str]:
    """The releases of which a process maps a file."""
    return set(re.findall(rf"{model_dir}/versions/(\w+)/", Path(f"/proc/{pid}/maps").read_text()))


def swap(model_dir: Path, name: str, workers: Sequence[int]) -> tuple[float, float]:
    """Returns when it began, and when every worker served the release and had let go of the one before."""
    begin_s = time.monotonic()
    make_current(model_dir, name)
    while any(mapped(worker, model_dir) != {name} for worker in workers):
        if time.monotonic() > begin_s + DEADLINE_S:
            held = [sorted(mapped(worker, model_dir)) for worker in workers]
            raise RuntimeError(f"got workers that map the releases {held}, expected {name} within {DEADLINE_S} s")
        time.sleep(0.02)
    return begin_s, time.monotonic()


def settled_pss(pid: int) -> Mapping[str, int]:
    time.sleep(1)
    return pss_of(pid)


def measure(model_dir: Path, releases: Sequence[Path], options: argparse.Namespace) -> dict[str, Any]:
    """The service from its start to its end. The swaps that count begin when caches and the allocator are full."""
    asking = queries(releases)
    port = free_port()
    command = [sys.executable, "-m", "audiorec.cli", "serve", str(model_dir), "--port", str(port)]
    os.environ |= {"AUDIOREC_WARM": "true", "AUDIOREC_SWAP_POLL_S": "0.1"}
    names = cycle(release.name for release in releases)
    swaps: list[tuple[float, float]] = []
    quiet: list[tuple[float, float]] = []
    with running([*command, "--workers", str(options.workers)], port, path="/ready") as pid:
        workers = [process for process in descendants(pid) if mapped(process, model_dir)]
        with asked(port, asking, options.clients):
            for _ in range(options.warm_up):
                swap(model_dir, next(names), workers)
        before = settled_pss(pid)
        with asked(port, asking, options.clients) as record:
            for _ in range(options.swaps):
                begin_s = time.monotonic()
                time.sleep(options.quiet_s)
                quiet.append((begin_s, time.monotonic()))
                swaps.append(swap(model_dir, next(names), workers))
                time.sleep(0.3)
        after = settled_pss(pid)
    check(record, before, after, options)
    return {"record": record, "quiet": quiet, "swaps": swaps, "before": before, "after": after}


def check(record: Record, before: Mapping[str, int], after: Mapping[str, int], options: argparse.Namespace) -> None:
    for what, found in (("failed", record.failed), ("mixed", record.mixed)):
        if found:
            raise RuntimeError(f"got {len(found)} {what} of {len(record.answers)} requests, expected none: {found[0]}")
    growth = after["Pss"] - before["Pss"]
    if growth > options.growth_mb * MB:
        raise RuntimeError(f"got {growth / MB:.1f} MB more after the swaps, expected at most {options.growth_mb}")


def tables(measured: Mapping[str, Any], options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    record, before, after = measured["record"], measured["before"], measured["after"]
    latencies = []
    for kind in KINDS:
        quiet, swapping = (record.times_ms(kind, measured[windows]) for windows in ("quiet", "swaps"))
        p99_quiet, p99_swapping = percentile(quiet, 99), percentile(swapping, 99)
        latencies.append(
            {
                "asked by": kind,
                "quiet: requests": len(quiet),
                "p50 ms": percentile(quiet, 50),
                "p99 ms": p99_quiet,
                "swapping: requests": len(swapping),
                "p50 ms ": percentile(swapping, 50),
                "p99 ms ": p99_swapping,
                "p99 ratio": p99_swapping / p99_quiet,
            }
        )
    facts = {
        "swaps": options.swaps,
        "clips": options.clips,
        "workers": options.workers,
        "requests": len(record.answers),
        "failed": len(record.failed),
        "mixed": len(record.mixed),
        "all workers swapped after s": median(end - begin for begin, end in measured["swaps"]),
        "PSS MB before": before["Pss"] / MB,
        "after": after["Pss"] / MB,
        "anonymous MB before": before["Pss_Anon"] / MB,
        "after ": after["Pss_Anon"] / MB,
    }
    return {"Swaps under load": [facts], "Latency while a swap is under way, beside quiet seconds": latencies}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=30, help="swaps before those that count, which fill caches")
    parser.add_argument("--clips", type=int, default=100_000, help="in each release")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=2, help="connections for each kind of query")
    parser.add_argument("--quiet-s", type=float, default=1.0, help="seconds without a swap, before each")
    parser.add_argument(
        "--growth-mb", type=float, default=10.0, help="more memory than this after the swaps is an error"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model_dir = (options.work_dir / f"swap-{options.clips}").resolve()
    releases = [model_dir / "versions" / f"{number:04}" for number in range(1, N_RELEASES + 1)]
    if not all(release.exists() for release in releases):
        for seed in range(N_RELEASES):
            releases[seed] = make_release(model_dir, options.clips, seed=seed, mark=f", release {seed}")
    print(rendered(tables(measure(model_dir, releases, options), options), as_json=options.json))


if __name__ == "__main__":
    main()
