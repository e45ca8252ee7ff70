"""Whatever a client gets wrong: one JSON shape, a status and code of its own, a sentence, and never a 500."""

import asyncio
import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from api_fixtures import JSON, Catalogue, Connection, ask, message_of, refusal, results_of, serving, started
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from starlette.testclient import TestClient

from audiorec.api.app import create_app
from audiorec.api.bodies import read_json
from audiorec.errors import BadModelDir, BadSetting
from audiorec.nearest import Nearest
from audiorec.settings import Settings

ID = "b/clip 21.wav"
EXACTLY_ONE = "expected exactly one of embedding, clip_id and text"


def with_k(k: str) -> str:
    return f'{{"clip_id": "{ID}", "k": {k}}}'


def with_filter(wanted: str) -> str:
    return f'{{"clip_id": "{ID}", "filter": {wanted}}}'


class TestK:
    @pytest.mark.parametrize("k", ["0", "-1", "1000000000", "101", "1" + 400 * "0"])
    def test_out_of_range(self, client: TestClient, k: str) -> None:
        got = k if len(k) < 60 else f"{k[:60]}…"
        assert f"got k = {got}, expected 1 to 100" in refusal(ask(client, with_k(k)), 422, "bad_query")

    @pytest.mark.parametrize("k", ['"x"', '"10"', "1.5", "5.0", "1e1", "true", "null", "[5]", "{}", "NaN"])
    def test_of_another_type(self, client: TestClient, k: str) -> None:
        message = refusal(ask(client, with_k(k)), 422, "bad_query")
        assert "for k, expected a valid integer" in message
        assert message.startswith(f"got {k}".replace('"', "'").replace("1e1", "10.0"))

    @pytest.mark.parametrize("k", ["0", "-1", "1000000000", "101"])
    def test_out_of_range_in_the_query_string(self, client: TestClient, k: str) -> None:
        assert f"got k = {k}, expected 1 to 100" in refusal(ask(client, {"clip_id": ID}, k=k), 422, "bad_query")

    @pytest.mark.parametrize("k", ["x", "1.5", "", "true", "+5", " 5", "٣", "0x5", "5;", "1" * 30])
    def test_of_another_type_in_the_query_string(self, client: TestClient, k: str) -> None:
        message = refusal(ask(client, {"clip_id": ID}, k=k), 422, "bad_query")
        assert f"got k = {k!r}, expected a whole number" in message

    def test_different_in_the_body_and_the_query_string(self, client: TestClient) -> None:
        message = refusal(ask(client, {"clip_id": ID, "k": 5}, k=6), 422, "bad_query")
        assert "got k = 5 in the body and 6 in the query string" in message
        message = refusal(ask(client, {"clip_id": ID}, k=[6, 7]), 422, "bad_query")
        assert "got k = '6' and '7'" in message


