"""The log: a line a request, as text and as JSON; what is in it, and what must never be."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_fixtures import JSON, Catalogue, ask, ids_of, refusal, serving
from starlette.testclient import TestClient

from audiorec.api.keys import create_key, revoke_key
from audiorec.api.logs import WithoutQuery
from audiorec.api.stack import UVICORN_LOG
from audiorec.json_log import JsonFormatter
from audiorec.nearest import Nearest
from audiorec.settings import Settings

ID = "b/clip 21.wav"
FIELDS = ["request_id", "method", "route", "status", "ms", "bytes_in", "bytes_out", "client", "release"]

Lines = list[dict[str, Any]]


class JsonLog(logging.StreamHandler[io.StringIO]):
    """What `audiorec serve` would print."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.setFormatter(JsonFormatter())

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> Lines:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def requests(self) -> Lines:
        return [line for line in self.lines if line["logger"] == "audiorec.requests"]


@pytest.fixture
def log() -> Iterator[JsonLog]:
    handler, logger = JsonLog(), logging.getLogger("audiorec")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture
def client(catalogue: Catalogue) -> Iterator[TestClient]:
    with serving(catalogue, log_format="json") as client:
        yield client


class TestRequests:
    def test_head_is_not_get(self, client: TestClient, log: JsonLog) -> None:
        for method in ("HEAD", "GET"):
            assert client.request(method, "/model").status_code == 200
        assert [(line["method"], line["route"]) for line in log.requests] == [("HEAD", "/model"), ("GET", "/model")]

    def test_each_is_a_line_of_what_happened(self, client: TestClient, log: JsonLog, catalogue: Catalogue) -> None:
        answer = ask(client, {"clip_id": ID})
        (line,) = log.requests
        assert list(line) == ["time", "level", "logger", "message", *FIELDS]
        assert line["level"] == "info"
        assert line["request_id"] == answer.headers["x-request-id"]
        assert (line["method"], line["route"], line["status"]) == ("POST", "/nearest", 200)
        assert 0 < line["ms"] < 60_000
        assert (line["bytes_in"], line["bytes_out"]) == (len(json.dumps({"clip_id": ID})), len(answer.content))
        assert (line["client"], line["release"]) == ("testclient", "0001")
        assert line["message"] == f"testclient POST /nearest 200 in {line['ms']} ms, request {line['request_id']}"

    def test_bytes_are_those_that_came(self, client: TestClient, log: JsonLog, catalogue: Catalogue) -> None:
        sound = catalogue.sound(ID)
        assert ids_of(client.post("/nearest", content=sound, headers={"Content-Type": "audio/wav"}))
        assert log.requests[0]["bytes_in"] == len(sound)
        assert log.requests[0]["route"] == "/nearest"

    def test_an_error_has_its_code_and_a_batch_that_is_answered_has_none(
        self, client: TestClient, log: JsonLog
    ) -> None:
        refusal(ask(client, {"clip_id": "nobody"}), 404, "unknown_clip")
        refusal(client.get("/no/such"), 404, "not_found")
        assert ask(client, {"queries": [{"clip_id": "nobody"}]}, "/nearest/batch").status_code == 200
        assert [(line["route"], line["status"], line.get("error")) for line in log.requests] == [
            ("/nearest", 404, "unknown_clip"),
            ("(none)", 404, "not_found"),
            ("/nearest/batch", 200, None),
        ]

    def test_probes_are_a_line_only_when_something_is_wrong(
        self, client: TestClient, log: JsonLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for path in ("/health", "/ready", "/metrics"):
            assert client.get(path).status_code == 200
        assert log.requests == []
        monkeypatch.setattr(Nearest, "_search", lambda *arguments: 1 / 0)
        client.get("/health")
        assert [(line["route"], line["status"]) for line in log.requests] == [("/health", 500)]
        logging.getLogger("audiorec").setLevel(logging.DEBUG)
        client.get("/ready")
        assert [(line["route"], line["level"]) for line in log.requests[1:]] == [("/ready", "debug")]

    def test_the_clients_own_id_is_the_one(self, client: TestClient, log: JsonLog) -> None:
        client.get("/model", headers={"X-Request-Id": "mine"})
        assert log.requests[0]["request_id"] == "mine"

    @pytest.mark.parametrize(
        ("settings", "logged"),
        [
            ({}, False),
            ({"log_format": "json"}, True),
            ({"log_format": "json", "access_log": False}, False),
            ({"access_log": True}, True),
        ],
    )
    def test_where_it_is_wanted(
        self, catalogue: Catalogue, log: JsonLog, settings: dict[str, Any], logged: bool
    ) -> None:
        assert Settings.load(model_dir="x", **settings).logs_requests is logged
        with serving(catalogue, **settings) as client:
            client.get("/model")
        assert len(log.requests) == logged


class TestFaults:
    def test_one_is_a_line_with_its_traceback_in_a_field(
        self, client: TestClient, log: JsonLog, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def fail(*arguments: Any) -> None:
            raise RuntimeError("what\nhappened")

        monkeypatch.setattr(Nearest, "_search", fail)
        request_id = ask(client, {"clip_id": ID}).headers["x-request-id"]
        fault, request = log.lines[-2:]
        assert (fault["level"], fault["request_id"]) == ("error", request_id)
        assert fault["message"] == f"request {request_id} failed: RuntimeError"
        assert fault["traceback"].startswith("Traceback (most recent call last):\n")
        assert "in fail\n" in fault["traceback"]
        assert fault["traceback"].endswith("RuntimeError: what\nhappened")
        assert (request["request_id"], request["status"], request["error"]) == (request_id, 500, "internal")
        assert sum("Traceback" in line for line in log.text.splitlines()) == 1

    def test_one_is_raised_no_further(self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server would write its traceback a second time, as text."""
        with serving(catalogue) as client:
            monkeypatch.setattr(Nearest, "_search", lambda *arguments: 1 / 0)
            strict = TestClient(client.app)  # raises what the application raises
            assert strict.post("/nearest", json={"clip_id": ID}).status_code == 500


class TestSecrets:
    def test_no_key_no_query_string_and_no_body_is_in_any_line(
        self,
        catalogue: Catalogue,
        tmp_path: Path,
        log: JsonLog,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        keys_file = tmp_path / "keys.json"
        key = create_key(keys_file, "web", ["read", "admin"])
        revoked = create_key(keys_file, "old", ["read"])
        revoke_key(keys_file, "old")
        secrets = [key, revoked, "unknown-secret", "query-secret", "body-secret", "path-secret", "cookie-secret"]
        with serving(catalogue, keys_file=keys_file, log_format="json", rate_limit="1000/hour") as client:
            for shown in (key, "unknown-secret", revoked):
                for headers in ({"Authorization": f"Bearer {shown}"}, {"X-API-Key": shown}):
                    every = {**headers, "Cookie": "session=cookie-secret"}
                    query = {"api_key": shown, "k": "query-secret"}
                    client.get("/model", params=query, headers=every)
                    client.get("/clips/path-secret", params=query, headers=every)
                    client.get(f"/{shown}", headers=every)
                    client.post("/nearest", content='{"clip_id": "body-secret"}', headers={**JSON, **every})
                    client.post("/nearest", content='{"k": "body-secret"}', params=query, headers={**JSON, **every})
            keys_file.write_text(json.dumps({"format_version": 1, "keys": [{"key": key}]}))
            monkeypatch.setattr(Nearest, "_search", lambda *arguments: 1 / 0)
            headers = {"X-API-Key": key, **JSON}
            assert client.post("/nearest", content=json.dumps({"clip_id": ID}), headers=headers).status_code == 500
        assert len(log.requests) == 31
        ours = [record for record in caplog.records if not record.name.startswith("httpx2")]  # the client's
        everything = log.text + "".join(f"{JsonFormatter().format(record)} {vars(record)}" for record in ours)
        assert "which is none" in everything  # the broken file was seen
        assert "Traceback" in everything
        assert [secret for secret in secrets if secret in everything] == []
        named = {(line.get("key"), line.get("error")) for line in log.requests if line["status"] in (200, 401)}
        assert named == {("web", None), ("old", "revoked_key"), (None, "unknown_key")}

    def test_uvicorns_own_line_is_without_its_query_string(self, catalogue: Catalogue) -> None:
        """It is on where uvicorn's command runs the service."""
        before = list(UVICORN_LOG.filters)  # another service of these tests may run
        with serving(catalogue):
            (one,) = (one for one in UVICORN_LOG.filters if one not in before)
            assert isinstance(one, WithoutQuery)
            arguments = ("10.0.0.1:5", "GET", "/model?api_key=query-secret", "1.1", 200)
            record = logging.LogRecord(
                "uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', arguments, None
            )
            assert one.filter(record)
            assert record.getMessage() == '10.0.0.1:5 - "GET /model HTTP/1.1" 200'
        assert before == UVICORN_LOG.filters


class TestJson:
    @pytest.mark.parametrize(
        "message", ["plain", "two\nlines", 'quo"te', "\x1b[31m", "\u2028", "\ud800", "名前", "\x00", "%s"]
    )
    def test_any_message_is_one_line_of_ascii(self, message: str) -> None:
        record = logging.LogRecord("a", logging.WARNING, "", 0, message, (), None)
        text = JsonFormatter().format(record)
        assert text.isascii()
        assert text.isprintable()
        line = json.loads(text)
        assert list(line) == ["time", "level", "logger", "message"]
        assert (line["message"], line["level"], line["logger"]) == (message, "warning", "a")

    def test_the_time_is_utc_to_the_millisecond(self) -> None:
        record = logging.LogRecord("a", logging.INFO, "", 0, "", (), None)
        record.created = 1_700_000_000.1239
        assert json.loads(JsonFormatter().format(record))["time"] == "2023-11-14T22:13:20.123+00:00"

    def test_an_exception_is_a_field(self) -> None:
        try:
            raise ValueError("a\nb")
        except ValueError:
            record = logging.LogRecord("a", logging.ERROR, "", 0, "x", (), sys.exc_info())
        assert json.loads(JsonFormatter().format(record))["traceback"].endswith("ValueError: a\nb")

    def test_what_json_has_not_is_written_as_text(self) -> None:
        record = logging.LogRecord("a", logging.INFO, "", 0, "x", (), None)
        record.fields = {"path": Path("/x"), "n": 1}
        line = json.loads(JsonFormatter().format(record))
        assert (line["path"], line["n"]) == ("/x", 1)
