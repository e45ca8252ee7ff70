"""What browsers are told: headers of every answer, other origins, the documentation page; and a prefix in front."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_fixtures import Catalogue, ask, ids_of, message_of, refusal, serving
from starlette.testclient import TestClient

from audiorec.api.keys import create_key
from audiorec.nearest import Nearest

ID = "b/clip 21.wav"
ORIGIN = "https://shop.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}


def policy_of(response: httpx2.Response) -> dict[str, str]:
    (policy,) = response.headers.get_list("content-security-policy")
    parts = (part.strip().partition(" ") for part in policy.split(";"))
    return {name: values for name, _, values in parts}


class TestHeaders:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/health", 200),
            ("GET", "/metrics", 200),
            ("GET", "/openapi.json", 200),
            ("GET", "/static-offline-docs/swagger-ui.css", 200),
            ("GET", "/page/page.js", 200),
            ("GET", "/nope", 404),
            ("GET", "/nearest", 405),
            ("POST", "/nearest", 415),
            ("HEAD", "/health", 200),
        ],
    )
    def test_every_answer_has_them_once(self, client: TestClient, method: str, path: str, status: int) -> None:
        response = client.request(method, path, follow_redirects=False)
        assert response.status_code == status
        for name, value in {
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
        }.items():
            assert response.headers.get_list(name) == [value]
        assert policy_of(response) == {"default-src": "'none'", "frame-ancestors": "'none'"}
        assert "strict-transport-security" not in response.headers  # the proxy's business

    def test_faults_of_ours_too(self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Nearest, "_search", lambda *arguments: 1 / 0)
        with serving(catalogue, cors_origins=ORIGIN) as client:
            response = client.get("/health", headers={"Origin": ORIGIN})
            refusal(response, 500, "internal")
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["access-control-allow-origin"] == ORIGIN


class TestDocs:
    def test_the_page_runs_its_own_scripts_and_no_other(self, client: TestClient) -> None:
        page = client.get("/docs")
        policy = policy_of(page)
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["connect-src"] == "'self'"
        inline = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert policy["script-src"] == f"'self' 'sha256-{digest}'"
        assert re.findall(r"\son\w+=", page.text) == []  # handlers inside of tags would need unsafe-inline
        assert re.findall(r"(?:https?:)?//[\w.]+", page.text) == []

    def test_nobody_elsewhere_is_asked_about_the_document(self, client: TestClient) -> None:
        assert '"validatorUrl": null' in client.get("/docs").text

    def test_what_is_not_needed_is_not_there(self, client: TestClient) -> None:
        for path in ("/docs/oauth2-redirect", "/redoc"):
            refusal(client.get(path), 404, "not_found")


class TestOrigins:
    def test_off_unless_a_setting_says_otherwise(self, client: TestClient) -> None:
        response = client.get("/model", headers={"Origin": ORIGIN})
        assert response.status_code == 200
        assert [name for name in response.headers if name.startswith("access-control")] == []
        refusal(client.options("/nearest", headers={"Origin": ORIGIN, **PREFLIGHT}), 405, "method_not_allowed")

    @pytest.mark.parametrize(
        ("setting", "origin", "allowed"),
        [
            (ORIGIN, ORIGIN, ORIGIN),
            (f"http://a.example:8080, {ORIGIN}", ORIGIN, ORIGIN),
            ("*", ORIGIN, "*"),
            (ORIGIN, "https://evil.example", None),
            (ORIGIN, f"{ORIGIN}.evil.example", None),
            (ORIGIN, "null", None),
            (ORIGIN, "http://shop.example", None),
        ],
    )
    def test_a_page_may_ask_and_read(
        self, catalogue: Catalogue, setting: str, origin: str, allowed: str | None
    ) -> None:
        with serving(catalogue, cors_origins=setting) as client:
            preflight = client.options("/nearest", headers={"Origin": origin, **PREFLIGHT})
            response = ask(TestClient(client.app, headers={"Origin": origin}), {"clip_id": ID})
            assert response.headers.get("access-control-allow-origin") == allowed
            assert preflight.headers.get("access-control-allow-origin") == allowed
            if allowed is None:
                message = refusal(preflight, 403, "cors")
                assert "Disallowed CORS origin" in message
                assert "AUDIOREC_CORS_ORIGINS" in message
            else:
                assert preflight.status_code == 200
                assert preflight.headers["access-control-max-age"] == "600"
                names = {name.strip().lower() for name in preflight.headers["access-control-allow-headers"].split(",")}
                assert {"authorization", "x-api-key", "content-type", "x-request-id"} <= names
                assert "access-control-allow-credentials" not in preflight.headers
                exposed = response.headers["access-control-expose-headers"]
                for name in ("X-Request-Id", "Retry-After", "RateLimit-Remaining"):
                    assert name in exposed
            assert ids_of(response)

    @pytest.mark.parametrize(
        ("asked", "what"),
        [
            ({"Access-Control-Request-Method": "PATCH"}, "method"),
            ({"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-Evil"}, "headers"),
        ],
    )
    def test_what_a_page_may_not_do(self, catalogue: Catalogue, asked: dict[str, str], what: str) -> None:
        with serving(catalogue, cors_origins=ORIGIN) as client:
            response = client.options("/nearest", headers={"Origin": ORIGIN, **asked})
            assert f"Disallowed CORS {what}" in refusal(response, 403, "cors")

    def test_an_options_request_that_is_no_preflight_is_one_like_others(self, catalogue: Catalogue) -> None:
        with serving(catalogue, cors_origins=ORIGIN) as client:
            refusal(client.options("/nearest"), 405, "method_not_allowed")

    def test_pages_ask_without_a_key_whether_they_may_and_can_read_why_not(
        self, catalogue: Catalogue, tmp_path: Path
    ) -> None:
        key = create_key(tmp_path / "keys.json", "page", ["read"])
        settings: dict[str, Any] = {"keys_file": tmp_path / "keys.json", "rate_limit": "1/hour"}
        with serving(catalogue, cors_origins=ORIGIN, **settings) as client:
            for _ in range(3):
                assert client.options("/model", headers={"Origin": ORIGIN, **PREFLIGHT}).status_code == 200
            refused = client.get("/model", headers={"Origin": ORIGIN})
            good = client.get("/model", headers={"Origin": ORIGIN, "X-API-Key": key})
            too_many = client.get("/model", headers={"Origin": ORIGIN, "X-API-Key": key})
            for response, status in ((refused, 401), (good, 200), (too_many, 429)):
                assert response.status_code == status
                assert response.headers["access-control-allow-origin"] == ORIGIN
                assert "RateLimit-Remaining" in response.headers["access-control-expose-headers"]


class TestPrefix:
    @pytest.mark.parametrize("prefix", ["/audio", "/a/b"])
    @pytest.mark.parametrize("is_stripped", [True, False], ids=["stripped", "passed on"])
    def test_of_a_proxy_that_takes_it_off_or_leaves_it_on(
        self, catalogue: Catalogue, prefix: str, is_stripped: bool
    ) -> None:
        sent = "" if is_stripped else prefix
        with serving(catalogue, root_path=prefix) as client:
            assert client.get(f"{sent}/health").status_code == 200
            assert client.get(f"{sent}/clips/{ID}").json()["clip"]["clip_id"] == ID
            page = client.get(f"{sent}/docs").text
            links = re.findall(r'(?:src|href)="([^"]+)"', page)
            assert len(links) >= 2
            for link in links:
                assert link.startswith(f"{prefix}/static-offline-docs/")
                assert client.get(sent + link.removeprefix(prefix)).status_code == 200
            assert f"url: '{prefix}/openapi.json'" in page
            assert client.get(f"{sent}/openapi.json").json()["servers"] == [{"url": prefix}]
            refusal(client.get(f"{sent}/nope"), 404, "not_found")

    @pytest.mark.parametrize("path", ["/metrics", "/audio/metrics", "/audio//metrics", "/audio/audio/metrics"])
    def test_does_not_open_what_needs_a_key(self, catalogue: Catalogue, tmp_path: Path, path: str) -> None:
        create_key(tmp_path / "keys.json", "a", ["read"])
        with serving(catalogue, root_path="/audio", keys_file=tmp_path / "keys.json") as client:
            response = client.get(path)
            assert response.status_code == 401
            message_of(response.json(), "missing_key", response.headers["x-request-id"])
            for open_path in ("/health", "/audio/health", "/audio/docs"):
                assert client.get(open_path).status_code == 200

    def test_none(self, client: TestClient) -> None:
        assert "servers" not in client.get("/openapi.json").json()
