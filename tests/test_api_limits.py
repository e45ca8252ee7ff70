"""How often each client may ask: by its key, else by its address; what does not count; what the answers say."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from api_fixtures import JSON, Catalogue, Connection, refusal, serving, started
from starlette.testclient import TestClient

from audiorec.api import buckets
from audiorec.api.buckets import BUCKETS_FILE, SECOND_NS, make_buckets_file
from audiorec.api.keys import create_key
from audiorec.api.limits import client_of

ID = "b/clip 21.wav"
LIMIT_HEADERS = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "ratelimit-policy")


class Clock:
    """Buckets' time, which the test sets."""

    def __init__(self) -> None:
        self.now_ns = 10**15

    def monotonic_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(buckets, "time", clock)
    return clock


@pytest.fixture
def client(catalogue: Catalogue, clock: Clock) -> Iterator[TestClient]:
    """Three requests a minute for each address."""
    with serving(catalogue, rate_limit="3/minute") as client:
        yield client


def limits_of(response: httpx2.Response) -> list[str]:
    return [response.headers[name] for name in LIMIT_HEADERS]


def model(client: TestClient, key: str = "") -> httpx2.Response:
    return client.get("/model", headers={"X-API-Key": key} if key else {})


class TestAnswers:
    def test_each_says_what_is_left_and_the_one_too_many_when_to_come_again(
        self, client: TestClient, clock: Clock
    ) -> None:
        for left in (2, 1, 0):
            response = model(client)
            assert response.status_code == 200
            assert limits_of(response) == ["3", str(left), str(60 - 20 * left), "3;w=60"]
            assert "retry-after" not in response.headers
        response = model(client)
        message = refusal(response, 429, "rate_limited")
        assert message == "got more than 3/minute requests, expected at most that: wait 20 s"
        assert response.headers["retry-after"] == "20"
        assert limits_of(response) == ["3", "0", "60", "3;w=60"]
        clock.now_ns += 20 * SECOND_NS
        assert model(client).status_code == 200
        assert model(client).status_code == 429

    def test_refusals_by_the_routes_count_and_say_so_too(self, client: TestClient) -> None:
        for path, status in (("/nearest", 405), ("/nope", 404), ("/clips/nobody", 404), ("/model", 429)):
            response = client.get(path)
            assert response.status_code == status
            assert response.headers["ratelimit-limit"] == "3"

    def test_probes_documentation_and_metrics_do_not_count(self, client: TestClient) -> None:
        for _ in range(3):
            for path in ("/", "/health", "/ready", "/metrics", "/docs", "/openapi.json"):
                response = client.get(path)
                assert response.status_code == 200
                assert "ratelimit-limit" not in response.headers
        assert limits_of(model(client))[1] == "2"

    def test_off_unless_a_setting_says_otherwise(self, catalogue: Catalogue) -> None:
        with serving(catalogue) as client:
            assert not set(LIMIT_HEADERS) & set(model(client).headers)

    def test_it_is_decided_before_a_byte_of_the_body_has_come(self, catalogue: Catalogue, clock: Clock) -> None:
        async def scenario() -> None:
            async with started(catalogue, rate_limit="1/hour") as app:
                first = Connection(app, "/nearest", JSON)
                first.send(json.dumps({"clip_id": ID}).encode())
                assert (await first.answer()).status_code == 200
                for path in ("/nearest", "/embed"):
                    response = await Connection(app, path, JSON).answer()  # and nothing was sent
                    refusal(response, 429, "rate_limited")
                    assert response.headers["retry-after"] == "3600"

        asyncio.run(scenario())


class TestAddresses:
    def test_each_counts_for_itself(self, catalogue: Catalogue, clock: Clock) -> None:
        with serving(catalogue, rate_limit="1/minute") as client:
            others = [TestClient(client.app, client=(f"10.0.0.{n}", 50_000)) for n in range(3)]
            assert [model(other).status_code for other in others] == [200] * 3
            assert [model(other).status_code for other in others] == [429] * 3

    @pytest.mark.parametrize(
        ("address", "counts_as"),
        [
            ("10.0.0.1", "10.0.0.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("fe80::1%eth0", "fe80::/64"),
            ("testclient", "testclient"),
            ("", ""),
        ],
    )
    def test_what_one_is(self, address: str, counts_as: str) -> None:
        assert client_of(address) == counts_as

    def test_a_connection_without_one(self, catalogue: Catalogue, clock: Clock) -> None:
        """As over a Unix socket."""

        async def scenario() -> None:
            async with started(catalogue, rate_limit="1/minute") as app:

                async def nameless(scope, receive, send):  # type: ignore[no-untyped-def]
                    await app({**scope, "client": None}, receive, send)

                answers = []
                for _ in range(2):
                    connection = Connection(nameless, "/model", {}, "GET")  # type: ignore[arg-type]
                    connection.send(b"")
                    answers.append((await connection.answer()).status_code)
                assert answers == [200, 429]

        asyncio.run(scenario())


class TestKeys:
    @pytest.fixture
    def keys_file(self, tmp_path: Path) -> Path:
        return tmp_path / "keys.json"

    def test_one_may_have_a_rate_of_its_own(self, catalogue: Catalogue, clock: Clock, keys_file: Path) -> None:
        quick = create_key(keys_file, "quick", ["read"], rate="5/minute")
        plain, other = (create_key(keys_file, name, ["read"]) for name in ("plain", "other"))
        with serving(catalogue, keys_file=keys_file, rate_limit="2/minute") as client:
            assert [model(client, quick).status_code for _ in range(6)] == [200] * 5 + [429]
            assert [model(client, plain).status_code for _ in range(3)] == [200] * 2 + [429]
            assert limits_of(model(client, other)) == ["2", "1", "30", "2;w=60"]

    def test_without_a_setting_only_those_are_limited(
        self, catalogue: Catalogue, clock: Clock, keys_file: Path
    ) -> None:
        quick = create_key(keys_file, "quick", ["read"], rate="1/minute")
        plain = create_key(keys_file, "plain", ["read"])
        with serving(catalogue, keys_file=keys_file) as client:
            assert [model(client, quick).status_code for _ in range(2)] == [200, 429]
            assert [model(client, plain).status_code for _ in range(5)] == [200] * 5

    def test_a_key_counts_from_wherever_it_comes(self, catalogue: Catalogue, clock: Clock, keys_file: Path) -> None:
        key = create_key(keys_file, "a", ["read"])
        with serving(catalogue, keys_file=keys_file, rate_limit="2/minute") as client:
            others = [TestClient(client.app, client=(f"10.0.0.{n}", 50_000)) for n in range(3)]
            assert [model(other, key).status_code for other in others] == [200, 200, 429]

    def test_who_is_refused_for_his_key_takes_nothing(
        self, catalogue: Catalogue, clock: Clock, keys_file: Path
    ) -> None:
        key = create_key(keys_file, "a", ["read"])
        with serving(catalogue, keys_file=keys_file, rate_limit="1/minute") as client:
            assert [model(client, shown).status_code for shown in ("x", "", "x")] == [401] * 3
            assert "ratelimit-limit" not in model(client, "x").headers
            assert model(client, key).status_code == 200


def test_workers_that_share_a_folder_share_the_buckets(
    catalogue: Catalogue, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_buckets_file(tmp_path / BUCKETS_FILE)
    monkeypatch.setitem(os.environ, "PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with serving(catalogue, rate_limit="2/minute") as one, serving(catalogue, rate_limit="2/minute") as other:
        assert [model(client).status_code for client in (one, other, one, other)] == [200, 200, 429, 429]