class TestEmbedding:
    @pytest.mark.parametrize(
        ("number", "got"),
        [
            ("NaN", "NaN"),
            ("Infinity", "Infinity"),
            ("-Infinity", "-Infinity"),
            ("1e999", "Infinity"),
            ("-1e999", "-Infinity"),
            ("1" + 400 * "0", "1000"),
            ('"1.5"', "'1.5'"),
            ("true", "true"),
            ("null", "null"),
            ("[1]", "[1]"),
            ('{"a": 1}', '{"a": 1}'),
        ],
    )
    @pytest.mark.parametrize("parameters", [{}, {"k": 5}], ids=["", "?k=5"])
    def test_of_what_is_no_finite_number(
        self, client: TestClient, nearest: Nearest, number: str, got: str, parameters: dict[str, int]
    ) -> None:
        body = '{"embedding": [%s]}' % ", ".join(["0.5"] * (nearest.release.dim - 1) + [number])  # noqa: UP031
        message = refusal(ask(client, body, **parameters), 422, "bad_vector")
        assert message.startswith(f"got {got}")
        assert f"for embedding.{nearest.release.dim - 1}, expected a" in message
        assert "number" in message

    @pytest.mark.parametrize("extra", [-1, 1, 64])
    def test_of_another_length(self, client: TestClient, nearest: Nearest, extra: int) -> None:
        dim = nearest.release.dim
        message = refusal(ask(client, {"embedding": [0.5] * (dim + extra)}), 422, "bad_vector")
        assert f"got an embedding of {dim + extra} numbers, expected {dim}" in message
        assert "MeanMel" in message

    @pytest.mark.parametrize("length", [0, 1, 70_000])
    def test_of_a_length_that_no_release_has(self, client: TestClient, length: int) -> None:
        assert f"{length}" in refusal(ask(client, {"embedding": [0.5] * length}), 422, "bad_vector")

    @pytest.mark.parametrize("zero", ["0", "0.0", "-0.0", "1e-999"])
    def test_of_zeros(self, client: TestClient, nearest: Nearest, zero: str) -> None:
        body = f'{{"embedding": [{", ".join([zero] * nearest.release.dim)}]}}'
        assert "got an embedding of zeros" in refusal(ask(client, body), 422, "bad_vector")

    @pytest.mark.parametrize("embedding", ['"x"', "5", "{}", "true"])
    def test_that_is_no_list(self, client: TestClient, embedding: str) -> None:
        assert "for embedding, expected a valid" in refusal(
            ask(client, f'{{"embedding": {embedding}}}'), 422, "bad_vector"
        )


