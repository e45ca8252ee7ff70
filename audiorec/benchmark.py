"""What the benchmark programs share: the machine in words, sides that take turns, tables, a service under load."""

import http.client
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar

Figures = Sequence[Mapping[str, Any]]  # a row each, all with the same columns
T = TypeVar("T")

PACKAGES = ("audiorec", "annoy", "fastapi", "numpy", "pyarrow", "soundfile", "soxr", "torch", "uvicorn")
START_S = 600.0  # a release of a million clips is verified first
WRK_SCRIPT = """
local requests, i = {}, 0
function init()
  for n = 0, %(n_posts)d - 1 do
    local file = io.open(string.format("%(folder)s/%%d", n), "rb")
    local path, content_type = file:read("*l"), file:read("*l")
    requests[n + 1] = wrk.format("POST", path, {["Content-Type"] = content_type}, file:read("*a"))
    file:close()
  end
end
function request()
  i = i %% #requests + 1
  return requests[i]
end
function done(summary, latency)
  local e = summary.errors
  local n_errors = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("\\n%%d %%d %%d %%d %%d\\n", summary.requests, summary.duration, n_errors,
    latency:percentile(50), latency:percentile(99)))
end
"""


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, memory, system, versions."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def rendered(tables: Mapping[str, Figures], *, as_json: bool) -> str:
    """The machine and the tables, each under its title, as Markdown or as JSON."""
    if as_json:
        return json.dumps({"machine": machine(), "tables": tables}, indent=1)
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    return "\n\n".join([facts, *(f"{title}\n\n{_markdown(rows)}" for title, rows in tables.items())])


def _markdown(rows: Figures) -> str:
    header = list(rows[0])
    lines = [header, ["---"] * len(header), *([_cell(row[name]) for name in header] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def in_turns(sides: Mapping[str, Callable[[], T]], n_rounds: int) -> dict[str, list[T]]:
    """Runs every side `n_rounds` times, one after the other, so that what disturbs the machine disturbs them all."""
    results: dict[str, list[T]] = {name: [] for name in sides}
    for _ in range(n_rounds):
        for name, run in sides.items():
            results[name].append(run())
    return results


@contextmanager
def running(command: Sequence[str], port: int, *, path: str) -> Iterator[int]:
    """A service in a process of its own, from when it answers GET `path` with 200 until the block ends: its id."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_ready(process, port, path)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"got no service on port {port}, expected 200 for GET {path} within {START_S:g} s")


def pss_of(pid: int) -> Counter[str]:
    """Bytes by kind, of a process and its descendants. Pss counts a page that n processes share as 1/n for each."""
    total: Counter[str] = Counter()
    for process in [pid, *descendants(pid)]:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
            name, value, _ = line.split()
            total[name.rstrip(":")] += 1024 * int(value)
    return total


def cpu_s_of(pid: int) -> float:
    """Processor time of a process and its descendants, those that have ended too: it tells on a busy machine."""
    ticks = 0
    for process in [pid, *descendants(pid)]:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))  # in user and system mode, the same of ended children
    return ticks / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):  # who has just ended has none
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text(encoding="ascii").split()):
                found += [child, *descendants(child)]
    return found


@dataclass(frozen=True)
class Load:
    """What a service did under load."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def median(cls, loads: Sequence["Load"]) -> "Load":
        """Of each figure on its own."""
        return cls(*(median(getattr(load, name) for load in loads) for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Post:
    """A request."""

    path: str
    body: bytes
    content_type: str = "application/json"


def load(port: int, posts: Sequence[Post], *, n_clients: int, duration_s: int) -> Load:
    """Sends the posts in turn over as many kept connections, each waiting for its answer. Raises RuntimeError unless
    every answer is a 200.

    By `wrk` where it is installed; by threads of this process, which are no match for a quick service, where not.
    """
    by = _load_by_wrk if shutil.which("wrk") else _load_by_threads
    return by(port, posts, n_clients, duration_s)


def _load_by_wrk(port: int, posts: Sequence[Post], n_clients: int, duration_s: int) -> Load:
    with tempfile.TemporaryDirectory() as folder:
        for n, post in enumerate(posts):
            (Path(folder) / str(n)).write_bytes(f"{post.path}\n{post.content_type}\n".encode() + post.body)
        script = Path(folder) / "script.lua"
        script.write_text(WRK_SCRIPT % {"n_posts": len(posts), "folder": folder})
        command = ["wrk", "-t1", f"-c{n_clients}", f"-d{duration_s}s", "--timeout", "30s", "-s", str(script)]
        url = f"http://127.0.0.1:{port}"
        told = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    n_requests, duration_us, n_errors, p50_us, p99_us = map(int, told.splitlines()[-1].split())
    if n_errors or not n_requests:
        raise RuntimeError(f"got {n_errors} errors and {n_requests} answers, expected only answers")
    return Load(n_requests / duration_us * 1e6, p50_us / 1e3, p99_us / 1e3)


def _load_by_threads(port: int, posts: Sequence[Post], n_clients: int, duration_s: int) -> Load:
    end = time.monotonic() + duration_s

    def ask_in_turn(first: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        times_s = []
        for post in islice(cycle(posts), first, None):
            start = time.perf_counter()
            connection.request("POST", post.path, post.body, {"Content-Type": post.content_type})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"got status {answer.status} for POST {post.path}, expected 200")
            times_s.append(time.perf_counter() - start)
            if time.monotonic() > end:
                break
        return times_s

    with ThreadPoolExecutor(n_clients) as clients:
        times_s = [taken for times in clients.map(ask_in_turn, range(n_clients)) for taken in times]
    cuts_s = quantiles(times_s, n=100, method="inclusive")
    return Load(len(times_s) / duration_s, cuts_s[49] * 1e3, cuts_s[98] * 1e3)


CONSTANT_APP = """
import json
from pathlib import Path
from fastapi import FastAPI, Request
from pydantic import BaseModel

ANSWER = json.loads((Path(__file__).parent / "answer.json").read_text())
app = FastAPI()

class Query(BaseModel):
    embedding: list[float] | None = None
    clip_id: str | None = None
    k: int = 10

@app.post("/nearest")
async def nearest(query: Query):
    return ANSWER

@app.post("/typed/nearest")
async def typed_nearest(query: Query) -> dict:
    return ANSWER

@app.post("/upload")
async def upload(request: Request):
    await request.body()
    return ANSWER
"""


@contextmanager
def constant_service(answer: Mapping[str, Any], *, n_workers: int = 1) -> Iterator[int]:
    """What a bare FastAPI takes for a request: it parses a query, or reads an upload. Gives its port.

    /nearest is written as FastAPI's tutorial has it. /typed/nearest returns `-> dict`, for which it has a fast path.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "constant.py").write_text(CONSTANT_APP, encoding="utf-8")
        (Path(folder) / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
        command = [sys.executable, "-m", "uvicorn", "--app-dir", folder, "constant:app", "--no-access-log"]
        with running([*command, "--port", str(port), "--workers", str(n_workers)], port, path="/openapi.json"):
            yield port
