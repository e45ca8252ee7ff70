"""What operators and programs ask of the service: health, readiness, metrics, the model, the documentation."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from api_fixtures import JSON, Catalogue, ask, ids_of, refusal, results_of, serving
from sounds import encoded, tone
from starlette.testclient import TestClient
from waiting import wait_until

import audiorec
from audiorec.api.routes import _answer_all
from audiorec.api.schemas import Health, Model, Readiness
from audiorec.audio.decoder import Decoder
from audiorec.nearest import Nearest

ID = "b/clip 21.wav"


class TestHealth:
    def test_health_answers_a_query_on_the_open_release(
        self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving(catalogue) as client:
            answer = client.get("/health").json()
            Health.model_validate(answer, strict=True)
            assert list(answer) == ["status", "release", "took_ms"]
            assert (answer["status"], answer["release"]) == ("ok", "0001")
            assert 0 < answer["took_ms"] < 60_000
            monkeypatch.setattr(Nearest, "_search", lambda *arguments: 1 / 0)
            refusal(client.get("/health"), 500, "internal")
            assert client.get("/ready").status_code == 200

    def test_any_number_of_probes_costs_one_search_at_a_time(
        self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        may_end, n_searches = threading.Event(), 0
        search = Nearest._search

        def held(*arguments: Any) -> Any:
            nonlocal n_searches
            n_searches += 1
            assert may_end.wait(30)
            return search(*arguments)

        with serving(catalogue) as client, ThreadPoolExecutor(8) as pool:
            monkeypatch.setattr(Nearest, "_search", held)
            probes = [pool.submit(client.get, "/health") for _ in range(8)]
            wait_until(lambda: count(client, "audiorec_requests_in_progress") == 9)  # and the one that asks
            may_end.set()
            assert [probe.result().status_code for probe in probes] == [200] * 8
            assert n_searches == 1
            assert client.get("/health").status_code == 200
            assert n_searches == 2

    def test_health_and_metrics_answer_while_nothing_else_does(
        self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every thread of searches and batches, and every place for uploads, is taken."""
        may_end, n_held = threading.Event(), 0

        def held(function: Callable[..., Any]) -> Callable[..., Any]:
            def wait_first(*arguments: Any) -> Any:
                nonlocal n_held
                n_held += 1
                assert may_end.wait(30)
                return function(*arguments)

            return wait_first

        with serving(catalogue, encode_queue=2) as client, ThreadPoolExecutor(52) as pool:
            monkeypatch.setattr("audiorec.api.routes._answer_all", held(_answer_all))
            monkeypatch.setattr(Decoder, "decode", held(Decoder.decode))
            try:
                batches = [pool.submit(ask, client, {"queries": [{}]}, "/nearest/batch") for _ in range(50)]
                sounds = [encoded(tone(0.2 + 0.1 * n), container="FLAC") for n in range(2)]
                uploads = [pool.submit(client.post, "/embed", files={"file": sound}) for sound in sounds]
                wait_until(lambda: n_held >= 41)  # anyio has 40 threads, and there is one decoder
                refusal(client.post("/embed", files={"file": catalogue.sound(ID)}), 503, "overloaded")
                for _ in range(3):
                    assert client.get("/health").status_code == 200
                assert count(client, "audiorec_requests_in_progress") == len(batches) + len(uploads) + 1
            finally:
                may_end.set()

    def test_ready_names_the_release(self, client: TestClient) -> None:
        answer = client.get("/ready").json()
        Readiness.model_validate(answer, strict=True)
        assert answer == {"status": "ready", "release": "0001", "refused_release": None}


class TestModel:
    def test_is_the_manifest(self, client: TestClient, nearest: Nearest) -> None:
        answer = client.get("/model").json()
        Model.model_validate(answer, strict=True)
        manifest = json.loads(nearest.release.manifest.model_dump_json())
        assert answer["release"] == "0001"
        assert answer["columns"] == list(nearest.release.metadata.columns)
        assert sorted(answer["numeric_columns"]) == ["bpm", "duration_s", "gain_db"]
        for part in ("encoder", "index", "catalogue", "evaluation", "made_with", "created_at"):
            assert answer[part] == manifest[part]
        assert answer["encoder"]["dim"] == nearest.release.dim
        assert answer["catalogue"]["n_clips"] == 40

    def test_holds_no_path_of_the_server(self, client: TestClient, catalogue: Catalogue) -> None:
        for path in ("/model", "/openapi.json", "/metrics"):
            text = client.get(path).text
            assert str(catalogue.model_dir.parent) not in text
            assert "/tmp" not in text


def count(client: TestClient, series: str) -> float:
    """The value of a series of /metrics, 0 where it is not there yet."""
    values = [line.split()[-1] for line in client.get("/metrics").text.splitlines() if line.startswith(f"{series} ")]
    return float(values[0]) if values else 0.0