class TestJson:
    @pytest.mark.parametrize(
        "body",
        [
            "",
            "{",
            "{'clip_id': 1}",
            '{"clip_id": "a"} x',
            '{"clip_id": "\\ud800"}',
            b'{"clip_id": "\xff"}',
            b"\xff\xfe{\x00}\x00",
            "k=5",
            "[" * 100_000,
            '{"embedding":' + "[" * 100_000,
            '{"filter":' + '{"a":' * 100_000,
            '{"k": ' + "1" * 5_000 + "}",
        ],
        ids=lambda body: str(body[:30]),
    )
    @pytest.mark.parametrize("parameters", [{}, {"k": 5}], ids=["", "?k=5"])
    @pytest.mark.parametrize("path", ["/nearest", "/nearest/batch"])
    def test_a_body_that_is_none(
        self, client: TestClient, body: str | bytes, parameters: dict[str, int], path: str
    ) -> None:
        assert "got a body that is not JSON (" in refusal(ask(client, body, path, **parameters), 422, "bad_query")

    @pytest.mark.parametrize("body", ["null", "[]", "[1, 2]", '"x"', "5", "true"])
    @pytest.mark.parametrize("parameters", [{}, {"k": 5}], ids=["", "?k=5"])
    def test_json_that_is_no_object(self, client: TestClient, body: str, parameters: dict[str, int]) -> None:
        message = refusal(ask(client, body, **parameters), 422, "bad_query")
        assert message == f"got {body}, expected a JSON object".replace('"', "'")

    @pytest.mark.parametrize("depth", [3, 150, 199])
    def test_deep_nesting_within_what_json_allows(self, client: TestClient, depth: int) -> None:
        for inner in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
            for body in (with_filter(inner), with_filter(f'{{"label": {inner}}}'), f'{{"embedding": {inner}}}'):
                response = ask(client, body)
                assert response.status_code == 422
                message_of(response.json(), response.json()["error"]["code"], response.headers["x-request-id"])
            assert refusal(
                client.post("/nearest?filter=" + inner, headers={"Content-Type": "audio/wav"}), 422, "bad_query"
            )

    def test_a_large_body_is_refused_before_it_is_whole(self, catalogue: Catalogue) -> None:
        async def scenario() -> None:
            async with started(catalogue) as app:
                connection = Connection(app, "/nearest", JSON)
                for _ in range(3):
                    connection.send(b" " * 2**20, more=True)  # and never the end
                assert "2,097,152 bytes" in refusal(await connection.answer(), 413, "body_too_large")

        asyncio.run(scenario())

    def test_ten_megabytes(self, client: TestClient) -> None:
        assert "2,097,152" in refusal(ask(client, f'{{"clip_id": "{"x" * 10_000_000}"}}'), 413, "body_too_large")
        assert "2,097,152" in refusal(ask(client, f"[{'1,' * 5_000_000}1]", "/nearest/batch"), 413, "body_too_large")

    @pytest.mark.parametrize(
        ("query", "fragment"),
        [
            ({}, f"got none of them, {EXACTLY_ONE}"),
            ({"k": 5}, f"got none of them, {EXACTLY_ONE}"),
            ({"clip_id": None}, f"got none of them, {EXACTLY_ONE}"),
            ({"clip_id": ID, "embedding": [1.0]}, f"got embedding and clip_id, {EXACTLY_ONE}"),
            ({"clip_id": ID, "text": "dog"}, f"got clip_id and text, {EXACTLY_ONE}"),
            ({"clip_id": 5}, "got 5 for clip_id, expected a valid string"),
            ({"clip_id": [ID]}, "for clip_id, expected a valid string"),
            ({"clip_id": ID, "q": 1}, "got the unknown field 'q'"),
            ({"clip_id": ID, "K": 1}, "got the unknown field 'K'"),
            ({"clip_id": ID, "exclude": "a"}, "got 'a' for exclude, expected a valid array"),
            ({"clip_id": ID, "exclude": ["a", 5]}, "got 5 for exclude.1, expected a valid string"),
            ({"clip_id": ID, "exclude": ["a"] * 10_001}, "got 10001 clips to exclude, expected at most 10000"),
            ({"clip_id": ID, "max_per_artist": 0}, "got 0 for max_per_artist, expected greater than or equal to 1"),
            ({"clip_id": ID, "max_per_artist": -1}, "got -1 for max_per_artist"),
            ({"clip_id": ID, "max_per_artist": 1.5}, "got 1.5 for max_per_artist"),
            ({"clip_id": ID, "max_per_artist": True}, "got true for max_per_artist"),
            ({"clip_id": ID, "max_per_artist": "1"}, "got '1' for max_per_artist"),
            ({"text": ["dog"]}, 'got ["dog"] for text, expected a valid string'),
        ],
    )
    def test_a_query_that_makes_no_sense(self, client: TestClient, query: Any, fragment: str) -> None:
        assert fragment in refusal(ask(client, query), 422, "bad_query")

    def test_a_text_without_an_encoder_for_it(self, client: TestClient) -> None:
        assert "MeanMel" in refusal(ask(client, {"text": "a dog"}), 422, "no_text_encoder")

    @pytest.mark.parametrize("clip_id", ["nobody", "", " ", ID.upper(), f"{ID} ", "a" * 100_000, "\u0000", "../etc"])
    def test_an_unknown_clip(self, client: TestClient, clip_id: str) -> None:
        message = refusal(ask(client, {"clip_id": clip_id}), 404, "unknown_clip")
        assert repr(clip_id[:20])[1:-1] in message
        assert "40 clips" in message

    @examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.dictionaries(
            st.sampled_from(["embedding", "clip_id", "text", "k", "filter", "exclude", "max_per_artist", "x"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(ID),
                lambda inner: (
                    st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("label"), inner, max_size=3)
                ),
                max_leaves=6,
            ),
        )
    )
    def test_any_json_is_answered_or_refused(self, client: TestClient, query: dict[str, Any]) -> None:
        response = ask(client, json.dumps(query))
        if response.status_code == 200:
            results_of(response)
        else:
            assert response.status_code in (404, 422)
            message_of(response.json(), response.json()["error"]["code"], response.headers["x-request-id"])


