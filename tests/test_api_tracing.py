"""Traces: to a collector on the loopback, with every stage inside of its request; and nothing at all without one."""

import gzip
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from api_fixtures import Catalogue, ask, ids_of, refusal, serving
from starlette.testclient import TestClient

from audiorec.api import stages, tracing
from audiorec.api.keys import create_key
from audiorec.api.stages import stage
from audiorec.errors import BadSetting
from audiorec.nearest import Nearest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install 'audiorec[otel]'")

ID = "b/clip 21.wav"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ERROR = 2  # of OTLP's status codes


class Collector:
    """Takes OTLP over HTTP, as the OpenTelemetry collector does."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                collector.paths.append(self.path)
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None: ...

        self.paths: list[str] = []
        self.requests: list[Any] = []
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def resource(self) -> dict[str, Any]:
        return attributes_of(self.requests[0].resource_spans[0].resource)

    @property
    def spans(self) -> list[Any]:
        parts = (part for request in self.requests for part in request.resource_spans)
        return [span for part in parts for scope in part.scope_spans for span in scope.spans]

    def named(self, name: str) -> Any:
        (span,) = (span for span in self.spans if span.name == name)
        return span


def attributes_of(thing: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in thing.attributes}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    yield collector
    collector.close()


class TestSpans:
    def test_an_upload_is_a_trace_of_its_stages(self, catalogue: Catalogue, collector: Collector) -> None:
        sound = catalogue.sound(ID)
        with serving(catalogue) as client:
            response = client.post("/nearest", files={"file": sound}, params={"k": 3})
            assert ids_of(response)[0] == ID
        assert collector.paths == ["/v1/traces"]
        request = collector.named("POST /nearest")
        children = {span.name: span for span in collector.spans if span.parent_span_id}
        assert list(children) == ["audiorec.read", "audiorec.decode", "audiorec.encode", "audiorec.search"]
        for span in children.values():
            assert (span.trace_id, span.parent_span_id) == (request.trace_id, request.span_id)
            assert request.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= request.end_time_unix_nano
        assert attributes_of(children["audiorec.decode"])["audiorec.bytes"] == len(sound)
        assert attributes_of(request) == {
            "http.request.method": "POST",
            "http.route": "/nearest",
            "http.response.status_code": 200,
            "url.scheme": "http",
            "url.path": "/nearest",
            "network.protocol.version": "1.1",
            "client.address": "testclient",
            "audiorec.request_id": response.headers["x-request-id"],
            "audiorec.release": "0001",
        }
        assert collector.resource["service.name"] == "audiorec"
        assert collector.resource["service.version"]

    def test_a_query_by_id_is_a_search(self, catalogue: Catalogue, collector: Collector) -> None:
        with serving(catalogue) as client:
            ask(client, {"clip_id": ID})
        assert [span.name for span in collector.spans] == ["audiorec.search", "POST /nearest"]

    def test_head_is_not_get(self, catalogue: Catalogue, collector: Collector) -> None:
        with serving(catalogue) as client:
            client.head("/model")
        assert attributes_of(collector.named("HEAD /model"))["http.request.method"] == "HEAD"

    def test_requests_at_once_do_not_mix(self, catalogue: Catalogue, collector: Collector) -> None:
        with serving(catalogue) as client:
            threads = [
                threading.Thread(
                    target=client.post, args=("/embed",), kwargs={"content": catalogue.sound(row["clip_id"])}
                )
                for row in catalogue.rows[:8]
            ]
            client.headers["Content-Type"] = "audio/wav"
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        by_trace = defaultdict(list)
        for span in collector.spans:
            by_trace[span.trace_id].append(span.name)
        expected = ["POST /embed", "audiorec.decode", "audiorec.encode", "audiorec.read"]
        assert [sorted(names) for names in by_trace.values()] == [expected] * 8

    @pytest.mark.parametrize("sampled", [True, False])
    def test_the_callers_trace_goes_on(self, catalogue: Catalogue, collector: Collector, sampled: bool) -> None:
        parent = PARENT if sampled else PARENT.removesuffix("1") + "0"
        with serving(catalogue) as client:
            client.get("/model", headers={"traceparent": parent})
        if sampled:
            (span,) = collector.spans
            assert span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
            assert span.parent_span_id.hex() == "b7ad6b7169203331"
        else:
            assert collector.spans == []

    def test_refusals_and_faults(
        self, catalogue: Catalogue, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = create_key(tmp_path / "keys.json", "web", ["read"])
        with serving(catalogue, keys_file=tmp_path / "keys.json") as client:
            refusal(client.get("/clips/whatever", headers={"X-API-Key": "unknown-secret"}), 401, "unknown_key")
            refusal(client.get("/nope", params={"key": key}, headers={"X-API-Key": key}), 404, "not_found")
            monkeypatch.setattr(Nearest, "_search", lambda *arguments: 1 / 0)
            refusal(ask(TestClient(client.app, headers={"X-API-Key": key}), {"clip_id": ID}), 500, "internal")
        refused, unknown, search, fault = collector.spans
        assert refused.name == "GET /clips/{clip_id}"
        assert attributes_of(refused)["error.type"] == "unknown_key"
        assert (unknown.name, attributes_of(unknown)["audiorec.key"]) == ("GET (none)", "web")
        assert attributes_of(fault)["http.response.status_code"] == 500
        assert [span.status.code for span in collector.spans] == [0, 0, ERROR, ERROR]
        assert search.events[0].name == "exception"
        everything = str(collector.requests)
        for secret in (key, "unknown-secret"):
            assert secret not in everything

    def test_a_stage_that_fails_is_marked(self, catalogue: Catalogue, collector: Collector) -> None:
        with serving(catalogue) as client:
            refusal(client.post("/embed", files={"file": bytes(range(256)) * 9}), 422, "undecodable")
        decode = collector.named("audiorec.decode")
        assert decode.status.code == ERROR
        assert collector.named("POST /embed").status.code == 0  # the client's fault

    def test_a_log_line_names_its_trace(
        self, catalogue: Catalogue, collector: Collector, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "audiorec")
        with serving(catalogue, log_format="json") as client:
            client.get("/model")
        (record,) = (record for record in caplog.records if record.name == "audiorec.requests")
        assert record.fields["trace_id"] == collector.spans[0].trace_id.hex()  # type: ignore[attr-defined]


class TestConfiguration:
    def test_a_name_and_attributes_of_ones_own(
        self, catalogue: Catalogue, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", "sounds")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        with serving(catalogue) as client:
            client.get("/model")
        assert collector.resource["service.name"] == "sounds"
        assert collector.resource["deployment.environment"] == "test"

    @pytest.mark.parametrize(
        "variables",
        [
            {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
            {"OTEL_SDK_DISABLED": "true"},
            {"OTEL_TRACES_EXPORTER": "none"},
            {"OTEL_TRACES_SAMPLER": "always_off"},
        ],
    )
    def test_off(
        self, catalogue: Catalogue, collector: Collector, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with serving(catalogue) as client:
            ask(client, {"clip_id": ID})
        assert collector.requests == []

    def test_on_by_the_variable_for_traces_alone(
        self, catalogue: Catalogue, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/elsewhere")
        with serving(catalogue) as client:
            client.get("/model")
        assert collector.paths == ["/elsewhere"]

    def test_a_collector_that_is_not_there_disturbs_nobody(
        self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        monkeypatch.setattr(tracing, "FLUSH_S", 0.05)
        with serving(catalogue) as client:
            assert ids_of(ask(client, {"clip_id": ID}))
            left = set(threading.enumerate())
        for thread in set(threading.enumerate()) - left:  # the one that still tries
            thread.join(30)

    def test_a_protocol_that_does_not_exist(self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        with (
            pytest.raises(BadSetting, match="got 'http/json' for OTEL_EXPORTER_OTLP_PROTOCOL, expected http/protobuf"),
            serving(catalogue),
        ):
            pass

    @pytest.mark.parametrize(
        ("protocol", "package"),
        [("http/protobuf", "audiorec[otel]"), ("grpc", "opentelemetry-exporter-otlp-proto-grpc")],
    )
    def test_without_the_packages(
        self, catalogue: Catalogue, protocol: str, package: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setitem(tracing.EXPORTERS, protocol, "no_such_package")
        with pytest.raises(BadSetting, match="expected OpenTelemetry to be installed") as refused, serving(catalogue):
            pass
        assert package in refused.value.message


class TestStages:
    def test_off_a_stage_is_a_time_alone(self) -> None:
        assert stages._tracer is None
        with stage("decode", bytes=5) as decoding:
            decoding.set(seconds=1.5)

    def test_it_ends_with_the_service(self, catalogue: Catalogue, collector: Collector) -> None:
        with serving(catalogue):
            assert stages._tracer is not None
        assert stages._tracer is None


NOTHING_IMPORTED = """
import sys
from starlette.testclient import TestClient
from audiorec.api.app import create_app

with TestClient(create_app()) as client:
    assert client.get("/model").status_code == 200
print(*sorted(name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))))
"""


def test_without_a_collector_nothing_of_it_is_imported(catalogue: Catalogue) -> None:
    """FastAPI imports the programming interface of OpenTelemetry, which does nothing by itself."""
    environment = {"AUDIOREC_MODEL_DIR": str(catalogue.model_dir), "PATH": "/usr/bin:/bin"}
    environment |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    ended = subprocess.run([sys.executable, "-c", NOTHING_IMPORTED], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "\n"), ended.stderr
