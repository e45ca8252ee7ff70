"""Requests a second and latency of POST /nearest by kind and number of workers, and what encoding in batches gives.

Beside a bare FastAPI of as many workers that takes the same bodies and gives a constant answer of the same size.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from audiorec.benchmark import Load, Post, constant_service, free_port, in_turns, load, rendered, running
from audiorec.build import build
from audiorec.encoders import DEFAULT_ENCODER, make_encoder
from audiorec.nearest import Nearest
from audiorec.proving import noise
from audiorec.samples import render
from audiorec.testing import make_release

Row = dict[str, Any]

N_QUERIES = 200
N_SOUNDS = 40
SOUND_S = 1.0
PAUSE_S = 1.0  # in which a service notices who left when the load before ended
SOUND_TYPE = "audio/flac"
KINDS = {"embedding": (1, 0, 0), "clip id": (0, 1, 0), "upload": (0, 0, 1), "mixed": (5, 5, 1)}  # shares of each


def queries(nearest: Nearest) -> dict[str, list[Post]]:
    release = nearest.release
    rows = range(0, len(release.embeddings), len(release.embeddings) // N_QUERIES)[:N_QUERIES]
    sounds = [noise(seed, "FLAC", SOUND_S) for seed in range(N_SOUNDS)]
    return {
        "embedding": [as_json(embedding=release.embeddings[row].tolist()) for row in rows],
        "clip id": [as_json(clip_id=release.metadata.clip_id(row)) for row in rows],
        "upload": [Post("/nearest", sound, SOUND_TYPE) for sound in sounds],
    }


def as_json(**fields: Any) -> Post:
    return Post("/nearest", json.dumps({**fields, "k": 10}).encode())


def mixed(asked: Mapping[str, Sequence[Post]], shares: Sequence[int]) -> list[Post]:
    """The kinds in turn, each as often as its share says."""
    each = zip(asked.values(), shares, strict=True)
    turn = [source for posts, share in each for source in [cycle(posts)] * share]
    return [next(source) for _ in range(N_QUERIES) for source in turn]


@contextmanager
def serving(model_dir: Path, n_workers: int, **settings: object) -> Iterator[int]:
    """Without a cache of uploads, and with torch loaded before the first. Gives the port."""
    port = free_port()
    given = {"WARM": "true", "UPLOAD_CACHE_MB": "0", **settings}
    os.environ.update({f"AUDIOREC_{name}": str(value) for name, value in given.items()})
    command = [sys.executable, "-m", "audiorec.cli", "serve", str(model_dir), "--port", str(port)]
    with running([*command, "--workers", str(n_workers)], port, path="/ready"):
        yield port
    for name in given:
        del os.environ[f"AUDIOREC_{name}"]


def by_kind(nearest: Nearest, n_workers: int, options: argparse.Namespace) -> list[Row]:
    asked = queries(nearest)
    results = nearest.search(nearest.release.embeddings[0]).to_dicts()
    answer = {"results": results, "query": {"kind": "embedding"}, "release": nearest.release.name, "took_ms": 0.123}
    rows = []
    with serving(nearest.release.directory, n_workers) as port, constant_service(answer, n_workers=n_workers) as bare:
        for kind, shares in KINDS.items():
            posts = mixed(asked, shares)
            bare_posts = [post if post.content_type != SOUND_TYPE else Post("/upload", post.body) for post in posts]
            sides = {"ours": (port, posts), "bare": (bare, bare_posts)}
            loads = in_turns({side: partial(ask, *given, options) for side, given in sides.items()}, options.rounds)
            ours, constant = (Load.median(found) for found in loads.values())
            rows.append({"workers": n_workers, "asked by": kind, **facts(ours), **facts(constant, "bare ")})
            rows[-1]["ratio"] = ours.requests_per_s / constant.requests_per_s
    return rows


def ask(port: int, posts: Sequence[Post], options: argparse.Namespace) -> Load:
    time.sleep(PAUSE_S)
    return load(port, posts, n_clients=options.clients, duration_s=options.seconds)


def facts(found: Load, side: str = "") -> Row:
    return {f"{side}requests/s": found.requests_per_s, f"{side}p50 ms": found.p50_ms, f"{side}p99 ms": found.p99_ms}


def by_batch(model_dir: Path, encoder: str, options: argparse.Namespace) -> list[Row]:
    """The batches take turns, each with a service of its own."""
    posts = [Post("/nearest", noise(seed, "FLAC", SOUND_S), SOUND_TYPE) for seed in range(N_SOUNDS)]

    def measured(size: int) -> Load:
        with serving(model_dir, 1, ENCODE_BATCH=size) as port:
            ask(port, posts, options)  # the first calls of an encoder are slow
            return ask(port, posts, options)

    loads = in_turns({size: partial(measured, size) for size in options.batches}, options.rounds)
    medians = {size: Load.median(found) for size, found in loads.items()}
    first = medians[options.batches[0]].requests_per_s
    return [
        {"encoder": encoder, "windows at once": size, **facts(found), "gain": found.requests_per_s / first}
        for size, found in medians.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 6])
    parser.add_argument("--clients", type=int, default=16, help="connections")
    parser.add_argument("--encoders", nargs="*", default=["MFCC", DEFAULT_ENCODER], help="whose batches to measure")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="windows that are encoded at once")
    parser.add_argument("--seconds", type=int, default=3, help="of load, each time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model_dir = options.work_dir / f"random-{options.clips}-{DEFAULT_ENCODER}"
    nearest = Nearest(make_release(model_dir, options.clips, encoder=make_encoder(DEFAULT_ENCODER)))
    title = (
        f"{options.clips:,} clips, {options.clients} connections, uploads of {SOUND_S:g} s as FLAC to {DEFAULT_ENCODER}"
    )
    tables = {title: [row for n_workers in options.workers for row in by_kind(nearest, n_workers, options)]}
    samples = options.work_dir / "samples"
    render(samples)
    batches = [
        row
        for name in options.encoders
        for row in by_batch(build(samples, options.work_dir / f"model-{name}", encoder=name).release_dir, name, options)
    ]
    if batches:
        tables["What batches give, one worker"] = batches
    print(rendered(tables, as_json=options.json))


if __name__ == "__main__":
    main()