class TestMetrics:
    def test_requests_are_counted_by_route_and_status(self, client: TestClient) -> None:
        asked: dict[tuple[str, int], Callable[[], httpx2.Response]] = {
            ("/nearest", 200): lambda: ask(client, {"clip_id": ID}),
            ("/nearest", 422): lambda: ask(client, {"clip_id": ID, "k": 0}),
            ("/nearest", 404): lambda: ask(client, {"clip_id": "nobody"}),
            ("/nearest", 405): lambda: client.get("/nearest"),
            ("/nearest", 415): lambda: client.post("/nearest", content="x"),
            ("/nearest/batch", 200): lambda: ask(client, {"queries": [{}] * 3}, "/nearest/batch"),
            ("/clips/{clip_id}", 200): lambda: client.get(f"/clips/{ID}"),
            ("/clips/{clip_id}", 404): lambda: client.get("/clips/nobody"),
            ("(none)", 404): lambda: client.get("/no/such/route"),
            ("(none)", 200): lambda: client.get("/static-offline-docs/favicon.png"),
            ("/health", 200): lambda: client.get("/health"),
        }
        for (route, status), request in asked.items():
            series = f'audiorec_requests_total{{route="{route}",status="{status}"}}'
            timed = f'audiorec_request_seconds_count{{route="{route}"}}'
            before = count(client, series), count(client, timed)
            for _ in range(3):
                assert request().status_code == status
            assert (count(client, series), count(client, timed)) == (before[0] + 3, before[1] + 3)

    def test_refusals_are_counted_by_code_those_of_a_batch_too(self, client: TestClient) -> None:
        def refused(code: str) -> float:
            return count(client, f'audiorec_refusals_total{{code="{code}"}}')

        before = refused("unknown_clip"), refused("bad_query")
        ask(client, {"queries": [{"clip_id": "nobody"}, {"clip_id": "nobody"}, {}]}, "/nearest/batch")
        assert (refused("unknown_clip"), refused("bad_query")) == (before[0] + 2, before[1] + 1)

    def test_stages_of_an_upload_are_timed(self, client: TestClient) -> None:
        stages = ("read", "decode", "encode", "search")
        series = [f'audiorec_stage_seconds_count{{stage="{stage}"}}' for stage in stages]
        before = [count(client, one) for one in series]
        results_of(client.post("/nearest", files={"file": encoded(tone(0.31, 313))}))  # which nobody has sent before
        assert [count(client, one) for one in series] == [n + 1 for n in before]
        assert count(client, "audiorec_uploads_in_progress") == 0

    def test_the_release_is_described(self, client: TestClient, nearest: Nearest) -> None:
        assert count(client, "audiorec_release_clips") == 40
        assert count(client, "audiorec_index_recall_at_10") == nearest.release.manifest.index.recall_at_10
        assert count(client, "audiorec_release_created_timestamp_seconds") > 1.7e9
        assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=")


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    response = client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    answer: dict[str, Any] = response.json()
    return answer


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