class TestFilter:
    @pytest.mark.parametrize(
        ("wanted", "fragment"),
        [
            ('{"nope": 1}', "got the column 'nope' in the filter, expected one of clip_id, url, title, artist"),
            ('{"": 1}', "got the column '' in the filter"),
            ('{"label": null}', "got null for 'label'"),
            ('{"label": true}', "got true for 'label'"),
            ('{"label": 5}', "got the number 5 for 'label', which holds text"),
            ('{"label": "dog;cat"}', "expected one label"),
            ('{"label": []}', "got an empty list for 'label'"),
            ('{"label": {}}', "got an empty object for 'label'"),
            ('{"label": {"gte": 1}}', "got gte for 'label', which holds text"),
            ('{"label": {"like": "d%"}}', "got the operator 'like' for 'label', expected one of not, gt, gte, lt, lte"),
            ('{"label": [["dog"]]}', "got a list for 'label'"),
            ('{"bpm": "fast"}', "got the text 'fast' for 'bpm', which holds numbers"),
            ('{"bpm": {"gte": "1"}}', "got the text '1' for gte of 'bpm', expected a number"),
            ('{"bpm": {"gte": NaN}}', "expected a finite number"),
            ('{"bpm": {"lt": 1e999}}', "expected a finite number"),
            ('{"bpm": ' + "1" * 400 + "}", "got a number of too many digits for 'bpm'"),
            ('{"bpm": ' + json.dumps(list(range(1_001))) + "}", "got 1001 values in the filter, expected at most 1000"),
            ('{"title": "' + "x" * 5_000 + '"}', "got 5000 characters for 'title', expected at most 4096"),
            ("5", "got 5 for filter, expected"),
            ('"label"', "got 'label' for filter, expected"),
            ("[]", "got [] for filter, expected"),
            ("true", "got true for filter, expected"),
        ],
    )
    def test_malformed_in_the_body_and_in_the_query_string(
        self, client: TestClient, wanted: str, fragment: str
    ) -> None:
        assert fragment in refusal(ask(client, with_filter(wanted)), 422, "bad_query")
        assert fragment in refusal(ask(client, {"clip_id": ID}, filter=wanted), 422, "bad_query")

    @pytest.mark.parametrize(
        "wanted", ["", "{", "label", "{'label': 'dog'}", "{label: dog}", "[" * 20_000, '{"a":' * 4_000]
    )
    def test_a_parameter_that_is_not_json(self, client: TestClient, wanted: str) -> None:
        message = refusal(ask(client, {"clip_id": ID}, filter=wanted), 422, "bad_query")
        assert 'expected JSON, as {"label": "dog"}' in message

    def test_different_in_the_body_and_the_query_string(self, client: TestClient) -> None:
        response = ask(client, {"clip_id": ID, "filter": {"label": "dog"}}, filter='{"label": "cat"}')
        assert 'got filter = {"label": "dog"} in the body and {"label": "cat"}' in refusal(response, 422, "bad_query")

    @pytest.mark.parametrize(
        ("parameters", "fragment"),
        [
            ({"K": 5}, "got the parameter 'K', expected one of k, filter, exclude, max_per_artist"),
            ({"clip_id": ID}, "got the parameter 'clip_id'"),
            ({"max_per_artist": "0"}, "got 0 for max_per_artist"),
            ({"max_per_artist": "x"}, "got max_per_artist = 'x'"),
            ({"filter": ['{"label": "a"}', '{"label": "b"}']}, "got filter = "),
        ],
    )
    def test_other_parameters(self, client: TestClient, parameters: dict[str, Any], fragment: str) -> None:
        assert fragment in refusal(ask(client, {"clip_id": ID}, **parameters), 422, "bad_query")
        headers = {"Content-Type": "audio/wav"}
        response = client.post("/nearest", content=b"RIFF", headers=headers, params=parameters)
        assert fragment in refusal(response, 422, "bad_query")


