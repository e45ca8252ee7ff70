"""Real servers on the loopback: how they start and stop, what they leave behind, and what only a socket can show."""

import errno
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import soundfile
import uvicorn
from api_fixtures import Catalogue, children_of
from prometheus_client.mmap_dict import MmapedDict
from servers import (
    Answer,
    Running,
    answer_of,
    descendants,
    is_alive,
    left_behind,
    read_answer,
    refused,
    running,
)
from sounds import encoded
from uvicorn.config import STARTUP_FAILURE
from waiting import WAIT_S, wait_until

from audiorec.api.keys import create_key, revoke_key
from audiorec.api.serve import _serve, _shared_dir
from audiorec.errors import NoSpace
from audiorec.files import sha256_of
from audiorec.release.manifest import FileFacts, read_manifest

ID = "b/clip 21.wav"
QUERY = json.dumps({"clip_id": ID, "k": 3}).encode()


def serve(catalogue: Catalogue, *options: str) -> list[str]:
    return ["audiorec.cli", "serve", str(catalogue.model_dir), "--port", "0", *options]


def as_flac(wav: bytes) -> bytes:
    """The same sound, in a form that takes a decoder of its own."""
    return encoded(*soundfile.read(io.BytesIO(wav), dtype="int16"), "FLAC")


