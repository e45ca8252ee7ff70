"""Keys at the door: what is open, what each key may ask, how it is shown, and a keys file that changes under way."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from api_fixtures import JSON, Catalogue, Connection, ask, ids_of, refusal, serving, started
from starlette.routing import Mount
from starlette.testclient import TestClient

from audiorec.api import access, keys
from audiorec.api.access import OPEN_PATHS, Keyring, scope_of
from audiorec.api.app import create_app
from audiorec.api.keys import SCOPES, create_key, revoke_key
from audiorec.api.middleware import ROUTES
from audiorec.errors import BadSetting
from audiorec.settings import Settings

ID = "b/clip 21.wav"
PROTECTED = (
    ("GET", f"/clips/{ID}"),
    ("GET", f"/clips/{ID}/sound"),
    ("GET", "/model"),
    ("POST", "/nearest"),
    ("POST", "/nearest/batch"),
    ("POST", "/embed"),
    ("GET", "/metrics"),
    ("GET", "/nope"),
    ("POST", "/health/"),
    ("GET", "/docs/"),
    ("GET", "/x//health"),
    ("GET", "/static-offline-docs"),
    ("GET", "/page"),
    ("OPTIONS", "/nearest"),
)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def all_keys(keys_file: Path) -> dict[str, str]:
    """A key of one scope each, by the scope."""
    return {scope: create_key(keys_file, f"may-{scope}", [scope]) for scope in SCOPES}


@pytest.fixture
def client(catalogue: Catalogue, keys_file: Path, all_keys: dict[str, str]) -> Iterator[TestClient]:
    with serving(catalogue, keys_file=keys_file) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def challenge_of(response: httpx2.Response) -> str:
    assert response.headers.get_list("www-authenticate") == [response.headers["www-authenticate"]]
    return response.headers["www-authenticate"]


class TestOpen:
    @pytest.mark.parametrize("path", [*sorted(OPEN_PATHS), "/static-offline-docs/swagger-ui.css", "/page/page.js"])
    def test_what_probes_and_readers_of_the_documentation_need(self, client: TestClient, path: str) -> None:
        for headers in ({}, bearer("none of ours")):
            assert client.get(path, headers=headers).status_code == 200
            assert client.head(path, headers=headers).status_code == 200

    @pytest.mark.parametrize(("method", "path"), PROTECTED)
    def test_nothing_else_is(self, client: TestClient, method: str, path: str) -> None:
        message = refusal(client.request(method, path), 401, "missing_key")
        assert message.startswith("got no API key, expected one as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        assert client.request("HEAD", path).status_code == 401

    def test_every_route_is_open_by_intention_or_needs_a_scope(self, client: TestClient) -> None:
        paths = [route.path_format for route in ROUTES]  # type: ignore[attr-defined]
        needed = {path: scope_of(path, open_metrics=False) for path in paths}
        is_open = {path for path, scope in needed.items() if scope is None}
        assert is_open == {"/", "/page/{name}", "/docs", "/health", "/ready"}
        assert {path for path, scope in needed.items() if scope == "admin"} == {"/metrics"}
        mounts = [route.path for route in client.app.routes if isinstance(route, Mount)]  # type: ignore[attr-defined]
        assert mounts == ["/static-offline-docs"]

    def test_without_a_keys_file_all_of_it(self, catalogue: Catalogue) -> None:
        with serving(catalogue) as client:
            for headers in ({}, bearer("whatever")):
                assert client.get("/metrics", headers=headers).status_code == 200
                assert ids_of(ask(client, {"clip_id": ID}))

    def test_metrics_where_a_setting_says_so(
        self, catalogue: Catalogue, keys_file: Path, all_keys: dict[str, str]
    ) -> None:
        with serving(catalogue, keys_file=keys_file, open_metrics=True) as client:
            assert client.get("/metrics").status_code == 200
            assert client.get("/model").status_code == 401


class TestScopes:
    @pytest.mark.parametrize(
        ("path", "needed"), [("/nearest", "read"), ("/model", "read"), ("/nope", "read"), ("/metrics", "admin")]
    )
    @pytest.mark.parametrize("scope", SCOPES)
    def test_each_is_good_for_its_own(
        self, client: TestClient, all_keys: dict[str, str], path: str, needed: str, scope: str
    ) -> None:
        response = client.get(path, headers=bearer(all_keys[scope]))
        if scope == needed:
            assert response.status_code in (200, 404, 405)
        else:
            message = refusal(response, 403, "missing_scope")
            assert message == f"got the API key may-{scope} for {scope}, expected one for {needed}: ask for that scope"
            assert challenge_of(response) == f'Bearer realm="audiorec", error="insufficient_scope", scope="{needed}"'

    def test_generating_has_its_own(self) -> None:
        assert scope_of("/generate", open_metrics=False) == "generate"

    def test_one_key_may_have_several(self, client: TestClient, keys_file: Path) -> None:
        key = create_key(keys_file, "both", ["admin", "read"])
        assert [client.get(path, headers=bearer(key)).status_code for path in ("/metrics", "/model")] == [200, 200]


class TestShowing:
    @pytest.mark.parametrize(
        "headers",
        [
            [("Authorization", "Bearer {}")],
            [("authorization", "bearer {}")],
            [("Authorization", "BEARER   {}  ")],
            [("X-API-Key", "{}")],
            [("x-api-key", " {} ")],
            [("Authorization", "Bearer {}"), ("X-API-Key", "{}")],
            [("Authorization", "Basic dXNlcjpwYXNz"), ("X-API-Key", "{}")],
        ],
    )
    def test_each_way(self, client: TestClient, all_keys: dict[str, str], headers: list[tuple[str, str]]) -> None:
        shown = [(name, value.format(all_keys["read"])) for name, value in headers]
        assert client.get("/model", headers=shown).status_code == 200

    @pytest.mark.parametrize(
        ("headers", "code"),
        [
            ([], "missing_key"),
            ([("Authorization", "")], "missing_key"),
            ([("Authorization", "{}")], "missing_key"),
            ([("Authorization", "Basic {}")], "missing_key"),
            ([("Authorization", "Bearer")], "unknown_key"),
            ([("Authorization", "Bearer ")], "unknown_key"),
            ([("X-API-Key", "")], "unknown_key"),
            ([("X-API-Key", "Bearer {}")], "unknown_key"),
            ([("Authorization", "Bearer {}x")], "unknown_key"),
            ([("Authorization", "Bearer {} {}")], "unknown_key"),
            ([("Authorization", "Bearer x"), ("X-API-Key", "{}")], "two_keys"),
            ([("X-API-Key", "x"), ("X-API-Key", "{}")], "two_keys"),
            ([("Cookie", "key={}")], "missing_key"),
        ],
    )
    def test_no_other(
        self, client: TestClient, all_keys: dict[str, str], headers: list[tuple[str, str]], code: str
    ) -> None:
        shown = [(name, value.format(*[all_keys["read"]] * 2)) for name, value in headers]
        response = client.get("/model", headers=shown)
        assert all_keys["read"] not in refusal(response, 401, code)
        expected = "" if code == "missing_key" else ', error="invalid_token"'
        assert challenge_of(response) == f'Bearer realm="audiorec"{expected}'

    def test_a_key_in_the_query_string_is_none(self, client: TestClient, all_keys: dict[str, str]) -> None:
        for name in ("key", "api_key", "access_token"):
            refusal(client.get("/model", params={name: all_keys["read"]}), 401, "missing_key")

    def test_strange_bytes_are_no_key(self, client: TestClient) -> None:
        for value in (b"Bearer \xff\xfe", b"Bearer " + b"x" * 30_000):
            headers = [(b"authorization", value)]
            refusal(client.get("/model", headers=headers), 401, "unknown_key")  # type: ignore[arg-type]

    def test_a_hash_is_no_key(self, client: TestClient, keys_file: Path) -> None:
        for key in json.loads(keys_file.read_text())["keys"]:
            refusal(client.get("/model", headers=bearer(key["sha256"])), 401, "unknown_key")


def test_it_is_decided_before_a_byte_of_the_body_has_come(
    catalogue: Catalogue, keys_file: Path, all_keys: dict[str, str]
) -> None:
    async def scenario() -> None:
        async with started(catalogue, keys_file=keys_file) as app:
            for key, status, code in (("", 401, "missing_key"), (all_keys["admin"], 403, "missing_scope")):
                for path in ("/nearest", "/nearest/batch", "/embed"):
                    connection = Connection(app, path, {**JSON, **(bearer(key) if key else {})})
                    refusal(await connection.answer(), status, code)  # and nothing was sent

    asyncio.run(scenario())


class TestChanges:
    def test_a_key_that_is_made_counts_at_once(self, client: TestClient, keys_file: Path) -> None:
        key = create_key(keys_file, "new", ["read"])
        assert client.get("/model", headers=bearer(key)).status_code == 200

    def test_a_key_that_is_revoked_ends_at_once(
        self, client: TestClient, keys_file: Path, all_keys: dict[str, str]
    ) -> None:
        assert client.get("/model", headers=bearer(all_keys["read"])).status_code == 200
        revoke_key(keys_file, "may-read")
        response = client.get("/model", headers=bearer(all_keys["read"]))
        assert "got the API key may-read, which was revoked" in refusal(response, 401, "revoked_key")
        assert challenge_of(response).endswith('error="invalid_token"')

    def test_a_key_that_is_taken_out_of_the_file_is_unknown(
        self, client: TestClient, keys_file: Path, all_keys: dict[str, str]
    ) -> None:
        content = json.loads(keys_file.read_text())
        content["keys"] = []
        keys_file.write_text(json.dumps(content))
        refusal(client.get("/model", headers=bearer(all_keys["read"])), 401, "unknown_key")

    def test_a_key_expires(self, client: TestClient, keys_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        end = datetime.now(timezone.utc) + timedelta(hours=1)
        key = create_key(keys_file, "guest", ["read"], expires_at=end)
        assert client.get("/model", headers=bearer(key)).status_code == 200
        for now, is_good in ((end - timedelta(seconds=1), True), (end, False), (end + timedelta(days=1), False)):
            monkeypatch.setattr(access, "datetime", SimpleNamespace(now=lambda zone, now=now: now))
            response = client.get("/model", headers=bearer(key))
            if is_good:
                assert response.status_code == 200
            else:
                assert "got the API key guest, which has expired" in refusal(response, 401, "expired_key")

    @pytest.mark.parametrize("damage", ["gone", "half", "empty", "a folder", "cannot be read"])
    def test_a_file_that_breaks_leaves_the_keys_as_they_were_and_says_so_once(
        self,
        client: TestClient,
        keys_file: Path,
        all_keys: dict[str, str],
        caplog: pytest.LogCaptureFixture,
        damage: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        assert metric(client, all_keys, "audiorec_keys_file_broken") == 0
        content = keys_file.read_bytes()
        keys_file.unlink()
        if damage == "a folder":
            keys_file.mkdir()
        elif damage in ("half", "empty"):
            keys_file.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
        elif damage == "cannot be read":
            keys_file.write_bytes(content)
            monkeypatch.setattr(access, "read_keys", lambda path: keys.read_keys(path / "x"))
        for _ in range(3):
            assert client.get("/model", headers=bearer(all_keys["read"])).status_code == 200
            refusal(client.get("/model", headers=bearer("x")), 401, "unknown_key")
        (record,) = (record for record in caplog.records if record.levelno >= logging.ERROR)
        assert record.getMessage().startswith("got the keys file ")
        assert record.getMessage().endswith("; until then the keys read before are good")
        assert metric(client, all_keys, "audiorec_keys_file_broken") == 1

        monkeypatch.undo()
        if damage == "a folder":
            keys_file.rmdir()
        keys_file.write_bytes(content)
        key = create_key(keys_file, "new", ["read"])
        assert client.get("/model", headers=bearer(key)).status_code == 200
        assert metric(client, all_keys, "audiorec_keys_file_broken") == 0

    def test_a_link_that_moves_is_followed(
        self, catalogue: Catalogue, tmp_path: Path, keys_file: Path, all_keys: dict[str, str]
    ) -> None:
        """As where a secret of Kubernetes is mounted."""
        link, other = tmp_path / "link.json", tmp_path / "other.json"
        link.symlink_to(keys_file)
        key = create_key(other, "other", ["read"])
        with serving(catalogue, keys_file=link) as client:
            assert client.get("/model", headers=bearer(all_keys["read"])).status_code == 200
            link.unlink()
            link.symlink_to(other)
            assert client.get("/model", headers=bearer(key)).status_code == 200
            refusal(client.get("/model", headers=bearer(all_keys["read"])), 401, "unknown_key")

    def test_rights_that_are_given_back_are_noticed(self, keys_file: Path, all_keys: dict[str, str]) -> None:
        """They change neither the time nor the size of the file."""
        keyring = Keyring(keys_file)
        seen = keyring._look()
        keys_file.chmod(0o640)
        assert keyring._look() != seen

    def test_a_file_that_does_not_change_is_read_once(
        self, keys_file: Path, all_keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keyring = Keyring(keys_file)
        monkeypatch.setattr(access, "read_keys", lambda path: 1 / 0)
        for key in all_keys.values():
            assert keyring.find(key.encode()) is not None
        assert keyring.find(b"x") is None


class TestStart:
    @pytest.mark.parametrize("content", [None, b"", b"{}"])
    def test_without_a_good_file_there_is_no_service_rather_than_an_open_one(
        self, catalogue: Catalogue, keys_file: Path, content: bytes | None
    ) -> None:
        if content is not None:
            keys_file.write_bytes(content)
        with (
            pytest.raises(BadSetting, match=r"got the keys file 'keys\.json', which"),
            serving(catalogue, keys_file=keys_file),
        ):
            pass

    def test_an_empty_variable_does_not_open_it_either(
        self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AUDIOREC_KEYS_FILE", "")
        with pytest.raises(BadSetting, match="got '' for AUDIOREC_KEYS_FILE"), serving(catalogue):
            pass

    def test_a_file_without_keys_lets_nobody_in(self, catalogue: Catalogue, keys_file: Path) -> None:
        create_key(keys_file, "a", ["read"])
        content = {**json.loads(keys_file.read_text()), "keys": []}
        keys_file.write_text(json.dumps(content))
        with serving(catalogue, keys_file=keys_file) as client:
            refusal(client.get("/model"), 401, "missing_key")
            key = create_key(keys_file, "b", ["read"])
            assert client.get("/model", headers=bearer(key)).status_code == 200

    def test_before_it_nothing_is_read(self, catalogue: Catalogue, keys_file: Path) -> None:
        app = create_app(Settings.load(model_dir=catalogue.model_dir, keys_file=keys_file))
        client = TestClient(app, raise_server_exceptions=False)
        refusal(client.get("/model"), 503, "not_ready")


class TestDocument:
    def test_says_what_each_operation_needs(self, client: TestClient, catalogue: Catalogue) -> None:
        document = client.get("/openapi.json").json()
        schemes = document["components"]["securitySchemes"]
        assert {(scheme["type"], scheme.get("scheme") or scheme.get("name")) for scheme in schemes.values()} == {
            ("http", "bearer"),
            ("apiKey", "X-API-Key"),
        }
        for path, operations in document["paths"].items():
            for operation in operations.values():
                scope = scope_of(path, open_metrics=False)
                expected = [{name: [scope]} for name in schemes] if scope else None
                assert operation.get("security") == expected
        with serving(catalogue) as open_client:
            assert "security" not in json.dumps(open_client.get("/openapi.json").json())

    def test_shows_nothing_of_the_catalogue(self, client: TestClient, catalogue: Catalogue) -> None:
        text = client.get("/openapi.json").text
        for row in catalogue.rows:
            assert json.dumps(row["clip_id"])[1:-1] not in text
        examples = json.loads(text)["paths"]["/nearest"]["post"]["requestBody"]["content"]["application/json"][
            "examples"
        ]
        assert set(examples["embedding"]["value"]["embedding"]) == {1.0}


def test_refusals_are_counted_by_route_and_code(client: TestClient, all_keys: dict[str, str]) -> None:
    series = (
        'audiorec_requests_total{route="/nearest",status="401"}',
        'audiorec_requests_total{route="/clips/{clip_id}",status="403"}',
        'audiorec_refusals_total{code="unknown_key"}',
        'audiorec_refusals_total{code="missing_scope"}',
    )
    before = [metric(client, all_keys, one) for one in series]
    ask_with(client, "x")
    refusal(client.get("/clips/whatever", headers=bearer(all_keys["admin"])), 403, "missing_scope")
    assert [metric(client, all_keys, one) for one in series] == [value + 1 for value in before]


def ask_with(client: TestClient, key: str) -> None:
    headers = {**JSON, **bearer(key)}
    refusal(client.post("/nearest", content=json.dumps({"clip_id": ID}), headers=headers), 401, "unknown_key")


def metric(client: TestClient, all_keys: dict[str, str], series: str) -> float:
    text = client.get("/metrics", headers=bearer(all_keys["admin"])).text
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{series} ")), 0.0)


def test_what_a_request_costs_is_one_look_at_the_file(
    keys_file: Path, all_keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring, n_looks, look = Keyring(keys_file), 0, os.stat

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal n_looks
        n_looks += 1
        return look(*arguments, **options)

    monkeypatch.setattr(os, "stat", counted)
    for _ in range(5):
        keyring.find(all_keys["read"].encode())
    assert n_looks == 5