class TestTypesAndRoutes:
    @pytest.mark.parametrize(
        "media_type",
        [None, "", "application/x-www-form-urlencoded", "text/plain", "application/jsonx", "x", "audio"],
    )
    @pytest.mark.parametrize("path", ["/nearest", "/nearest/batch", "/embed"])
    def test_a_body_of_a_type_that_the_route_does_not_read(
        self, client: TestClient, media_type: str | None, path: str
    ) -> None:
        headers = [] if media_type is None else [(b"content-type", media_type.encode("latin-1"))]
        message = refusal(
            client.post(path, content=json.dumps({"clip_id": ID}), headers=headers), 415, "unsupported_body"
        )
        assert f"got the content type {media_type or ''!r}, expected application/json" in message
        assert ("'file'" in message) is (path != "/nearest/batch")

    def test_a_sound_where_only_json_is_read_and_the_reverse(self, client: TestClient, catalogue: Catalogue) -> None:
        files = {"file": catalogue.sound(ID)}
        assert "multipart/form-data" in refusal(client.post("/nearest/batch", files=files), 415, "unsupported_body")
        assert "application/json" in refusal(ask(client, {"clip_id": ID}, "/embed"), 415, "unsupported_body")

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
    def test_a_method_that_the_route_has_not(self, client: TestClient, method: str) -> None:
        response = client.request(method, "/nearest")
        assert response.headers["allow"] == "POST"
        if method == "HEAD":
            assert response.status_code == 405
        else:
            assert f"got {method} /nearest" in refusal(response, 405, "method_not_allowed")

    def test_all_methods_of_a_path_are_named(self, client: TestClient) -> None:
        assert client.put("/jobs/x").headers["allow"] == "DELETE, GET, HEAD"

    @pytest.mark.parametrize(
        "path", ["/health", "/ready", "/model", "/metrics", "/docs", "/openapi.json", f"/clips/{ID}"]
    )
    def test_head_is_get_without_a_body(self, client: TestClient, path: str) -> None:
        response = client.head(path)
        assert response.status_code == 200
        assert response.content == b""
        assert response.headers["content-type"] == client.get(path).headers["content-type"]
        assert client.post(path).headers["allow"] == "GET, HEAD"

    @pytest.mark.parametrize(
        "path",
        [
            "/nope",
            "/nearest/",
            "/nearest/batch/",
            "/clips",
            "/redoc",
            "/static-offline-docs/nope",
            "/page",
            "/page/",
            "/page/nope.js",
            "/é",
        ],
    )
    def test_an_unknown_path_is_an_error_and_no_redirect(self, client: TestClient, path: str) -> None:
        for method in ("GET", "POST"):
            response = client.request(method, path, follow_redirects=False)
            if response.status_code == 405:
                refusal(response, 405, "method_not_allowed")
            else:
                assert "which is not a route" in refusal(response, 404, "not_found")


class TestRequestId:
    @pytest.mark.parametrize("given_id", ["a", "A-1_b.c", "x" * 64, "4f3d2c1b"])
    def test_a_sane_one_is_kept(self, client: TestClient, given_id: str) -> None:
        headers = {"X-Request-Id": given_id}
        assert client.get("/health", headers=headers).headers.get_list("x-request-id") == [given_id]
        response = client.get("/nope", headers=headers)
        refusal(response, 404, "not_found")
        assert response.headers.get_list("x-request-id") == [given_id]

    @pytest.mark.parametrize(
        "given_id", [b"", b"x" * 65, b"a b", b"a\tb", b"<script>", b"a,b", "é".encode(), b"a;b", b'"']
    )
    def test_any_other_is_replaced(self, client: TestClient, given_id: bytes) -> None:
        answered = {
            client.get("/health", headers=[(b"x-request-id", given_id)]).headers["x-request-id"] for _ in range(2)
        }
        assert len(answered) == 2
        for request_id in answered:
            assert len(request_id) == 32
            int(request_id, 16)