class TestDocumentation:
    def test_docs_need_nothing_from_elsewhere(self, client: TestClient) -> None:
        page = client.get("/docs")
        assert page.status_code == 200
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(links) >= 2
        for link in links:
            assert link.startswith("/")
            assert client.get(link).status_code == 200
        assert "'/openapi.json'" in page.text

    def test_every_route_is_documented_once(self, document: dict[str, Any]) -> None:
        assert document["openapi"].startswith("3.1.")
        assert document["info"]["version"] == audiorec.__version__
        assert {(path, method) for path, method, _ in operations(document)} == {
            ("/nearest", "post"),
            ("/nearest/batch", "post"),
            ("/embed", "post"),
            ("/classify", "post"),
            ("/clips/{clip_id}", "get"),
            ("/clips/{clip_id}/sound", "get"),
            ("/generate", "post"),
            ("/jobs/{job_id}", "get"),
            ("/jobs/{job_id}", "delete"),
            ("/jobs/{job_id}/events", "get"),
            ("/jobs/{job_id}/audio", "get"),
            ("/health", "get"),
            ("/ready", "get"),
            ("/model", "get"),
            ("/metrics", "get"),
        }
        ids = [operation["operationId"] for _, _, operation in operations(document)]
        assert len(set(ids)) == len(ids)
        for path, _, operation in operations(document):
            assert operation["summary"]
            assert operation["description"]
            failure = operation["responses"]["default"]["content"]["application/json"]["schema"]
            assert failure == {"$ref": "#/components/schemas/Failure"}
            others = {"200", "default"} ^ set(operation["responses"])
            assert not others or operation["tags"] == ["generation"] or path.endswith("/sound")

    def test_every_reference_leads_somewhere(self, document: dict[str, Any]) -> None:
        references = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document))
        assert set(references) <= set(document["components"]["schemas"])
        assert {"Answer", "Batch", "BatchAnswer", "Clip", "Failure", "NearestQuery"} <= set(references)

    def test_every_field_of_a_query_is_described(self, document: dict[str, Any]) -> None:
        for model in ("NearestQuery", "Batch", "ClassifyQuery"):
            for name, field in document["components"]["schemas"][model]["properties"].items():
                assert len(field["description"]) > 10, name
        for parameter in document["paths"]["/nearest"]["post"]["parameters"]:
            assert parameter["in"] == "query"
            assert len(parameter["description"]) > 10
        assert document["components"]["schemas"]["NearestQuery"]["properties"]["k"]["maximum"] == 100

    def test_parameters_are_those_that_the_route_reads(self, document: dict[str, Any], client: TestClient) -> None:
        parameters = [parameter["name"] for parameter in document["paths"]["/nearest"]["post"]["parameters"]]
        assert f"expected one of {', '.join(parameters)}" in refusal(ask(client, {}, nope=1), 422, "bad_query")
        (clip_id,) = document["paths"]["/clips/{clip_id}"]["get"]["parameters"]
        assert (clip_id["name"], clip_id["in"], clip_id["required"]) == ("clip_id", "path", True)

    def test_every_example_is_answered(self, document: dict[str, Any], client: TestClient, nearest: Nearest) -> None:
        examples = document["paths"]["/nearest"]["post"]["requestBody"]["content"]["application/json"]["examples"]
        assert len(examples["embedding"]["value"]["embedding"]) == nearest.release.dim
        for example in examples.values():
            assert 1 <= len(results_of(ask(client, example["value"]))) <= 5
        found = ids_of(ask(client, examples["embedding"]["value"]))
        assert found[0] == nearest.release.metadata.clip_id(0)
        batch = document["paths"]["/nearest/batch"]["post"]["requestBody"]["content"]["application/json"]["example"]
        answers = ask(client, batch, "/nearest/batch").json()["answers"]
        assert [next(iter(answer)) for answer in answers] == ["results"] * len(examples)
        example = document["paths"]["/clips/{clip_id}"]["get"]["parameters"][0]["example"]
        assert client.get(f"/clips/{example}").json()["clip"]["clip_id"] == example

    def test_the_media_types_named_are_those_that_are_read(
        self, document: dict[str, Any], client: TestClient, catalogue: Catalogue
    ) -> None:
        for path, extra in (("/nearest", {"application/json"}), ("/embed", set())):
            content = document["paths"][path]["post"]["requestBody"]["content"]
            sounds = {"audio/*", "video/*", "application/octet-stream"}
            assert set(content) == {"multipart/form-data", *sounds, *extra}
            assert list(content["multipart/form-data"]["schema"]["properties"]) == ["file"]
            for media_type in sounds:
                headers = {"Content-Type": media_type.replace("*", "mp4")}
                assert client.post(path, content=catalogue.sound(ID), headers=headers).status_code == 200


EMBEDDING_QUERIES = """
import sys
from starlette.testclient import TestClient
from audiorec.api.app import create_app

HEAVY = ("torch", "torchaudio", "transformers", "diffusers", "pandas", "scipy", "tqdm", "soundfile")

def heavy():
    return sorted(set(HEAVY) & sys.modules.keys())

assert not heavy(), heavy()
with TestClient(create_app()) as client:
    vector = client.get("/openapi.json").json()["paths"]["/nearest"]["post"]["requestBody"]["content"]
    vector = vector["application/json"]["examples"]["embedding"]["value"]["embedding"]
    query = {"embedding": vector, "filter": {"bpm": {"gte": 1}, "title": "Take 1"}, "max_per_artist": 1}
    for path, body in (("/nearest", query), ("/nearest/batch", {"queries": [query, {"clip_id": "nobody"}]})):
        assert client.post(path, json=body).status_code == 200
    for path in ("/health", "/ready", "/model", "/metrics", "/docs", "/clips/b/clip 21.wav"):
        assert client.get(path).status_code == 200
    assert client.post("/nearest", json={"embedding": [1]}).status_code == 422
    assert not heavy(), heavy()
    assert client.post("/embed", files={"file": sys.stdin.buffer.read()}).status_code == 200
    print("after an upload:", *heavy())
"""


def test_embedding_queries_import_nothing_heavy_and_the_first_upload_imports_torch(catalogue: Catalogue) -> None:
    environment = {"AUDIOREC_MODEL_DIR": str(catalogue.model_dir), "PATH": "/usr/bin:/bin"}
    process = subprocess.run(
        [sys.executable, "-c", EMBEDDING_QUERIES],
        input=catalogue.sound(ID),
        capture_output=True,
        env=environment,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr.decode()
    after = process.stdout.decode().split(":")[1].split()
    assert "torch" in after
    assert not {"transformers", "diffusers", "pandas"} & set(after)


def test_the_encoder_can_be_loaded_at_the_start(catalogue: Catalogue) -> None:
    with serving(catalogue, warm=True) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        assert "encoder" in service.opened.release.__dict__
    with serving(catalogue) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        assert client.post("/nearest", json={"clip_id": ID}, headers=JSON).status_code == 200
        assert "encoder" not in service.opened.release.__dict__
