"""Real servers on the loopback, for tests: started, asked, and ended with all their processes."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api_fixtures import children_of, message_of
from waiting import wait_until

STARTED = re.compile(r"(?:starting|running) on http://127\.0\.0\.1:(\d+)")

Answer = tuple[int, dict[str, str], Any]  # status, headers in lower case, JSON


class Running:
    """A server process, and one HTTP connection a request unless told otherwise."""

    def __init__(self, process: "subprocess.Popen[bytes]", log_path: Path) -> None:
        self.process = process
        self.log_path = log_path
        self.port = 0

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_until_ready(self) -> None:
        wait_until(self._answers, lambda: self.log)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        found = STARTED.search(self.log)
        if found is None:
            return False
        self.port = int(found[1])
        try:
            return self.get("/ready")[0] == 200
        except ConnectionRefusedError:
            return False

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def raw(self, *parts: bytes) -> socket.socket:
        """A connection that has sent these bytes."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        for part in parts:
            connection.sendall(part)
        return connection

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def nearest(self, body: bytes, media_type: str = "application/json") -> Answer:
        return self.request("POST", "/nearest", body, {"Content-Type": media_type})

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            return answer_of(connection)
        finally:
            connection.close()

    def is_closed(self) -> bool:
        try:
            self.raw().close()
        except ConnectionRefusedError:
            return True
        return False

    def stop(self, sign: int = signal.SIGTERM) -> int:
        self.process.send_signal(sign)
        return self.process.wait(30)


def answer_of(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    body = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    is_json = headers.get("content-type") == "application/json"
    return response.status, headers, json.loads(body) if is_json and body else body


def read_answer(connection: socket.socket) -> Answer:
    """The next answer on a socket."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    body = response.read()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, json.loads(body)


def refused(answer: Answer, status: int, code: str) -> str:
    assert answer[0] == status, answer
    assert answer[1]["content-type"] == "application/json"
    return message_of(answer[2], code, answer[1]["x-request-id"])


@contextmanager
def running(folder: Path, command: list[str], **environment: str) -> Iterator[Running]:
    """A server with a folder for its temporary files, ended with all its processes whatever the test does."""
    log_path = folder / "log"
    (folder / "tmp").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUDIOREC_")}
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**kept, "TMPDIR": str(folder / "tmp"), "PYTHONUNBUFFERED": "1", **environment},
        )
    server = Running(process, log_path)
    try:
        yield server
    finally:
        for pid in {*children_of(process.pid), process.pid} if process.poll() is None else ():
            os.kill(pid, signal.SIGKILL)
        process.wait()


def left_behind(server: Running) -> list[str]:
    return sorted(path.name for path in (server.log_path.parent / "tmp").iterdir())


def descendants(pid: int) -> set[int]:
    children = children_of(pid)
    return children.union(*map(descendants, children))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