class TestFaultsOfOurs:
    @pytest.fixture
    def broken(self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
        def fail(*arguments: Any, **options: Any) -> None:
            raise RuntimeError(f"a secret of {catalogue.model_dir}")

        with serving(catalogue) as client:
            monkeypatch.setattr(Nearest, "_search", fail)
            yield client

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/nearest", {"clip_id": ID}),
            ("POST", "/nearest/batch", {"queries": [{"clip_id": ID}]}),
            ("GET", "/health", None),
        ],
    )
    def test_an_unknown_exception_is_a_500_without_its_text(
        self, broken: TestClient, caplog: pytest.LogCaptureFixture, method: str, path: str, body: Any
    ) -> None:
        headers = {"X-Request-Id": "mine"}
        response = broken.request(method, path, json=body, headers=headers)
        message = refusal(response, 500, "internal")
        assert "secret" not in message
        assert response.headers.get_list("x-request-id") == ["mine"]
        assert any("mine" in record.message and "RuntimeError" in record.message for record in caplog.records)
        metrics = broken.get("/metrics").text
        assert f'audiorec_requests_total{{route="{path}",status="500"}}' in metrics
        assert 'audiorec_refusals_total{code="internal"}' in metrics

    def test_the_service_goes_on_after_one(self, broken: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        refusal(ask(broken, {"clip_id": ID}), 500, "internal")
        monkeypatch.undo()
        assert len(results_of(ask(broken, {"clip_id": ID}))) == 10

    def test_an_exception_while_a_body_is_read(self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
        assert read_json.__module__ == "audiorec.api.bodies"
        monkeypatch.setattr("audiorec.api.routes.read_json", lambda *arguments: 1 / 0)
        with serving(catalogue) as client:
            assert "division" not in refusal(ask(client, {"clip_id": ID}), 500, "internal")

    def test_an_encoder_that_cannot_be_loaded_is_named_without_its_path(
        self, catalogue: Catalogue, tmp_path: Path
    ) -> None:
        (tmp_path / "encoder.pt").write_bytes(b"no TorchScript")
        with serving(catalogue) as client:
            client.app.state.service.opened.release.directory = tmp_path  # type: ignore[attr-defined]
            response = client.post("/nearest", files={"file": catalogue.sound(ID)})
            assert "encoder.pt" in refusal(response, 503, "bad_model_dir")
            assert len(results_of(ask(client, {"clip_id": ID}))) == 10


class TestStart:
    @pytest.mark.parametrize("path", ["/health", "/ready", "/model", f"/clips/{ID}", "/openapi.json"])
    def test_before_it_nothing_is_ready(self, catalogue: Catalogue, path: str) -> None:
        client = TestClient(create_app(Settings.load(model_dir=catalogue.model_dir)), raise_server_exceptions=False)
        assert "no release is open" in refusal(client.get(path), 503, "not_ready")
        assert "no release is open" in refusal(ask(client, {"clip_id": ID}), 503, "not_ready")

    def test_after_its_end_nothing_is(self, catalogue: Catalogue) -> None:
        with serving(catalogue) as client:
            assert client.get("/ready").status_code == 200
        assert "no release is open" in refusal(client.get("/ready"), 503, "not_ready")

    def test_with_a_bad_model_directory_tells_the_server_a_sentence(self, tmp_path: Path) -> None:
        app = create_app(Settings.load(model_dir=tmp_path / "nope"))
        message, error = asyncio.run(failed_start(app))
        assert (
            message == f"cannot serve: got {tmp_path}/nope, which does not exist, expected a model directory: "
            "make one by `audiorec build`"
        )
        assert isinstance(error, BadModelDir)

    def test_with_a_bad_environment_tells_the_server_a_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AUDIOREC_MODEL_DIR", raising=False)
        message, error = asyncio.run(failed_start(create_app()))
        assert message.startswith("cannot serve: got nothing for AUDIOREC_MODEL_DIR, expected ")
        assert "\n" not in message
        assert isinstance(error, BadSetting)

    def test_that_fails_by_a_fault_of_ours_tells_all_of_it(
        self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("audiorec.api.follower.Release", lambda directory: 1 / 0)
        message, _ = asyncio.run(failed_start(create_app(Settings.load(model_dir=catalogue.model_dir))))
        assert message.startswith("Traceback")


async def failed_start(app: Any) -> tuple[str, BaseException | None]:
    """What a server is told, and what it is raised."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    try:
        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    except Exception as raised:
        error: BaseException | None = raised
    else:
        error = None
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    return sent[0]["message"], error
