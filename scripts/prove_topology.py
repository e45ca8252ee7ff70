"""Two replicas behind nginx, by the very scripts/deploy/nginx.conf: what is balanced, refused, and survived.

Needs nginx (on Debian: apt-get install nginx-light). While clients ask by embedding, clip id and sound, a replica is
killed, both are restarted in turn, and a new release is made current: fails unless every request is answered, but for
those that the killed one had begun to answer, which nobody can take back.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from audiorec.benchmark import free_port, rendered
from audiorec.proving import (
    Question,
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

CONFIG = Path(__file__).parent / "deploy" / "nginx.conf"
N_QUESTIONS = 2_000
CLIENT = "127.0.0.2"  # an address of this machine that is not the proxy's
ASKED = 'audiorec_requests_total{route="/nearest",status="200"}'
LEAST_SHARE = 0.2  # each gets about a half, but for one that is slower just now: nginx asks whoever is free


def config(folder: Path, port: int, replicas: Sequence[Service]) -> str:
    """The configuration with our addresses, and a folder of ours for /tmp; nothing else changes."""
    text = CONFIG.read_text(encoding="utf-8")
    changes = {"listen 8080;": f"listen 127.0.0.1:{port};", " /tmp/": f" {folder}/"}
    changes |= {f"audiorec-{n}:8000": f"127.0.0.1:{replica.port}" for n, replica in enumerate(replicas, start=1)}
    for ours, here in changes.items():
        must(ours in text, f"got no '{ours}' in {CONFIG.name}, expected one to put '{here}' in its place")
        text = text.replace(ours, here)
    return text


@contextmanager
def balancer(folder: Path, replicas: Sequence[Service]) -> Iterator[int]:
    """nginx until the block ends: its port."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nginx.conf"
    path.write_text(config(folder, port, replicas), encoding="utf-8")
    command = ["nginx", "-p", str(folder), "-c", str(path), "-g", "daemon off;"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as nginx:
        try:
            wait_until(lambda: get(port, "/ready")[0] == 200, "an answer through nginx")
            yield port
        finally:
            nginx.send_signal(signal.SIGQUIT)


def get(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """By a client with an address of its own; status 0 where nobody listens yet."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30, source_address=(CLIENT, 0))
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    except ConnectionRefusedError:
        return 0, {}, b""
    finally:
        connection.close()


def prove_balance(port: int, replicas: Sequence[Service], streams: Sequence[Source]) -> str:
    before = [replica.metric(ASKED) for replica in replicas]
    with asking(port, streams) as tally:
        wait_until(lambda: tally.n_asked >= N_QUESTIONS, f"{N_QUESTIONS} answers")
    tally.must_be_without_failures()
    counts = [replica.metric(ASKED) - n for replica, n in zip(replicas, before, strict=True)]
    shares = [count / sum(counts) for count in counts]
    must(min(shares) >= LEAST_SHARE, f"got shares of {shares}, expected at least {LEAST_SHARE} each")
    return f"{shares[0]:.0%} and {shares[1]:.0%} of the requests"


def prove_refusals(port: int) -> str:
    """Who refuses is told by the sentence; the shape is the same."""
    said = []
    for size, who in ((33 * 1024**2 - 1, "33,554,432"), (34 * 1024**2, "33 MB")):
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.putrequest("POST", "/nearest")
        for name, value in (("Content-Type", "audio/wav"), ("Content-Length", str(size)), ("X-Request-Id", "mine-1")):
            connection.putheader(name, value)
        connection.endheaders()
        if size < 33 * 1024**2:  # nginx refuses the other one by its length
            connection.send(bytes(size))
        response = connection.getresponse()
        error = json.loads(response.read())["error"]
        connection.close()
        got = (response.status, error["code"], error["request_id"], response.headers["X-Request-Id"])
        must(got == (413, "body_too_large", "mine-1", "mine-1"), f"got {got}, expected a 413 of the request mine-1")
        must(who in error["message"], f"got {error['message']!r}, expected {who} in it")
        said.append(error["message"])
    status, headers, body = get(port, "/metrics")
    must((status, json.loads(body)["error"]["code"]) == (404, "not_found"), f"got {status} for /metrics, expected 404")
    must("server" not in headers or headers["server"] == "nginx", "got nginx's version in an answer, expected none")
    return f"413 from audiorec ('{said[0][:60]}…'), above 33 MB from nginx, in the same shape"


def prove_client(port: int, replicas: Sequence[Service]) -> str:
    """A replica knows who asked, and believes no client that says it is somebody else."""
    get(port, "/model", **{"X-Request-Id": "whose-1", "X-Forwarded-For": "6.6.6.6"})
    wait_until(lambda: any("whose-1" in replica.log for replica in replicas), "a line in a log")
    [line] = [line for replica in replicas for line in replica.log.splitlines() if "whose-1" in line]
    seen = json.loads(line)["client"]
    must(seen == CLIENT, f"got the client {seen} in the log, expected {CLIENT}")
    return f"the log has {seen}, whatever X-Forwarded-For a client sends"


def prove_nothing_fails(
    port: int, streams: Sequence[Source], act: Callable[[], str], quiet_s: float, n_broken_off: int
) -> tuple[str, Tally]:
    """While clients ask. quiet_s: before and after. n_broken_off: answers that may end in their middle."""
    with asking(port, streams) as tally:
        time.sleep(quiet_s)
        told = act()
        time.sleep(quiet_s)
    tally.must_be_without_failures(but_broken_off=n_broken_off)
    return told, tally


def kill_and_restart(replica: Service) -> str:
    replica.kill()
    time.sleep(1)
    replica.start()
    return f"asked again {until_asked(replica):.1f} s after it was ready"


def until_asked(replica: Service) -> float:
    """nginx passes over a replica for some seconds after it has failed. Returns for how many."""
    return wait_until(lambda: replica.metric(ASKED) > 0, "requests for the replica that is back")


def restart_each(replicas: Sequence[Service]) -> str:
    """As scripts/deploy/rolling-restart: the next only when this one is asked again."""
    times_s = []
    for replica in replicas:
        replica.stop()
        replica.start()
        times_s.append(until_asked(replica))
    return f"asked again {times_s[0]:.1f} and {times_s[1]:.1f} s after they were ready"


def swap(model_dir: Path, port: int, name: str) -> str:
    make_current(model_dir, name)
    took_s = wait_until(lambda: {release(port) for _ in range(6)} == {name}, f"release {name} from both replicas")
    return f"both serve {name} after {took_s:.1f} s"


def release(port: int) -> str:
    name: str = json.loads(get(port, "/ready")[2])["release"]
    return name


def prove_502(port: int, replicas: Sequence[Service], question: Question) -> str:
    """With nobody there the answer still is in the one shape."""
    for replica in replicas:
        replica.kill()
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    status, _, body = question.ask(connection)
    connection.close()
    error = json.loads(body)["error"]
    must((status, error["code"]) == (502, "unavailable"), f"got {status} {error}, expected a 502 unavailable")
    return f"502: {error['message']}"


def prove(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Tables: what each step found, and what the clients saw meanwhile."""
    model_dir, names = make_releases(options.work_dir, options.clips, 2)
    asked = sources(model_dir)
    streams = [asked[kind] for kind in ("embedding", "clip_id", "filter", "batch", "clip", "sound")] * options.clients
    settings = {"AUDIOREC_LOG_FORMAT": "json", "AUDIOREC_SWAP_POLL_S": "0.2", "AUDIOREC_WARM": "true"}
    found: dict[str, str] = {}
    loads = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audiorec-topology-")))
        folder.chmod(0o755)  # nginx's workers are of another user
        replicas = [
            stack.enter_context(Service(model_dir, folder / f"replica-{n}", workers=options.workers, **settings))
            for n in (1, 2)
        ]
        port = stack.enter_context(balancer(folder / "nginx", replicas))
        found["balancing"] = prove_balance(port, replicas, streams)
        found["refusals"] = prove_refusals(port)
        found["who asks"] = prove_client(port, replicas)
        for step, act, n_broken_off in (
            ("a replica killed and started again", lambda: kill_and_restart(replicas[0]), len(streams)),
            ("rolling restart", lambda: restart_each(replicas), 0),
            ("a new release", lambda: swap(model_dir, port, names[1]), 0),
        ):
            found[step], tally = prove_nothing_fails(port, streams, act, options.quiet_s, n_broken_off)
            loads.append({"step": step, **figures(tally)})
        found["no replica at all"] = prove_502(port, replicas, asked["embedding"]())
    steps = [{"step": step, "found": what} for step, what in found.items()]
    return {"Two replicas behind nginx": steps, "What clients saw meanwhile": loads}


def figures(tally: Tally) -> dict[str, Any]:
    times_ms = tally.times_ms()
    p50_ms, p99_ms = percentile(times_ms, 50), percentile(times_ms, 99)
    return {"requests": tally.n_asked, "failed": len(tally.failed), "p50 ms": p50_ms, "p99 ms": p99_ms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2, help="of each replica")
    parser.add_argument("--clients", type=int, default=2, help="connections for each kind of question")
    parser.add_argument("--quiet-s", type=float, default=10.0, help="seconds of load before and after each step")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if shutil.which("nginx") is None:
        sys.exit("got no nginx, expected one on PATH: apt-get install nginx-light")
    print(rendered(prove(options), as_json=options.json))


if __name__ == "__main__":
    main()
