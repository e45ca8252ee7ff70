"""Requests a second of POST /nearest: by embedding, beside a constant answer; by upload, beside the work itself."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy reads it: the work alone is done in one thread

import torch

from audiorec.audio.decode import decode
from audiorec.benchmark import Load, Post, constant_service, cpu_s_of, free_port, in_turns, load, rendered, running
from audiorec.build import build
from audiorec.embed import embed
from audiorec.nearest import Nearest
from audiorec.samples import render
from audiorec.samples.catalogue import clips
from audiorec.testing import make_release

Row = dict[str, Any]

SOUND_TYPE = "application/octet-stream"
MAX_S = 600.0
N_QUERIES = 200


class Service(NamedTuple):
    port: int
    pid: int


def by_embedding(nearest: Nearest, options: argparse.Namespace) -> Row:
    """Both services have one worker of the same uvicorn. constant, typed: see `constant_service`."""
    release = nearest.release
    queries = release.embeddings[:: len(release.embeddings) // N_QUERIES]
    bodies = [json.dumps({"embedding": query.tolist(), "k": 10}).encode() for query in queries]
    results = nearest.search(queries[0]).to_dicts()
    answer = {"results": results, "query": {"kind": "embedding"}, "release": release.name, "took_ms": 0.123}
    port = free_port()
    with serving(release.directory, port), constant_service(answer) as constant_port:
        targets = {"ours": (port, ""), "constant": (constant_port, ""), "typed": (constant_port, "/typed")}
        sides = {side: partial(ask_json, *target, bodies, options) for side, target in targets.items()}
        loads = {side: Load.median(found) for side, found in in_turns(sides, options.rounds).items()}
    per_s = {side: found.requests_per_s for side, found in loads.items()}
    return {
        "clips": len(release.embeddings),
        "index": release.engine.kind,
        "search us": median(search_us(nearest, query.tolist()) for query in queries),
        **{f"{side} /s": value for side, value in per_s.items()},
        **{f"{side} p50, p99 ms": f"{found.p50_ms:.1f}, {found.p99_ms:.1f}" for side, found in loads.items()},
        "ratio": per_s["ours"] / per_s["constant"],
        "ratio to typed": per_s["ours"] / per_s["typed"],
    }


def serving(model_dir: Path, port: int) -> Any:
    command = [sys.executable, "-m", "audiorec.cli", "serve", str(model_dir), "--port", str(port)]
    return running(command, port, path="/ready")


def ask_json(port: int, prefix: str, bodies: Sequence[bytes], options: argparse.Namespace) -> Load:
    posts = [Post(f"{prefix}/nearest", body) for body in bodies]
    return load(port, posts, n_clients=options.clients, duration_s=options.seconds)


def search_us(nearest: Nearest, query: list[float]) -> float:
    start = time.perf_counter()
    nearest.search(query)
    return (time.perf_counter() - start) * 1e6


def by_upload(nearest: Nearest, service: Service, sound: Path, n_clients: int, options: argparse.Namespace) -> Row:
    """The work alone is done in this process, in one thread, one sound after the other."""
    content = sound.read_bytes()
    ask = partial(load, service.port, [Post("/nearest", content, SOUND_TYPE)], n_clients=n_clients)
    sides = {"ours": partial(ask, duration_s=options.seconds), "work": partial(work, nearest, content, options.seconds)}
    cpu_s, own_cpu_s = cpu_s_of(service.pid), time.process_time()
    loads = in_turns(sides, options.rounds)
    cpu_s, own_cpu_s = cpu_s_of(service.pid) - cpu_s, time.process_time() - own_cpu_s
    ours, alone = (Load.median(found) for found in loads.values())
    n_asked, n_alone = (sum(found.requests_per_s for found in loads[side]) * options.seconds for side in sides)
    return {
        "sound": sound.suffix[1:],
        "seconds": nearest.embed_file(sound).duration_s,
        "bytes": len(content),
        "clients": n_clients,
        "requests/s": ours.requests_per_s,
        "p50 ms": ours.p50_ms,
        "p99 ms": ours.p99_ms,
        "work alone /s": alone.requests_per_s,
        "ratio": ours.requests_per_s / alone.requests_per_s,
        "CPU ms": 1e3 * cpu_s / n_asked,
        "alone, CPU ms": 1e3 * own_cpu_s / n_alone,
    }


def again(service: Service, sound: Path, n_clients: int, options: argparse.Namespace) -> Row:
    """The same sound over and over, to a service that knows it from the first time on."""
    content, seconds = sound.read_bytes(), options.rounds * options.seconds
    found = load(service.port, [Post("/nearest", content, SOUND_TYPE)], n_clients=n_clients, duration_s=seconds)
    facts = {"sound": sound.suffix[1:], "bytes": len(content), "clients": n_clients}
    return {**facts, "requests/s": found.requests_per_s, "p50 ms": found.p50_ms, "p99 ms": found.p99_ms}


def work(nearest: Nearest, content: bytes, duration_s: int) -> Load:
    times_ms = []
    start = time.perf_counter()
    while (begun := time.perf_counter()) < start + duration_s:
        nearest.search(embed(decode(content, max_s=MAX_S), nearest.release.encoder).vector).to_dicts()
        times_ms.append((time.perf_counter() - begun) * 1e3)
    return Load(len(times_ms) / (time.perf_counter() - start), median(times_ms), max(times_ms))


def sounds_of(samples_dir: Path) -> list[Path]:
    """The shortest and the longest sample clip of each format."""
    by_length = sorted(clips(), key=lambda clip: clip.n_samples / clip.format.rate_hz)
    longest = {clip.format.extension: samples_dir / clip.path for clip in by_length}
    shortest = {clip.format.extension: samples_dir / clip.path for clip in reversed(by_length)}
    return [*shortest.values(), *longest.values()]


@contextmanager
def serving_uploads(nearest: Nearest, cache_mb: int) -> Iterator[Service]:
    """With torch loaded before the first upload."""
    port = free_port()
    os.environ.update(AUDIOREC_WARM="true", AUDIOREC_UPLOAD_CACHE_MB=str(cache_mb))
    with serving(nearest.release.directory, port) as pid:
        yield Service(port, pid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 100_000], help="clips, for embeddings")
    parser.add_argument("--clients", type=int, default=16, help="connections that ask by embedding")
    parser.add_argument("--upload-clients", type=int, nargs="+", default=[1, 4], help="connections that upload")
    parser.add_argument("--seconds", type=int, default=3, help="of load, each time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    releases = [make_release(options.work_dir / f"random-{n}", n) for n in options.sizes]
    rows = [by_embedding(Nearest(release), options) for release in releases]
    tables = {f"By embedding, {options.clients} connections, one worker": rows}
    render(options.work_dir / "samples")
    nearest = Nearest(build(options.work_dir / "samples", options.work_dir / "model").release_dir)
    sounds = sounds_of(options.work_dir / "samples")
    with serving_uploads(nearest, cache_mb=0) as service:
        tables["By upload, one worker and its decoder, beside decode + embed + search in one thread"] = [
            by_upload(nearest, service, sound, n_clients, options)
            for n_clients in options.upload_clients
            for sound in sounds
        ]
    with serving_uploads(nearest, cache_mb=16) as service:
        tables["By an upload that was there before"] = [
            again(service, sound, options.upload_clients[-1], options) for sound in sounds
        ]
    print(rendered(tables, as_json=options.json))


if __name__ == "__main__":
    main()
