"""What goes wrong under a service, made to go wrong while clients ask it: a row for each fault, and what came of it.

Workers that are killed, a full disk, releases swapped while sounds are uploaded, a clock that jumps, clients that send
drop by drop and never read. Fails unless every other request is answered, and the service is as before in the end. The
full disk needs root (it is a small tmpfs), the clock needs libfaketime (on Debian: apt-get install faketime).
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from email.utils import parsedate_to_datetime
from itertools import cycle
from pathlib import Path
from typing import Any

from audiorec.benchmark import rendered
from audiorec.proving import (
    Resources,
    Service,
    Source,
    Tally,
    asking,
    make_releases,
    must,
    percentile,
    sources,
    wait_until,
)
from audiorec.release import make_current

N_SLOW = 30  # of each kind
SLOW_S = 2.0  # what a request may take to arrive, here
SLOW_HEAD = b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
SLOW_BODY = SLOW_HEAD + b"Content-Length: 1000000\r\n\r\nRIFF"
DISK_BYTES = 8 * 2**20
NEVER_ASKED = ("/model", "/openapi.json", "/docs", "/nope", "/embed", "/clips/x")  # each is counted on its own
JUMPS = (timedelta(days=1), timedelta(days=-3), timedelta(days=400), timedelta(0))
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"


class CannotBeMade(Exception):
    """A fault, on this machine."""


class Proof:
    """Releases, questions about them, and how long clients ask before and after a fault."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.folder = folder
        self.quiet_s: float = options.quiet_s
        self.n_times: int = options.times
        self.model_dir, self.names = make_releases(options.work_dir, options.clips, 3)
        asked = sources(self.model_dir)
        self.streams: list[Source] = [
            asked[kind] for kind in ("embedding", "clip_id", "filter", "batch", "sound", "new sound")
        ] * options.clients

    def service(self, name: str, **settings: str) -> Service:
        make_current(self.model_dir, self.names[0])
        given = {"AUDIOREC_WARM": "true", "AUDIOREC_SWAP_POLL_S": "0.2", **settings}
        return Service(self.model_dir, self.folder / name, **given)

    def under_load(self, service: Service, act: Callable[[], str]) -> tuple[str, Tally]:
        with asking(service.port, self.streams, pause_s=0.01) as tally:
            time.sleep(self.quiet_s)
            told = act()
            time.sleep(self.quiet_s)
        must(service.get("/health")[0] == 200, "got a service that is not well, expected /health to answer 200")
        must("Traceback" not in service.log, f"got a traceback in the log, expected none: {service.log[-3000:]}")
        return told, tally


def killed_workers(proof: Proof) -> tuple[str, Tally]:
    """Only who waits for an answer of the killed one gets none."""
    with proof.service("killed") as service:

        def kill() -> str:
            times_s = []
            for _ in range(proof.n_times):
                victim = service.worker_pids()[0]
                os.kill(victim, signal.SIGKILL)
                wait_until(lambda victim=victim: victim not in service.worker_pids(), "the end of a killed worker")
                n_started = service.log.count("serving release")
                wait_until(lambda: len(service.worker_pids()) == service.workers, "a worker in its place")
                times_s.append(wait_until(lambda n=n_started: service.log.count("serving release") > n, "its start"))
            return f"{proof.n_times} killed, each replaced within {max(times_s) + 1:.0f} s"

        told, tally = proof.under_load(service, kill)
    must(
        set(tally.statuses()) == {200}, f"got the answers {tally.statuses()}, expected those of the killed to break off"
    )
    most = proof.n_times * len(proof.streams)
    must(len(tally.failed) <= most, f"got {len(tally.failed)} requests that broke off, expected at most {most}")
    return told, tally


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
        raise CannotBeMade("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def full_disk(proof: Proof) -> tuple[str, Tally]:
    """The one that the service writes to, in TMPDIR: answers and swaps need no room, only a worker that starts does."""
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(proof.folder / "disk"))
        service = stack.enter_context(proof.service("full", TMPDIR=str(disk)))

        def fill() -> str:
            with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(2**12))
            left = os.statvfs(disk).f_bavail
            must(left == 0, f"got {left} blocks left, expected a full disk")
            statuses = {service.get(path)[0] for path in NEVER_ASKED for _ in range(10)}  # of each worker
            must(max(statuses) < 500, f"got the statuses {statuses} on a full disk, expected none of 500 or more")
            make_current(proof.model_dir, proof.names[1])
            wait_until(lambda: service.log.count(f"serving release {proof.names[1]} after") == 2, "a swap")
            os.kill(service.worker_pids()[0], signal.SIGKILL)
            time.sleep(2 * proof.quiet_s)
            (disk / "filler").unlink()
            wait_until(
                lambda: service.log.count(f"serving release {proof.names[1]}") == 3, "the worker that was killed"
            )
            return "answered, swapped, and a killed worker was replaced when there was room"

        told, tally = proof.under_load(service, fill)
    must(set(tally.statuses()) == {200}, f"got the answers {tally.statuses()}, expected none but 200")
    must(len(tally.failed) <= len(proof.streams), f"got {len(tally.failed)} failed requests: {tally.failed[:1]}")
    return told, tally


