"""Damaged sound files, thousands of them, to POST /nearest: bits flipped, cut, mixed with others, with lying sizes.

Fails unless each is answered 200 or 422, and afterwards nothing is left of them: no memory, no open file, no process,
no worker that waits for one. A file that fails the service is kept, and its seed makes it again.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from audiorec.benchmark import rendered
from audiorec.proving import MB, PATIENCE_S, Question, Resources, Service, make_releases, must, wait_until
from audiorec.samples.catalogue import clips
from audiorec.samples.encoding import encode

N_CLIPS = 300
N_LOOKS = 10  # at what the service holds
MAX_FILE_BYTES = 2**20  # longer ones take time and find no more
LEAVES = 0.03  # the share of clients who do not wait for an answer
EDGES = (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\x7f")  # sizes that lie
EXTRA = {"open files": 20, "processes": 0, "threads": 12}  # connections that are being closed, pools that fill up late

Mutation = Callable[[random.Random, bytes, bytes], bytes]  # from a file and another one


def flip_bits(rng: random.Random, file: bytes, other: bytes) -> bytes:
    changed = bytearray(file)
    for _ in range(rng.choice((1, 1, 4, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def lie_about_sizes(rng: random.Random, file: bytes, other: bytes) -> bytes:
    """In the first bytes, where headers are."""
    changed = bytearray(file)
    for _ in range(rng.choice((1, 2, 4))):
        start = rng.randrange(min(len(changed), 256))
        changed[start : start + 4] = rng.choice(EDGES)
    return bytes(changed)


def cut(rng: random.Random, file: bytes, other: bytes) -> bytes:
    start = rng.choice((0, 0, rng.randrange(len(file))))
    return file[start : start + rng.randrange(len(file) - start + 1)]


def leave_out(rng: random.Random, file: bytes, other: bytes) -> bytes:
    start, end = sorted(rng.choices(range(len(file)), k=2))
    return file[:start] + file[end:]


def repeat(rng: random.Random, file: bytes, other: bytes) -> bytes:
    start = rng.randrange(len(file))
    part = file[start : start + rng.randrange(1, 4096)]
    return file[:start] + part * rng.choice((2, 2, 8)) + file[start:]


def overwrite(rng: random.Random, file: bytes, other: bytes) -> bytes:
    start = rng.randrange(len(file))
    length = min(rng.randrange(1, 4096), len(file) - start)
    return file[:start] + rng.choice((bytes(length), rng.randbytes(length))) + file[start + length :]


def splice(rng: random.Random, file: bytes, other: bytes) -> bytes:
    """The head of one and the rest of another."""
    return file[: rng.randrange(1, min(len(file), 8192))] + other[rng.randrange(len(other)) :]


def add(rng: random.Random, file: bytes, other: bytes) -> bytes:
    return file + rng.choice((other, rng.randbytes(rng.randrange(1, 8192))))


MUTATIONS: tuple[Mutation, ...] = (flip_bits, lie_about_sizes, cut, leave_out, repeat, overwrite, splice, add)


def mutated(seed: int, files: Sequence[bytes]) -> bytes:
    rng = random.Random(seed)
    file, other = rng.choice(files), rng.choice(files)
    for mutation in rng.choices(MUTATIONS, k=rng.choice((1, 1, 2, 3))):
        file = mutation(rng, file or other, other)
    return file[: 2 * MAX_FILE_BYTES]


def sample_files() -> list[bytes]:
    """The shortest sample clip of each format."""
    by_length = sorted(clips(), key=lambda clip: clip.n_samples / clip.format.rate_hz, reverse=True)
    return [encode(clip) for clip in {clip.format.extension: clip for clip in by_length}.values()]


def real_files(folder: Path) -> list[bytes]:
    """Those that are short, up to 200 of them."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and 0 < path.stat().st_size <= MAX_FILE_BYTES)
    return [path.read_bytes() for path in islice(paths, 200)]