@pytest.fixture(scope="module")
def one(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of one worker, for all tests that leave it running."""
    with running(tmp_path_factory.mktemp("one"), serve(catalogue), AUDIOREC_MAX_BODY_BYTES="200000") as server:
        server.wait_until_ready()
        yield server
        assert server.get("/health")[0] == 200
        assert server.process.poll() is None
        assert "Traceback" not in server.log
        assert "Exception" not in server.log


class TestSockets:
    def test_clips_of_any_id(self, one: Running, catalogue: Catalogue) -> None:
        for row in catalogue.rows:
            for safe in ("/", ""):
                status, _, answer = one.get(f"/clips/{quote(row['clip_id'], safe=safe)}")
                assert (status, answer["clip"]["clip_id"]) == (200, row["clip_id"])

    def test_a_connection_is_kept_over_answers_and_errors(self, one: Running, catalogue: Catalogue) -> None:
        connection = one.connect()
        sound = {"Content-Type": "audio/wav"}
        for body, headers, status in (
            (QUERY, {"Content-Type": "application/json"}, 200),
            (b"{", {"Content-Type": "application/json"}, 422),
            (bytes(300_000), sound, 413),  # its length is declared: refused before it has come
            (iter([bytes(70_000)] * 5), sound, 413),  # chunked: refused while it comes
            (bytes(100_000), sound, 422),
            (QUERY, {}, 415),
            (catalogue.sound(ID), sound, 200),
            (QUERY, {"Content-Type": "application/json"}, 200),
        ):
            connection.request("POST", "/nearest?k=3", body, headers)
            if connection.sock is not None:
                port = connection.sock.getsockname()[1]
            answer = answer_of(connection)
            assert answer[0] == status, answer
            assert connection.sock is not None, "the server closed it"
            assert connection.sock.getsockname()[1] == port
        connection.close()

    def test_a_body_that_waits_for_leave_is_refused_before_it_is_sent(self, one: Running) -> None:
        head = b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nExpect: 100-continue\r\n"
        with one.raw(head + b"Content-Length: 200001\r\n\r\n") as connection:
            assert "200,001" in refused(read_answer(connection), 413, "body_too_large")
        with one.raw(head + b"Content-Length: 3\r\n\r\n") as connection:
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"abc")
            refused(read_answer(connection), 422, "text")

    def test_a_length_that_lies(self, one: Running) -> None:
        head = b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
        with one.raw(head + b"Content-Length: 100\r\n\r\n", b"too little") as connection:
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""  # there is nobody to answer
        for length in (b"2", b"-1", b"1e3", b"x", b"9" * 40, "²".encode("latin-1")):
            with one.raw(head + b"Content-Length: " + length + b"\r\n\r\n", b"abc\r\n\r\n") as connection:
                assert connection.recv(100).startswith(b"HTTP/1.1 400 ")

    def test_clients_that_leave(self, one: Running, catalogue: Catalogue) -> None:
        sound = catalogue.sound(ID)
        head = b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: %d\r\n\r\n" % len(
            sound
        )
        for sent in (head[:20], head, head + sound[: len(sound) // 2], head + sound):
            for _ in range(3):
                one.raw(sent).close()
        assert one.nearest(sound, "audio/wav")[0] == 200
        wait_until(lambda: b"audiorec_uploads_in_progress 0.0" in one.get("/metrics")[2])

    def test_head_has_no_body(self, one: Running) -> None:
        connection = one.connect()
        for path, status in (("/health", 200), ("/nope", 404), ("/nearest", 405), ("/ready", 200)):
            connection.request("HEAD", path)
            got, headers, body = answer_of(connection)
            assert (got, body) == (status, b"")
            assert int(headers["content-length"]) > 0
        connection.close()

    def test_a_second_server_on_the_port_says_so(self, one: Running, catalogue: Catalogue, tmp_path: Path) -> None:
        command = [*serve(catalogue), "--port", str(one.port)]
        with running(tmp_path, command) as server:
            assert server.process.wait(WAIT_S) == 2
            assert server.log.splitlines() == [
                f"error: got host 127.0.0.1 and port {one.port}, expected an address of this machine that is free "
                "(Address already in use): name others by --host and --port"
            ]
            assert left_behind(server) == []

    @pytest.mark.parametrize("workers", [1, 2])
    def test_one_that_listens_only_when_another_has_begun_to_start(
        self, catalogue: Catalogue, tmp_path: Path, workers: int
    ) -> None:
        """As two do that are started at once: both may bind, one can listen."""
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", 0))
            command = [*serve(catalogue, "--workers", str(workers)), "--port", str(other.getsockname()[1])]
            with running(tmp_path, command) as server:
                wait_until(lambda: "verified" in server.log, lambda: server.log)
                other.listen()
                assert server.process.wait(WAIT_S) == 1
                assert "cannot serve: got a port that another service listens on" in server.log
                assert server.log.rstrip().endswith("expected one that can: the lines above say why")
                assert "Traceback" not in server.log
                assert left_behind(server) == []


class TestStop:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_request_under_way_is_answered_and_nothing_is_left(
        self, catalogue: Catalogue, tmp_path: Path, workers: int
    ) -> None:
        sound = as_flac(catalogue.sound(ID))
        half = len(sound) // 2
        with running(tmp_path, serve(catalogue, "--workers", str(workers)), AUDIOREC_WARM="1") as server:
            server.wait_until_ready()
            assert server.nearest(sound, "audio/wav")[0] == 200
            processes = descendants(server.process.pid)
            assert len(processes) >= (1 if workers == 1 else 4)  # a decoder, and the workers with what started them
            head = b"POST /nearest?k=3 HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: %d\r\n\r\n"
            with server.raw(head % len(sound) + sound[:half]) as connection, server.raw() as idle:
                wait_until(lambda: b"audiorec_request" in server.get("/metrics")[2])
                server.process.send_signal(signal.SIGTERM)
                assert idle.recv(100) == b""  # closed at once
                wait_until(lambda: server.log.count("Shutting down") == workers)
                connection.sendall(sound[half:])
                status, headers, answer = read_answer(connection)
                assert (status, answer["results"][0]["clip_id"]) == (200, ID)
                assert headers["connection"] == "close"
            assert server.process.wait(30) == 0
            assert server.is_closed()
            assert left_behind(server) == []
            wait_until(lambda: not any(map(is_alive, processes)))
            assert "Traceback" not in server.log

    def test_a_request_that_never_ends_is_cut_off_after_the_grace(self, catalogue: Catalogue, tmp_path: Path) -> None:
        with running(tmp_path, serve(catalogue), AUDIOREC_STOP_GRACE_S="0") as server:
            server.wait_until_ready()
            head = b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: 10\r\n\r\n"
            with server.raw(head) as connection:
                server.get("/health")
                assert server.stop() == 0
                answer = read_answer(connection)
                assert "had to stop" in refused(answer, 503, "not_ready")
                assert answer[1]["retry-after"] == "1"
            assert left_behind(server) == []
            assert "Traceback" not in server.log

    def test_before_anything_listens(self, catalogue: Catalogue, tmp_path: Path) -> None:
        """A large release is verified for a while."""
        with running(tmp_path, serve(catalogue)) as server:
            wait_until(lambda: left_behind(server) != [])
            assert server.stop() == 0
            assert left_behind(server) == []
            assert "Traceback" not in server.log

    def test_by_the_keyboard(self, catalogue: Catalogue, tmp_path: Path) -> None:
        with running(tmp_path, serve(catalogue)) as server:
            server.wait_until_ready()
            assert server.stop(signal.SIGINT) == 0
            assert left_behind(server) == []
            assert "Traceback" not in server.log


class TestWorkers:
    def test_one_that_is_killed_is_replaced_and_what_is_counted_is_of_all(
        self, catalogue: Catalogue, tmp_path: Path
    ) -> None:
        sound, command = as_flac(catalogue.sound(ID)), serve(catalogue, "--workers", "2")
        without_cache = {"AUDIOREC_UPLOAD_CACHE_MB": "0"}
        with running(tmp_path, command, **without_cache) as server, ThreadPoolExecutor(100) as pool:
            server.wait_until_ready()
            wait_until(lambda: server.log.count("serving release 0001") == 2)
            assert [server.nearest(QUERY)[0] for _ in range(40)] == [200] * 40
            assert server.nearest(sound, "audio/wav")[0] == 200
            wait_until(lambda: requests_counted(server) == 41)  # counted once they are answered, by either worker
            (decoder,) = (pid for pid in descendants(server.process.pid) if is_decoder(pid))
            (worker,) = (pid for pid in children_of(server.process.pid) if decoder in children_of(pid))

            workers_before = workers_measured(server)
            assert len(workers_before) == 2

            os.kill(decoder, signal.SIGSTOP)
            uploads = []
            while uploads_of(worker, server) == 0:  # the other one answers those that come to it
                uploads.append(pool.submit(is_answered, server, sound))
                time.sleep(0.05)
            os.kill(worker, signal.SIGKILL)
            assert [server.nearest(QUERY)[0] for _ in range(20)] == [200] * 20
            n_answered = sum(upload.result() for upload in uploads)
            assert n_answered < len(uploads)
            wait_until(lambda: b"audiorec_uploads_in_progress 0.0" in server.get("/metrics")[2])
            wait_until(lambda: server.log.count("serving release 0001") == 3)
            assert not is_alive(worker)
            assert worker in workers_before
            assert worker not in workers_measured(server)
            assert [server.nearest(QUERY)[0] for _ in range(20)] == [200] * 20
            wait_until(lambda: requests_counted(server) == 41 + 20 + n_answered + 20)
            os.kill(decoder, signal.SIGCONT)  # nobody holds its pipes: it ends by itself
            wait_until(lambda: not is_alive(decoder))
            assert server.stop() == 0
            assert left_behind(server) == []

    def test_they_leave_when_their_supervisor_is_killed(self, catalogue: Catalogue, tmp_path: Path) -> None:
        with running(tmp_path, serve(catalogue, "--workers", "2")) as server:
            server.wait_until_ready()
            wait_until(lambda: server.log.count("Application startup complete") == 2)
            processes = descendants(server.process.pid)
            try:
                server.stop(signal.SIGKILL)
                wait_until(lambda: not any(map(is_alive, processes)))
            finally:
                for pid in filter(is_alive, processes):
                    os.kill(pid, signal.SIGKILL)
            assert server.is_closed()
            assert server.log.count("is gone, stopping") == server.log.count("Application shutdown complete") == 2
            assert "Traceback" not in server.log

    @pytest.mark.parametrize("workers", [1, 2])
    def test_one_that_cannot_start_ends_the_service(self, catalogue: Catalogue, tmp_path: Path, workers: int) -> None:
        """The encoder's hash is right, so that only a worker that loads it can know."""
        release = tmp_path / "release"
        shutil.copytree(catalogue.model_dir / "current", release)
        for path in (release, *release.iterdir()):
            path.chmod(0o755)
        encoder = release / "encoder.pt"
        encoder.write_bytes(b"no TorchScript")
        facts = FileFacts(bytes=encoder.stat().st_size, sha256=sha256_of(encoder))
        manifest = read_manifest(release)
        manifest.model_copy(update={"files": {**manifest.files, "encoder.pt": facts}}).write(release)
        command = ["audiorec.cli", "serve", str(release), "--port", "0", "--workers", str(workers)]
        with running(tmp_path, command, AUDIOREC_WARM="1") as server:
            assert server.process.wait(WAIT_S) == 1
            assert "cannot serve: got an encoder file encoder.pt that TorchScript cannot run" in server.log
            assert server.log.rstrip().endswith("expected one that can: the lines above say why")
            assert "Traceback" not in server.log
            assert left_behind(server) == []

    @pytest.mark.parametrize(("exit_codes", "started"), [([0, 0], True), ([0, STARTUP_FAILURE], False), ([-9], True)])
    def test_several_that_cannot_start_end_it_too(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exit_codes: list[int], started: bool
    ) -> None:
        class Stopped:
            has_served = False

            def __init__(self, config: uvicorn.Config, listener: socket.socket, shared_dir: Path) -> None:
                self.processes = [SimpleNamespace(exitcode=exit_code) for exit_code in exit_codes]

            def run(self) -> None:
                pass

        monkeypatch.setattr("audiorec.api.serve.Supervisor", Stopped)
        with socket.socket() as listener:
            assert _serve(uvicorn.Config("none", workers=2), listener, tmp_path) is started


class TestStart:
    def test_by_uvicorn_from_the_environment(self, catalogue: Catalogue, tmp_path: Path) -> None:
        command = ["uvicorn", "--factory", "audiorec.api.app:create_app", "--port", "0"]
        environment = {"AUDIOREC_MODEL_DIR": str(catalogue.model_dir), "AUDIOREC_MAX_K": "2"}
        with running(tmp_path, command, **environment) as server:
            server.wait_until_ready()
            assert "expected 1 to 2" in refused(server.nearest(QUERY), 422, "bad_query")
            server.get("/model?api_key=a-secret")
            wait_until(lambda: '"GET /model HTTP/1.1" 200' in server.log, lambda: server.log)
            assert "a-secret" not in server.log

    @pytest.mark.parametrize(
        ("command", "environment", "exit_code", "sentence"),
        [
            ("uvicorn", {}, 3, "got nothing for AUDIOREC_MODEL_DIR, expected the model directory"),
            ("uvicorn", {"AUDIOREC_MODEL_DIR": "/no/such"}, 3, "got /no/such, which does not exist, expected a model"),
            ("uvicorn", {"AUDIOREC_MODEL_DIR": "/", "AUDIOREC_MAX_K": "x"}, 3, "got 'x' for AUDIOREC_MAX_K, expected"),
            ("audiorec", {}, 5, "got {tmp_path}/nope, which does not exist, expected a model directory"),
            ("audiorec", {"AUDIOREC_STOP_GRACE_S": "soon"}, 2, "got 'soon' for AUDIOREC_STOP_GRACE_S, expected"),
            ("audiorec", {"AUDIOREC_KEYS_FILE": "/no/keys.json"}, 2, "got the keys file 'keys.json', which cannot be"),
        ],
    )
    def test_that_cannot_be_is_one_sentence_and_an_exit_code(
        self, tmp_path: Path, command: str, environment: dict[str, str], exit_code: int, sentence: str
    ) -> None:
        arguments = {
            "uvicorn": ["uvicorn", "--factory", "audiorec.api.app:create_app", "--port", "0"],
            "audiorec": ["audiorec.cli", "serve", str(tmp_path / "nope"), "--port", "0"],
        }[command]
        with running(tmp_path, arguments, **environment) as server:
            assert server.process.wait(WAIT_S) == exit_code, server.log
            (line,) = (line for line in server.log.splitlines() if "got " in line)
            assert line.lower().startswith("error:")
            assert sentence.format(tmp_path=tmp_path) in line
            assert "Traceback" not in server.log


class TestFromOutside:
    """Two workers with keys, limits and a JSON log, behind proxies."""

    @pytest.fixture(scope="class")
    @staticmethod
    def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
        path = tmp_path_factory.mktemp("keys") / "keys.json"
        limited = create_key(path, "limited", ["read"], rate="5/hour")
        return {"path": str(path), "ops": create_key(path, "ops", ["read", "admin"]), "limited": limited}

    @pytest.fixture(scope="class")
    @staticmethod
    def server(
        catalogue: Catalogue, keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Running]:
        settings = {"LOG_FORMAT": "json", "KEYS_FILE": keys["path"], "TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8"}
        environment = {f"AUDIOREC_{name}": value for name, value in settings.items()}
        command = serve(catalogue, "--workers", "2")
        with running(tmp_path_factory.mktemp("outside"), command, **environment) as server:
            server.wait_until_ready()
            wait_until(lambda: server.log.count("serving release 0001") == 2)
            yield server
            assert server.stop() == 0
            lines = [json.loads(line) for line in server.log.splitlines()]  # each of them, to the last
            assert {line["logger"] for line in lines} == {"audiorec", "audiorec.requests", "uvicorn.error"}
            for secret in (keys["ops"], keys["limited"], "a-secret", "Traceback"):
                assert secret not in server.log

    def test_keys_are_asked_for_and_a_revoked_one_ends_in_every_worker(
        self, server: Running, keys: dict[str, str]
    ) -> None:
        guest = create_key(Path(keys["path"]), "guest", ["read"])
        answers = [get(server, "/model", guest)[0] for _ in range(10)]
        revoke_key(Path(keys["path"]), "guest")
        answers += [get(server, "/model", guest)[0] for _ in range(10)]
        assert answers == [200] * 10 + [401] * 10

    def test_workers_count_a_clients_requests_together(self, server: Running, keys: dict[str, str]) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: get(server, "/model", keys["limited"]), range(30)))
        assert sorted(status for status, _, _ in answers) == [200] * 5 + [429] * 25
        left = [int(headers["ratelimit-remaining"]) for status, headers, _ in answers if status == 200]
        assert sorted(left) == [0, 1, 2, 3, 4]
        assert {headers["retry-after"] for status, headers, _ in answers if status == 429} <= {"719", "720"}

    @pytest.mark.parametrize(
        ("forwarded", "client"),
        [
            ("", "127.0.0.1"),
            ("203.0.113.7", "203.0.113.7"),
            ("6.6.6.6, 203.0.113.7", "203.0.113.7"),  # the client wrote the first of them
            ("203.0.113.7, 10.1.2.3", "203.0.113.7"),  # by way of a proxy of ours
            ("6.6.6.6, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
        ],
    )
    def test_the_client_is_whom_a_proxy_of_ours_has_seen(
        self, server: Running, keys: dict[str, str], forwarded: str, client: str
    ) -> None:
        headers = {"X-Forwarded-For": forwarded} if forwarded else {}
        assert logged(server, keys, headers)["client"] == client

    def test_a_line_has_all_that_is_known(self, server: Running, keys: dict[str, str]) -> None:
        line = logged(server, keys, {"X-Request-Id": "mine-1"}, "/model?api_key=a-secret")
        assert (line["request_id"], line["route"], line["status"], line["key"]) == ("mine-1", "/model", 200, "ops")
        assert (line["release"], line["method"], line["bytes_in"]) == ("0001", "GET", 0)

    def test_the_server_says_nothing_of_itself(self, server: Running) -> None:
        _, headers, _ = server.get("/health")
        assert "server" not in headers
        assert headers["x-content-type-options"] == "nosniff"


def get(server: Running, path: str, key: str, headers: dict[str, str] | None = None) -> Answer:
    return server.request("GET", path, None, {"Authorization": f"Bearer {key}", **(headers or {})})


def logged(server: Running, keys: dict[str, str], headers: dict[str, str], path: str = "/model") -> dict[str, Any]:
    """The line of one request."""
    request_id = get(server, path, keys["ops"], headers)[1]["x-request-id"]
    wait_until(lambda: request_id in server.log, lambda: server.log)
    (line,) = (json.loads(line) for line in server.log.splitlines() if request_id in line)
    assert isinstance(line, dict)
    return line


class TestProxies:
    def test_nobody_else_is_believed(self, catalogue: Catalogue, tmp_path: Path) -> None:
        """Two proxies that are trusted are elsewhere; who connects from here may say what he likes."""
        environment = {"AUDIOREC_TRUSTED_PROXIES": "10.0.0.0/8", "AUDIOREC_RATE_LIMIT": "3/hour"}
        with running(tmp_path, serve(catalogue, "--access-log"), **environment) as server:
            server.wait_until_ready()
            answers = [server.request("GET", "/model", None, {"X-Forwarded-For": f"6.6.6.{n}"})[0] for n in range(5)]
            assert answers == [200, 200, 200, 429, 429]
            wait_until(lambda: server.log.count("127.0.0.1 GET /model 429 in ") == 2, lambda: server.log)
            assert "6.6.6" not in server.log


def test_without_a_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryDirectory", fail)
    with pytest.raises(NoSpace, match=r"got 'Read-only file system' .* TMPDIR"), _shared_dir():
        pass


def requests_counted(server: Running) -> float:
    text = server.get("/metrics")[2].decode()
    (value,) = re.findall(r'^audiorec_requests_total\{route="/nearest",status="200"\} (\S+)$', text, re.MULTILINE)
    return float(value)


def workers_measured(server: Running) -> set[int]:
    """The workers whose memory the metrics know."""
    text = server.get("/metrics")[2].decode()
    found = re.findall(r'^audiorec_worker_resident_memory_bytes\{kind="anonymous",pid="(\d+)"', text, re.MULTILINE)
    return {int(pid) for pid in found}


def uploads_of(worker_pid: int, server: Running) -> float:
    (path,) = (server.log_path.parent / "tmp").glob(f"*/gauge_livesum_{worker_pid}.db")
    values = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
    return float(sum(value for _, value, *_ in values))


def is_answered(server: Running, sound: bytes) -> bool:
    try:
        return server.nearest(sound, "audio/wav")[0] == 200
    except (OSError, http.client.HTTPException):  # its worker was killed
        return False


def is_decoder(pid: int) -> bool:
    return b"decoder_child" in Path(f"/proc/{pid}/cmdline").read_bytes()