def swaps_during_uploads(proof: Proof) -> tuple[str, Tally]:
    with proof.service("swaps") as service:

        def swap() -> str:
            names = cycle([*proof.names[1:], proof.names[0]])
            for name in (next(names) for _ in range(proof.n_times)):
                n_swapped = service.log.count(f"serving release {name}")
                make_current(proof.model_dir, name)
                wait_until(
                    lambda name=name, n=n_swapped: service.log.count(f"serving release {name}") == n + 2,
                    "a swap of both",
                )
            return f"{proof.n_times} swaps"

        told, tally = proof.under_load(service, swap)
    tally.must_be_without_failures()
    return told, tally


def jumping_clock(proof: Proof) -> tuple[str, Tally]:
    """Of the service alone, by libfaketime; files keep their times, as they would."""
    libraries = sorted(Path("/").glob(FAKETIME.removeprefix("/")))
    if not libraries:
        raise CannotBeMade("libfaketime is not installed")
    clock = proof.folder / "time"
    clock.write_text("+0")
    fake = {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    with proof.service("clock", **fake) as service:

        def jump() -> str:
            for number, by in enumerate(JUMPS):
                before = date_of(service)
                clock.write_text(f"{by.total_seconds():+.0f}")
                wait_until(lambda before=before: abs(date_of(service) - before) > timedelta(hours=20), "another date")
                name = proof.names[(number + 1) % len(proof.names)]
                n_swapped = service.log.count(f"serving release {name}")
                make_current(proof.model_dir, name)
                wait_until(
                    lambda name=name, n=n_swapped: service.log.count(f"serving release {name}") == n + 2, "a swap"
                )
            return f"{len(JUMPS)} jumps, up to {max(JUMPS).days} days, and a swap after each"

        told, tally = proof.under_load(service, jump)
    tally.must_be_without_failures()
    return told, tally


def date_of(service: Service) -> Any:
    """As the service tells it in its answers."""
    return parsedate_to_datetime(service.get("/health")[1]["date"])


def slow_clients(proof: Proof) -> tuple[str, Tally]:
    """Without nginx in front: those who drip are told 408 or cut off, those who read nothing are left."""
    with proof.service("slow", AUDIOREC_REQUEST_WAIT_S=f"{SLOW_S:g}") as service:
        proof.under_load(service, lambda: "")  # each worker has met every kind of question
        before = Resources.of(service.pid)
        batch = proof.streams[3]().body or b""
        ask_batch = (
            f"POST /nearest/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(batch)}"
        )
        begun = (b"", SLOW_HEAD, SLOW_BODY, (ask_batch + "\r\n\r\n").encode() + batch)

        def drip() -> str:
            connections = [connected(service.port, bytes_) for bytes_ in begun for _ in range(N_SLOW)]
            dripping = connections[N_SLOW:-N_SLOW]
            took_s = wait_until(lambda: sum(map(drop, dripping)) == 0, "all of them cut off")
            wait_until(  # other connections and a decoder may have come, but less than one kind of the slow ones
                lambda: Resources.of(service.pid).n_files < before.n_files + N_SLOW, "closed files"
            )
            for connection in connections:
                connection.close()
            return f"{len(connections)} of them, the last cut off after {took_s:.0f} s"

        told, tally = proof.under_load(service, drip)
        n_refused = service.metric('audiorec_refusals_total{code="too_slow"}')
    tally.must_be_without_failures()
    must(n_refused >= N_SLOW, f"got {n_refused:g} refusals too_slow in the metrics, expected {N_SLOW} at least")
    return told, tally


def connected(port: int, begun: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(begun)
    return connection


def drop(connection: socket.socket) -> bool:
    """Whether the server still takes one."""
    try:
        connection.send(b"x")
        return connection.recv(1, socket.MSG_DONTWAIT) is None
    except BlockingIOError:
        return True
    except OSError:
        return False


FAULTS: dict[str, Callable[[Proof], tuple[str, Tally]]] = {
    "killed workers": killed_workers,
    "a full disk": full_disk,
    "swaps during uploads": swaps_during_uploads,
    "a clock that jumps": jumping_clock,
    "slow clients": slow_clients,
}


def row(fault: str, proof: Proof) -> dict[str, Any]:
    try:
        told, tally = FAULTS[fault](proof)
    except CannotBeMade as error:
        return {"fault": fault, "what came of it": f"left out: {error}", "requests": 0, "broke off": 0, "p99 ms": 0.0}
    return {
        "fault": fault,
        "what came of it": told,
        "requests": tally.n_asked,
        "broke off": len(tally.failed),
        "p99 ms": percentile(tally.times_ms(), 99),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--times", type=int, default=10, help="kills and swaps")
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=2, help="connections for each kind of question")
    parser.add_argument("--quiet-s", type=float, default=5.0, help="seconds of load before and after each fault")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="audiorec-faults-") as folder:
        proof = Proof(options, Path(folder))
        rows = []
        for fault in options.faults:
            rows.append(row(fault, proof))
            print(rows[-1], file=sys.stderr)
    print(rendered({"Faults under load": rows}, as_json=options.json))


if __name__ == "__main__":
    main()
