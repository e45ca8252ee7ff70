"""Clients that send drop by drop, or heads without end: each loses its connection, and nobody else notices."""

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_fixtures import Catalogue
from servers import Running, read_answer, refused, running
from waiting import wait_until

from audiorec.api.security import NOTHING, POLICY, SECURITY_HEADERS

HEAD = b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
GET = b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"
DROPS_S = 0.1


@pytest.fixture(scope="module")
def server(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    command = ["audiorec.cli", "serve", str(catalogue.model_dir), "--port", "0"]
    with running(tmp_path_factory.mktemp("slow"), command, AUDIOREC_REQUEST_WAIT_S="1.5") as server:
        server.wait_until_ready()
        yield server
        assert server.get("/health")[0] == 200
        assert server.stop() == 0
        assert "Traceback" not in server.log


def drip(connection: socket.socket, drop: bytes) -> None:
    """Until the server has closed the connection, or said something."""
    connection.settimeout(DROPS_S)
    for _ in range(600):
        try:
            connection.sendall(drop)
            connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            continue
        except ConnectionError:
            pass
        connection.settimeout(30)
        return
    pytest.fail("the server let it drip for ever")


class TestDrops:
    @pytest.mark.parametrize(
        ("begun", "drop"),
        [
            (b"", b"G"),  # no request line
            (b"GET /ready HTTP/1.1\r\n", b"X-Slow: 1\r\n"),
            (HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        ],
    )
    def test_a_request_that_drips(self, server: Running, begun: bytes, drop: bytes) -> None:
        with server.raw(begun) as connection:
            drip(connection, drop)
            if begun:
                answer = read_answer(connection)
                assert "did not arrive in time" in refused(answer, 408, "too_slow")
                assert answer[1]["connection"] == "close"

    def test_a_connection_that_says_nothing(self, server: Running) -> None:
        with server.raw() as connection:
            assert connection.recv(1) == b""

    def test_empty_lines_after_an_answer(self, server: Running) -> None:
        with server.raw(GET) as connection:
            assert read_answer(connection)[0] == 200
            drip(connection, b"\r\n")

    def test_the_second_request_of_a_connection(self, server: Running) -> None:
        with server.raw(GET + GET[:20]) as connection:
            assert read_answer(connection)[0] == 200
            drip(connection, b"X")

    def test_a_slow_one_that_is_quick_enough(self, server: Running, catalogue: Catalogue) -> None:
        """More than 1,000 bytes a second: it takes longer than any silence may, and is answered."""
        sound = catalogue.sound("b/clip 21.wav")
        head = HEAD + b"Content-Length: %d\r\n\r\n" % len(sound)
        with server.raw(head) as connection:
            step = len(sound) // 20
            for start in range(0, len(sound), step):
                connection.sendall(sound[start : start + step])
                time.sleep(DROPS_S)
            assert read_answer(connection)[0] == 200


def pipelined(connection: socket.socket, n: int) -> list[tuple[int, Any]]:
    """Status and JSON of the next n answers, which may have come in one piece."""
    answers = []
    with connection.makefile("rb") as file:
        for _ in range(n):
            status = int(file.readline().split()[1])
            answers.append((status, json.loads(file.read(int(http.client.parse_headers(file)["content-length"])))))
    return answers


class TestForeigners:
    """Those who speak something else get an answer, and the log does not hear of it, nor of their query strings."""

    @pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
    def test_who_would_like_to_upgrade(self, server: Running, upgrade: bytes) -> None:
        head = b"GET /ready?api_key=a-secret HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + upgrade
        websocket = b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        with server.raw(head + websocket) as connection:
            assert read_answer(connection)[0] == 200
        assert "a-secret" not in server.log
        assert "pgrade" not in server.log

    @pytest.mark.parametrize("is_split", [False, True])
    @pytest.mark.parametrize("is_chunked", [False, True])
    def test_who_would_like_to_upgrade_and_sends_a_body(
        self, server: Running, is_split: bool, is_chunked: bool
    ) -> None:
        """As `curl --http2` and Java do. Twice on one connection, and another request behind them."""
        body = json.dumps({"clip_id": "b/clip 21.wav", "k": 3}).encode()
        head = b"POST /nearest HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        head += b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Type: application/json\r\n"
        if is_chunked:
            head += b"Transfer-Encoding: chunked\r\n\r\n"
            body = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (9, body[:9], len(body) - 9, body[9:])
        else:
            head += b"Content-Length: %d\r\n\r\n" % len(body)
        sent = head + body + head + body + GET
        with server.raw() as connection:
            for part in [sent[at : at + 29] for at in range(0, len(sent), 29)] if is_split else [sent]:
                connection.sendall(part)
                time.sleep(0.002 * is_split)
            (first, one), (second, other), (last, ready) = pipelined(connection, 3)
        assert first == second == last == 200
        assert len(one["results"]) == len(other["results"]) == 3
        assert ready["status"] == "ready"

    def test_a_body_after_an_upgrade_is_no_request(self, server: Running) -> None:
        head = b"POST /nope HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        with server.raw(head + b"Content-Length: %d\r\n\r\n" % len(GET)) as connection:
            time.sleep(0.1)
            connection.sendall(GET + GET)
            assert [status for status, _ in pipelined(connection, 2)] == [404, 200]
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(1)

    def test_an_upgrade_and_a_body_without_an_end(self, server: Running) -> None:
        head = b"POST /nearest HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        with server.raw(head + b"Transfer-Encoding: gzip\r\n\r\nbody") as connection:
            refused(read_answer(connection), 400, "bad_request")

    def test_many_upgrades_in_one_piece(self, server: Running) -> None:
        get = b"GET /ready HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        with server.raw(get * 2_000) as connection:
            assert [status for status, _ in pipelined(connection, 2_000)] == [200] * 2_000

    def test_who_speaks_no_http(self, server: Running) -> None:
        with server.raw(b"\x16\x03\x01\x02\x00\x01\x00") as connection:  # TLS
            answer = read_answer(connection)
        assert "got a request that is not HTTP" in refused(answer, 400, "bad_request")
        for name, value in (*SECURITY_HEADERS, (POLICY, NOTHING)):  # as every other answer has them
            assert answer[1][name.decode()] == value.decode()


class TestHeads:
    @pytest.mark.parametrize("part", [b"X-Long: " + b"x" * 9_000, b"X-Many: 1\r\n" * 900])
    def test_without_end(self, server: Running, part: bytes) -> None:
        with server.raw(b"GET /ready HTTP/1.1\r\n") as connection:
            try:
                for _ in range(100):
                    connection.sendall(part)
                    part = part.removeprefix(b"X-Long: ")
            except ConnectionError:
                return  # it was closed before the answer was read
            assert "longer than 65,536 bytes" in refused(read_answer(connection), 431, "head_too_large")

    def test_of_a_size_that_people_have(self, server: Running) -> None:
        status, _, _ = server.request("GET", "/ready", headers={f"X-{n}": "x" * 1_000 for n in range(30)})
        assert status == 200


class TestReaders:
    """The answer to a batch is some megabytes, more than the system keeps for a connection."""

    BATCH = json.dumps({"queries": [{"clip_id": "b/clip 21.wav", "k": 40}] * 256}).encode()
    ASK = b"POST /nearest/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"

    def test_who_never_reads_is_left(self, server: Running) -> None:
        with narrow(server) as connection:
            connection.sendall(self.ASK % (len(self.BATCH), self.BATCH))
            wait_until(lambda: has_an_owner(server, connection))
            wait_until(lambda: not has_an_owner(server, connection))
            with pytest.raises((ConnectionError, http.client.IncompleteRead)):
                read_answer(connection)

    def test_who_reads_slowly_gets_all_of_it(self, server: Running) -> None:
        with narrow(server) as connection:
            connection.sendall(self.ASK % (len(self.BATCH), self.BATCH))
            head, _, body = connection.recv(4096).partition(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
            while len(body) < length:
                body += connection.recv(2**16)
                time.sleep(0.002)
            assert len(json.loads(body)["answers"]) == 256


def narrow(server: Running) -> socket.socket:
    """A connection for which the system keeps little of what is not read yet."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", server.port))
    return connection


def has_an_owner(server: Running, connection: socket.socket) -> bool:
    """Whether the server has the other end still open."""
    ends = f"0100007F:{server.port:04X} 0100007F:{connection.getsockname()[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(" ".join(line[1:3]) == ends and line[9] != "0" for line in lines)


def test_they_are_counted(server: Running) -> None:
    with server.raw(HEAD) as connection:
        drip(connection, b"X: 1\r\n")
    text = server.get("/metrics")[2].decode()
    assert 'audiorec_refusals_total{code="too_slow"}' in text
