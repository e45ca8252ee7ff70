"""What the proof programs share: services that are watched and may be killed, and clients that never stop asking."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, IncompleteRead
from io import BytesIO
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np
import soundfile

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.benchmark import descendants, free_port
from audiorec.nearest import Nearest
from audiorec.release import make_current
from audiorec.testing import make_release

DEADLINE_S = 300.0  # what has not come true by then will not
PATIENCE_S = 120.0  # of a client
PAUSE_S = 0.05
N_SOUNDS = 8  # of each kind
MB = 1_000_000


@dataclass(frozen=True)
class Question:
    """A request whose answer is known to be good by its status alone."""

    kind: str
    path: str
    body: bytes | None = None
    media_type: str = "application/json"

    def ask(self, connection: HTTPConnection) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body) of the answer. Raises OSError, HTTPException."""
        method, headers = ("GET", {}) if self.body is None else ("POST", {"Content-Type": self.media_type})
        connection.request(method, self.path, self.body, headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()


Source = Callable[[], Question]  # the next question


def make_releases(work_dir: Path, n_clips: int, n_releases: int) -> tuple[Path, list[str]]:
    """(model directory, names) of releases of the same random clips with other vectors. The first is current."""
    model_dir = work_dir.resolve() / f"releases-{n_clips}"
    names = [f"{number:04}" for number in range(1, n_releases + 1)]
    for seed, name in enumerate(names):
        if not (model_dir / "versions" / name).exists():
            make_release(model_dir, n_clips, seed=seed)
    make_current(model_dir, names[0])
    return model_dir, names


def query(kind: str, fields: Mapping[str, Any], path: str = "/nearest") -> Question:
    return Question(kind, path, json.dumps(fields).encode())


def sources(model_dir: Path) -> dict[str, Source]:
    """By kind: whatever people ask a service. A new sound is one that is in no cache."""
    nearest = Nearest(model_dir)
    rng, release = random.Random(0), nearest.release
    rows = np.linspace(0, len(release.embeddings) - 1, 50, dtype=np.int64).tolist()
    ids = [release.metadata.clip_id(row) for row in rows]
    vectors = [release.embeddings[row].tolist() for row in rows]
    genres = [release.metadata.row(row)["metadata"].get("genre", "") for row in rows]
    wavs, flacs = ([noise(seed, container) for seed in range(N_SOUNDS)] for container in ("WAV", "FLAC"))

    def batch() -> Question:
        return query("batch", {"queries": [{"clip_id": rng.choice(ids)} for _ in range(8)]}, "/nearest/batch")

    return {
        "embedding": lambda: query("embedding", {"embedding": rng.choice(vectors)}),
        "clip_id": lambda: query("clip_id", {"clip_id": rng.choice(ids)}),
        "filter": lambda: query("filter", {"clip_id": rng.choice(ids), "filter": {"genre": rng.choice(genres)}}),
        "batch": batch,
        "clip": lambda: Question("clip", f"/clips/{rng.choice(ids)}"),
        "sound": lambda: Question("sound", "/nearest", rng.choice(flacs), "audio/flac"),
        "new sound": lambda: Question("new sound", "/nearest", never_seen(rng.choice(wavs)), "audio/wav"),
    }


def noise(seed: int, container: str, length_s: float = 1.0) -> bytes:
    """A sound file."""
    rng = np.random.default_rng(seed)
    file = BytesIO()
    envelope = np.repeat(rng.random(16), round(length_s * SAMPLE_RATE_HZ / 16))
    soundfile.write(file, envelope * rng.uniform(-1, 1, len(envelope)), SAMPLE_RATE_HZ, format=container)
    return file.getvalue()


def never_seen(wav: bytes) -> bytes:
    """The same sound in a file that is in no cache: a chunk that says nothing is its last."""
    return wav + b"note" + (8).to_bytes(4, "little") + os.urandom(8)


@dataclass
class Tally:
    """What clients saw. answers: kind, when it was asked for, how long it took, in seconds, and the status."""

    answers: list[tuple[str, float, float, int]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def statuses(self) -> Counter[int]:
        return Counter(status for *_, status in self.answers)

    def times_ms(self, *, kind: str = "", since_s: float = 0.0, until_s: float = float("inf")) -> list[float]:
        """Of those who asked within a span of the monotonic clock."""
        return [
            took_s * 1e3
            for asked, start_s, took_s, _ in self.answers
            if since_s <= start_s < until_s and kind in ("", asked)
        ]

    def must_be_without_failures(self, *, but_broken_off: int = 0) -> None:
        """but_broken_off: answers that may end in their middle, as those that a killed process had begun."""
        failed = [told for told in self.failed if IncompleteRead.__name__ not in told]
        n_broken_off = len(self.failed) - len(failed)
        if failed or n_broken_off > but_broken_off:
            raise RuntimeError(
                f"got {len(failed)} failed and {n_broken_off} broken off of {self.n_asked} requests, expected none "
                f"and at most {but_broken_off}: {(failed or self.failed)[0]}"
            )

    @property
    def n_asked(self) -> int:
        return len(self.answers) + len(self.failed)


@contextmanager
def asking(port: int, streams: Sequence[Source], *, pause_s: float = 0.0) -> Iterator[Tally]:
    """Clients on kept connections, one for each stream, until the block ends.

    pause_s: between an answer and the next question. Whatever is not a 200 is a failure.
    """
    tally, stop = Tally(), threading.Event()

    def ask_on(stream: Source) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        while not stop.is_set():
            question, start_s = stream(), time.monotonic()
            try:
                status, _, body = question.ask(connection)
            except (OSError, HTTPException) as error:
                tally.failed.append(f"{question.kind}: {error!r}")
                connection.close()
                stop.wait(PAUSE_S)
            else:
                tally.answers.append((question.kind, start_s, time.monotonic() - start_s, status))
                if status != 200:
                    tally.failed.append(f"{question.kind}: {status} {body[:300]!r}")
            stop.wait(pause_s)
        connection.close()

    clients = [threading.Thread(target=ask_on, args=[stream]) for stream in streams]
    for client in clients:
        client.start()
    try:
        yield tally
    finally:
        stop.set()
        for client in clients:
            client.join()


class Service:
    """`audiorec serve` in a process of its own, on a port that stays the same when it is started again."""

    def __init__(
        self, model_dir: Path, folder: Path, *, workers: int = 2, before: Sequence[str] = (), **environment: str
    ) -> None:
        """folder: for its log and temporary files. before: what the command line begins with, as ("nice",)."""
        self.port = free_port()
        self.workers = workers
        folder.mkdir(parents=True, exist_ok=True)
        self._log_path = folder / "log"
        self._log_path.write_bytes(b"")
        command = [sys.executable, "-m", "audiorec.cli", "serve", str(model_dir), "--port", str(self.port)]
        self._command = [*before, *command, "--workers", str(workers)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUDIOREC_")}
        self._environment = {**inherited, "TMPDIR": str(folder), **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Service":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def log(self) -> str:
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def worker_pids(self) -> list[int]:
        """Those who answer: uvicorn's children, or the process itself."""
        if self.workers == 1:
            return [self.pid]
        return [pid for pid in descendants(self.pid) if b"spawn_main" in _read(pid, "cmdline")]

    def start(self) -> None:
        """Returns when it can be asked. Raises RuntimeError."""
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )
        wait_until(self.is_ready, f"a service that is ready: {self.log[-2000:]}")

    def is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"got a service that ended with {self.process.returncode}: {self.log[-2000:]}")
        with suppress(OSError, HTTPException):
            return self.get("/ready")[0] == 200
        return False

    def get(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            return Question("", path).ask(connection)
        finally:
            connection.close()

    def metric(self, prefix: str) -> float:
        """The sum of all series whose line begins so."""
        lines = self.get("/metrics")[2].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(prefix))

    def stop(self) -> None:
        """As an operator does it: what is under way is answered. Raises RuntimeError where that is not the end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        if code != 0:
            raise RuntimeError(
                f"got exit code {code} of a service that was told to stop, expected 0: {self.log[-2000:]}"
            )

    def kill(self) -> None:
        """All of its processes, at once, as when its machine goes off."""
        assert self.process is not None
        if self.process.poll() is None:
            for pid in [self.pid, *descendants(self.pid)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()


@dataclass(frozen=True)
class Resources:
    """What a process and its descendants hold at a moment."""

    pss_bytes: int
    n_files: int
    n_processes: int
    n_threads: int

    @classmethod
    def of(cls, pid: int) -> "Resources":
        pids = [pid, *descendants(pid)]
        pss_kb = sum(_number(process, "smaps_rollup", rb"Pss:\s+(\d+)") for process in pids)
        n_threads = sum(_number(process, "status", rb"Threads:\s+(\d+)") for process in pids)
        return cls(1024 * pss_kb, sum(map(_n_files, pids)), len(pids), n_threads)


def _read(pid: int, name: str) -> bytes:
    """Nothing of a process that has just ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def _number(pid: int, name: str, pattern: bytes) -> int:
    found = re.search(pattern, _read(pid, name))
    return int(found[1]) if found else 0


def _n_files(pid: int) -> int:
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> float:
    """Returns how long that took, in seconds. Raises RuntimeError, naming what was expected."""
    begin_s = time.monotonic()
    while not condition():
        if time.monotonic() > begin_s + deadline_s:
            raise RuntimeError(f"got nothing for {deadline_s:g} s, expected {what}")
        time.sleep(PAUSE_S)
    return time.monotonic() - begin_s


def must(condition: bool, message: str) -> None:
    """Raises RuntimeError with what was got and what was expected."""
    if not condition:
        raise RuntimeError(message)


def percentile(times_ms: Sequence[float], percent: int) -> float:
    """NaN of less than two."""
    return quantiles(times_ms, n=100, method="inclusive")[percent - 1] if len(times_ms) > 1 else float("nan")