def send(port: int, seed: int, files: Sequence[bytes]) -> tuple[str, float]:
    """(what became of it, seconds). What is wrong is told by a sentence that begins with "got"."""
    rng, sound, start_s = random.Random(-seed - 1), mutated(seed, files), time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    question = Question("", rng.choice(("/nearest", "/embed")), *body_of(rng, sound))
    try:
        if rng.random() < LEAVES:
            connection.request("POST", question.path, question.body, {"Content-Type": question.media_type})
            return "left", 0.0
        status, _, answer = question.ask(connection)
        told = str(status) if status in (200, 422) else f"got {status} {answer[:300]!r}"
    except (OSError, HTTPException) as error:
        told = f"got {error!r}"
    finally:
        connection.close()
    return told, time.monotonic() - start_s


def body_of(rng: random.Random, sound: bytes) -> tuple[bytes, str]:
    """(body, media type): the bytes alone, or as a form."""
    if rng.random() < 0.7:
        return sound, rng.choice(("application/octet-stream", "audio/wav", "video/mp4"))
    head = b'--limit\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    return head + sound + b"\r\n--limit--\r\n", "multipart/form-data; boundary=limit"


def is_at_rest(service: Service) -> bool:
    return service.metric("audiorec_uploads_in_progress ") == 0 == service.metric("audiorec_uploads_queued ")


def look(service: Service, n_cases: int, told: Counter[str]) -> dict[str, Any]:
    wait_until(lambda: is_at_rest(service), "no upload in progress any more")
    held = Resources.of(service.pid)
    return {
        "cases": n_cases,
        "200": told["200"],
        "422": told["422"],
        "clients who left": told["left"],
        "PSS MB": held.pss_bytes / MB,
        "open files": held.n_files,
        "processes": held.n_processes,
        "threads": held.n_threads,
    }


def prove(service: Service, files: Sequence[bytes], options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Tables: a row for each look at the service."""
    told: Counter[str] = Counter()
    rows, slowest_s = [], 0.0
    step = max(1, options.cases // N_LOOKS)
    with ThreadPoolExecutor(options.clients) as clients:
        for first in range(0, options.cases, step):
            seeds = range(options.seed + first, options.seed + min(first + step, options.cases))
            for seed, (what, took_s) in zip(
                seeds, clients.map(lambda n: send(service.port, n, files), seeds), strict=True
            ):
                if what.startswith("got "):
                    kept = options.work_dir / f"upload-{seed}"
                    kept.write_bytes(mutated(seed, files))
                    raise RuntimeError(f"{what} for case {seed}, expected 200 or 422: {kept} is the file")
                told[what] += 1
                slowest_s = max(slowest_s, took_s)
            rows.append(look(service, first + len(seeds), told))
            print(rows[-1], file=sys.stderr)
    check(service, rows, options)
    return {f"{options.cases:,} damaged files, the slowest answered in {slowest_s:.1f} s": rows}


def check(service: Service, rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    """From the second third on: what is loaded once is loaded by then, and every decoder has been started."""
    third = len(rows) // 3
    early, late = rows[third], rows[-1]
    middle_mb, end_mb = (median(row["PSS MB"] for row in part) for part in (rows[third : 2 * third], rows[2 * third :]))
    growth = end_mb - middle_mb
    must(growth <= options.growth_mb, f"got {growth:.1f} MB more at the end, expected at most {options.growth_mb}")
    for name, extra in EXTRA.items():
        must(
            late[name] <= early[name] + extra,
            f"got {late[name]} {name} at the end, expected at most {extra} more than {early[name]}",
        )
    must("Traceback" not in service.log, f"got a traceback in the log, expected none: {service.log[-3000:]}")
    must(service.log.count("serving release") == service.workers, "got a worker that died, expected all to live")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--sounds", type=Path, help="a folder of real files to damage, instead of the samples")
    parser.add_argument("--cases", type=int, default=5_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument(
        "--growth-mb",
        type=float,
        default=20.0,
        help="more memory than this, from the second third of the cases to the last, is an error",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model_dir, _ = make_releases(options.work_dir, N_CLIPS, 1)
    files = sample_files() if options.sounds is None else real_files(options.sounds)
    settings = {"AUDIOREC_WARM": "true", "AUDIOREC_MAX_UPLOAD_S": "60", "AUDIOREC_UPLOAD_CACHE_MB": "1"}
    with (
        tempfile.TemporaryDirectory(prefix="audiorec-uploads-") as folder,
        Service(model_dir, Path(folder), **settings) as service,
    ):
        tables = prove(service, files, options)
    print(rendered(tables, as_json=options.json))


if __name__ == "__main__":
    main()
