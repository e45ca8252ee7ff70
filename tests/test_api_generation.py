"""Sounds asked for over HTTP: jobs, their events and sounds, what is refused, and what belongs to whom."""

import asyncio
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soundfile
from api_fixtures import JSON, Catalogue, Connection, ask, refusal, serving, started
from generators import FACTS, Pretender
from sqlalchemy import update
from starlette.testclient import TestClient
from waiting import wait_until

from audiorec.api.generation.events import COMMENT_S
from audiorec.api.generation.schemas import JobAnswer
from audiorec.api.keys import create_key
from audiorec.generate.facts import Facts
from audiorec.jobs.heart import Heart
from audiorec.jobs.leases import Leases
from audiorec.jobs.places import Places, open_places
from audiorec.jobs.recommender import Recommender
from audiorec.jobs.runner import Runner
from audiorec.jobs.tables import jobs, sounds
from audiorec.nearest import Nearest
from audiorec.settings import Settings

RAIN = {"prompt": "rain on a tin roof", "seconds": 1, "steps": 3, "seed": 1, "k": 3}
TOKEN = {"X-Caller-Token": "only-i-know-this-one"}


@dataclass
class Maker:
    """A thread that makes sounds, of the places that a service in this process has as well."""

    places: Places
    generator: Pretender
    heart: Heart
    settings: dict[str, Any]


@contextmanager
def making(catalogue: Catalogue, folder: Path, **settings: Any) -> Iterator[Maker]:
    settings = {
        "generator_jobs_url": f"sqlite:///{folder}/jobs.db",
        "generator_sounds_url": str(folder / "sounds"),
        **settings,
    }
    known = Settings.load(model_dir=catalogue.model_dir, **settings)
    places = open_places(known)
    leases = Leases(places.database, "a maker", 30.0)
    heart = Heart(leases, places.makers, "a maker", lease_s=30.0, max_job_s=600.0)
    generator = Pretender()
    runner = Runner(known, places, leases, heart, generator, Recommender(catalogue.model_dir))
    heart.start(lambda: generator.facts)
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        yield Maker(places, generator, heart, settings)
    finally:
        generator.may_step.set()
        heart.stop.set()
        thread.join()
        heart.close()
        places.close()


@pytest.fixture(scope="module")
def module_maker(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    with making(catalogue, tmp_path_factory.mktemp("jobs")) as maker:
        yield maker


@pytest.fixture
def maker(module_maker: Maker) -> Iterator[Maker]:
    """With nothing to do, and no memory of what other tests have asked for."""
    with module_maker.places.database.writing() as connection:
        connection.execute(jobs.delete())
        connection.execute(sounds.delete())
    module_maker.generator.asked.clear()
    yield module_maker
    module_maker.generator.may_step.set()
    wait_until(lambda: not {"queued", "running"} & module_maker.places.queue.n_by_state().keys())


@pytest.fixture(scope="module")
def module_client(catalogue: Catalogue, module_maker: Maker) -> Iterator[TestClient]:
    with serving(catalogue, **module_maker.settings) as client:
        yield client


@pytest.fixture
def client(module_client: TestClient, maker: Maker) -> TestClient:
    return module_client


def generate(client: TestClient, query: Any, **options: Any) -> httpx2.Response:
    body = query if isinstance(query, bytes) else json.dumps(query)
    headers = {**JSON, **options.pop("headers", {})}
    return client.post("/generate", content=body, headers=headers, params=options)


def job_of(response: httpx2.Response, status: int = 202) -> dict[str, Any]:
    """A job, after a look at its shape."""
    assert response.status_code == status, response.text
    job: dict[str, Any] = response.json()
    assert list(job) == list(JobAnswer.model_fields)
    JobAnswer.model_validate_json(response.content)
    assert response.headers["cache-control"] == "no-store"
    return job


def finished(client: TestClient, query: Any, **options: Any) -> dict[str, Any]:
    return job_of(generate(client, query, wait=30, **options), 200)


def ended(client: TestClient, job: dict[str, Any]) -> dict[str, Any]:
    wait_until(lambda: client.get(f"/jobs/{job['id']}").json()["ended_at"] is not None)
    return job_of(client.get(f"/jobs/{job['id']}"), 200)


class TestJobs:
    def test_a_job_from_question_to_answer(self, client: TestClient, maker: Maker, nearest: Nearest) -> None:
        maker.generator.may_step.clear()
        response = generate(client, RAIN)
        job = job_of(response)
        assert response.headers["location"] == f"/jobs/{job['id']}"
        assert int(response.headers["retry-after"]) >= 1
        assert job["state"] in ("queued", "running")
        assert job["request"]["prompt"] == RAIN["prompt"]
        assert (job["sound"], job["recommendations"], job["error"]) == (None, None, None)
        waiting = job_of(generate(client, {**RAIN, "seed": 2}))
        wait_until(lambda: client.get(f"/jobs/{job['id']}").json()["progress"]["stage"] == "generate")
        assert job_of(client.get(f"/jobs/{waiting['id']}"), 200)["place_in_queue"] == 0
        maker.generator.may_step.set()
        done = ended(client, job)
        assert (done["state"], done["progress"]) == ("finished", {"stage": None, "step": 3, "n_steps": 3})
        assert (done["place_in_queue"], done["time_left_s"], done["attempt"]) == (None, None, 1)
        assert done["asked_at"] <= done["begun_at"] <= done["ended_at"]
        assert done["request"]["guidance"] == FACTS.default_guidance
        sound = done["sound"]
        assert sound == {
            "url": f"/jobs/{job['id']}/audio",
            "duration_s": 1.0,
            "sample_rate_hz": 16_000,
            "n_channels": 1,
            "seed": 1,
            "is_shared": False,
        }
        assert done["generator"]["licence"] == "CC-BY-NC-SA-4.0"
        assert set(done["took_s"]) == {"generate", "store", "recommend"}
        ended(client, waiting)

    def test_the_clips_are_those_that_nearest_finds_for_the_sound(self, client: TestClient) -> None:
        """The same recipe through both doors, in every format that loses nothing."""
        query = {**RAIN, "k": 5, "max_per_artist": 1, "filter": {"label": {"not": "hotdog"}}}
        job = finished(client, query)
        results = job["recommendations"]["results"]
        assert len(results) == 5
        artists = [result["artist"] for result in results if result["artist"]]
        assert len(set(artists)) == len(artists)
        assert job["recommendations"]["release"] == "0001"
        assert job["recommendations"]["by_prompt"] is job["recommendations"]["agreed"] is None
        options = {"k": 5, "max_per_artist": 1, "filter": json.dumps(query["filter"])}
        for kind in ("wav", "flac"):
            sound = client.get(job["sound"]["url"], params={"format": kind})
            answer = client.post("/nearest", content=sound.content, headers={"Content-Type": "audio/x"}, params=options)
            assert [one["clip_id"] for one in answer.json()["results"]] == [one["clip_id"] for one in results]
            similarities = [one["similarity"] for one in answer.json()["results"]]
            assert similarities == pytest.approx([one["similarity"] for one in results], abs=1e-4)

    def test_a_filter_that_the_release_cannot_read_is_refused_at_once(self, client: TestClient) -> None:
        message = refusal(generate(client, {**RAIN, "filter": {"colour": "red"}}), 422, "bad_query")
        assert "colour" in message

    def test_clips_that_cannot_be_had_do_not_spoil_the_sound(self, client: TestClient, maker: Maker) -> None:
        """As when the release has changed between the question and the answer."""
        maker.generator.may_step.clear()
        job = job_of(generate(client, RAIN))
        with maker.places.database.writing() as connection:
            wishes = json.dumps({"k": 3, "filter": {"colour": "red"}, "max_per_artist": None})
            connection.execute(update(jobs).values(wishes=wishes))
        wait_until(lambda: bool(maker.generator.asked))
        maker.generator.may_step.set()
        done = ended(client, job)
        # It was taken with the wishes that it had then, or those that it has now.
        assert done["state"] == "finished"
        assert client.get(done["sound"]["url"]).status_code == 200
        if done["recommendations"] is None:
            assert done["recommendations_error"]["code"] == "bad_query"

    def test_wait_answers_when_it_is_ready_or_when_the_time_is_up(self, client: TestClient, maker: Maker) -> None:
        assert finished(client, RAIN)["state"] == "finished"
        maker.generator.may_step.clear()
        job = job_of(generate(client, {**RAIN, "seed": 5}, wait=0.3), 202)
        assert job["state"] in ("queued", "running")

    @pytest.mark.parametrize("wait", ["-1", "61", "nan", "inf", "soon", "", "1e9"])
    def test_waits_that_are_none(self, client: TestClient, wait: str) -> None:
        assert "expected 0 to 60 seconds" in refusal(generate(client, RAIN, wait=wait), 422, "bad_query")

    def test_failures_say_why_and_leave_no_sound(self, client: TestClient) -> None:
        for words, code, said in (
            ("silence", "silent", "silence"),
            ("memory", "out_of_memory", "fewer seconds"),
            ("fault", "internal", "the id of the job"),
        ):
            job = finished(client, {**RAIN, "prompt": words})
            assert (job["state"], job["error"]["code"]) == ("failed", code)
            assert said in job["error"]["message"]
            assert "srv" not in job["error"]["message"]
            refusal(client.get(f"/jobs/{job['id']}/audio"), 409, "job_failed")
        assert finished(client, RAIN)["state"] == "finished"

    def test_cancelling_between_steps_once_or_twice(self, client: TestClient, maker: Maker) -> None:
        maker.generator.may_step.clear()
        job, waiting = job_of(generate(client, RAIN)), job_of(generate(client, {**RAIN, "seed": 9}))
        wait_until(lambda: client.get(f"/jobs/{job['id']}").json()["state"] == "running")
        for _ in range(2):
            assert job_of(client.delete(f"/jobs/{waiting['id']}"), 200)["state"] == "cancelled"
        for _ in range(2):
            assert job_of(client.delete(f"/jobs/{job['id']}"), 202)["is_cancelling"]
        wait_until(lambda: maker.heart.is_cancelled)
        maker.generator.may_step.set()
        assert ended(client, job)["state"] == "cancelled"
        assert len(maker.generator.asked) == 1
        refusal(client.get(f"/jobs/{job['id']}/audio"), 409, "job_cancelled")
        done = finished(client, {**RAIN, "seed": 3})
        refusal(client.delete(f"/jobs/{done['id']}"), 409, "job_ended")


class TestBadRequests:
    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"prompt": ""}, "nothing in it"),
            ({"prompt": "  \n "}, "nothing in it"),
            ({"prompt": "a" * 10_000}, "10,000 characters"),
            ({"prompt": "rain\x00"}, "control"),
            ({"prompt": "rain\x1b[2J"}, "control"),
            ({"prompt": None}, "prompt"),
            ({"prompt": 7}, "prompt"),
            ({"negative_prompt": "\x07"}, "control"),
            ({"seconds": 0}, "seconds = 0"),
            ({"seconds": -1}, "seconds = -1"),
            ({"seconds": 3600}, "seconds = 3600"),
            ({"seconds": "1"}, "seconds"),
            ({"steps": 0}, "steps = 0"),
            ({"steps": 10**6}, "steps = 1,000,000"),
            ({"steps": 2.5}, "steps"),
            ({"steps": 10**400}, "steps"),
            ({"guidance": -1}, "guidance = -1"),
            ({"guidance": 10**9}, "guidance"),
            ({"seed": -1}, "seed = -1"),
            ({"seed": 2**64}, "seed"),
            ({"adapter": "tango"}, "adapter 'tango', expected one of: bachata"),
            ({"preset": "slow"}, "preset"),
            ({"k": 0}, "k = 0"),
            ({"k": 101}, "k = 101"),
            ({"max_per_artist": 0}, "max_per_artist"),
            ({"colour": "red"}, "unknown field"),
            ({"exclude": []}, "unknown field"),
        ],
    )
    def test_are_refused_at_the_door(self, client: TestClient, maker: Maker, fields: dict[str, Any], said: str) -> None:
        query = {**RAIN, **fields}
        body = json.dumps(query) if fields.get("steps") != 10**400 else json.dumps({**query, "steps": 0})[:-1] + "}"
        message = refusal(generate(client, body.encode()), 422, "bad_query")
        assert said in message or fields.get("steps") == 10**400
        assert maker.places.queue.n_by_state() == {}

    @pytest.mark.parametrize("guidance", ["NaN", "Infinity", "-Infinity", "1e999"])
    def test_guidance_that_is_no_number(self, client: TestClient, guidance: str) -> None:
        body = json.dumps({**RAIN, "guidance": 7}).replace("7", guidance)
        assert "guidance" in refusal(generate(client, body.encode()), 422, "bad_query")

    def test_bodies_that_are_none(self, client: TestClient) -> None:
        for body in (b"", b"{", b"[]", b'"rain"', b"\xff", b'{"prompt": "\\ud800"}'):
            refusal(generate(client, body), 422, "bad_query")
        refusal(
            client.post("/generate", content=b"rain", headers={"Content-Type": "text/plain"}), 415, "unsupported_body"
        )

    def test_without_a_generator_that_has_ever_been_ready_limits_hold_all_the_same(
        self, catalogue: Catalogue, tmp_path: Path
    ) -> None:
        settings = {"generator_jobs_url": f"sqlite:///{tmp_path}/jobs.db", "generator_max_s": 5.0}
        with serving(catalogue, **settings, generator_sounds_url=str(tmp_path / "s")) as client:
            refusal(generate(client, {"prompt": ""}), 422, "bad_query")
            refusal(generate(client, {"prompt": "a", "seconds": 6}), 422, "bad_query")
            refusal(generate(client, {"prompt": "a", "steps": 201}), 422, "bad_query")
            job = job_of(generate(client, {"prompt": "a", "adapter": "unknown yet"}))
            assert (job["state"], job["time_left_s"]) == ("queued", None)
            assert client.get("/model").json()["generator"]["state"] == "starting"

    def test_a_model_that_cannot_be_loaded_is_said_without_where_it_is(
        self, catalogue: Catalogue, tmp_path: Path
    ) -> None:
        settings = {"generator_jobs_url": f"sqlite:///{tmp_path}/jobs.db", "generator_sounds_url": str(tmp_path / "s")}
        with serving(catalogue, **settings) as client:
            places = open_places(Settings.load(model_dir=catalogue.model_dir, **settings))
            places.makers.tell("one", "broken", trouble="got a broken file /srv/models/ldm")
            places.close()
            assert "srv" not in refusal(generate(client, RAIN), 503, "generator_broken")
            assert "srv" not in client.get("/model").text
            assert client.get("/ready").status_code == 200


class TestSharing:
    def test_the_same_with_a_seed_is_made_once(self, client: TestClient, maker: Maker) -> None:
        first = finished(client, RAIN)
        again = job_of(generate(client, RAIN), 200)  # without waiting
        assert again["id"] != first["id"]
        assert again["sound"] == {**first["sound"], "url": f"/jobs/{again['id']}/audio", "is_shared": True}
        assert again["recommendations"] == first["recommendations"]
        other_clips = finished(client, {**RAIN, "k": 7})
        assert (other_clips["sound"]["is_shared"], len(other_clips["recommendations"]["results"])) == (True, 7)
        assert len(maker.generator.asked) == 1
        bodies = {client.get(f"/jobs/{job['id']}/audio").content for job in (first, again, other_clips)}
        assert len(bodies) == 1

    def test_also_when_asked_for_at_the_same_time(self, client: TestClient, maker: Maker) -> None:
        maker.generator.may_step.clear()
        asked = [job_of(generate(client, RAIN)) for _ in range(3)]
        maker.generator.may_step.set()
        done = [ended(client, job) for job in asked]
        assert [job["state"] for job in done] == ["finished"] * 3
        assert sorted(job["sound"]["is_shared"] for job in done) == [False, True, True]
        assert len(maker.generator.asked) == 1

    def test_without_a_seed_it_is_made_each_time(self, client: TestClient, maker: Maker) -> None:
        unsown = {name: value for name, value in RAIN.items() if name != "seed"}
        jobs_made = [finished(client, unsown) for _ in range(2)]
        assert len(maker.generator.asked) == 2
        one, two = (client.get(job["sound"]["url"]).content for job in jobs_made)
        assert one != two
        sown = finished(client, {**RAIN, "seed": jobs_made[0]["sound"]["seed"]})  # as it was told
        assert client.get(sown["sound"]["url"]).content == one
        assert not sown["sound"]["is_shared"]

    def test_what_differs_in_anything_is_another(self, client: TestClient, maker: Maker) -> None:
        for change in ({}, {"seed": 2}, {"steps": 2}, {"seconds": 2}, {"guidance": 3}, {"prompt": "wind"}):
            finished(client, {**RAIN, **change})
        assert len(maker.generator.asked) == 6
        finished(client, {**RAIN, "prompt": "  rain on a\ttin roof ", "guidance": FACTS.default_guidance})
        assert len(maker.generator.asked) == 6

    def test_a_sound_that_was_deleted_by_hand_is_made_again(self, client: TestClient, maker: Maker) -> None:
        job = finished(client, RAIN)
        for path in Path(maker.settings["generator_sounds_url"]).rglob("*.wav"):
            path.unlink()
        refusal(client.get(job["sound"]["url"]), 410, "sound_gone")
        assert not finished(client, {**RAIN, "k": 9})["sound"]["is_shared"]
        assert client.get(job["sound"]["url"]).status_code == 200


class TestOwners:
    def test_a_job_with_a_token_is_seen_with_that_token_only(self, client: TestClient) -> None:
        job = finished(client, RAIN, headers=TOKEN)
        others: list[dict[str, str]] = [{}, {"X-Caller-Token": "only-i-know-this-two"}]
        for ending in ("", "/audio", "/events"):
            assert client.get(f"/jobs/{job['id']}{ending}", headers=TOKEN).status_code == 200
            for headers in others:
                refusal(client.get(f"/jobs/{job['id']}{ending}", headers=headers), 404, "unknown_job")
        for headers in others:
            refusal(client.delete(f"/jobs/{job['id']}", headers=headers), 404, "unknown_job")
        foreign = client.get(f"/jobs/{job['id']}").json()["error"]["message"]
        assert foreign == client.get("/jobs/AAAAAAAAAAAAAAAAAAAAAA").json()["error"]["message"]

    @pytest.mark.parametrize("job_id", ["x", "A" * 22, "%00", "é", "a" * 9_999, "a%2Fb"])
    def test_unknown_ids(self, client: TestClient, job_id: str) -> None:
        for method, ending in (("GET", ""), ("DELETE", ""), ("GET", "/audio"), ("GET", "/events")):
            response = client.request(method, f"/jobs/{job_id}{ending}")
            assert response.status_code == 404, response.text

    @pytest.mark.parametrize("token", ["short", "x" * 201, "with a blank in it, long"])
    def test_tokens_that_are_none(self, client: TestClient, token: str) -> None:
        headers = {"X-Caller-Token": token}
        assert "16 to 200" in refusal(generate(client, RAIN, headers=headers), 422, "bad_query")

    def test_keys_need_the_scope_and_own_their_jobs(self, catalogue: Catalogue, maker: Maker, tmp_path: Path) -> None:
        file = tmp_path / "keys.json"
        may, may_too, may_not = (
            {"X-API-Key": create_key(file, name, [scope])}
            for name, scope in (("one", "generate"), ("two", "generate"), ("three", "read"))
        )
        with serving(catalogue, **maker.settings, keys_file=file) as client:
            refusal(generate(client, RAIN), 401, "missing_key")
            refusal(generate(client, RAIN, headers=may_not), 403, "missing_scope")
            job = finished(client, RAIN, headers=may)
            for ending in ("", "/audio", "/events"):
                path = f"/jobs/{job['id']}{ending}"
                assert client.get(path, headers=may).status_code == 200
                refusal(client.get(path, headers=may_too), 404, "unknown_job")
                refusal(client.get(path, headers=may_not), 403, "missing_scope")
                refusal(client.get(path), 401, "missing_key")
            refusal(client.delete(f"/jobs/{job['id']}", headers=may_too), 404, "unknown_job")
            operations = client.get("/openapi.json").json()["paths"]
            for path in ("/generate", "/jobs/{job_id}", "/jobs/{job_id}/audio"):
                for operation in operations[path].values():
                    assert operation["security"] == [{"bearer": ["generate"]}, {"header": ["generate"]}]

    def test_rates_count_here_too(self, catalogue: Catalogue, maker: Maker) -> None:
        with serving(catalogue, **maker.settings, rate_limit="2/day") as client:
            for _ in range(2):
                refusal(client.get("/jobs/AAAAAAAAAAAAAAAAAAAAAA"), 404, "unknown_job")
            refusal(generate(client, RAIN), 429, "rate_limited")


class TestLimits:
    def test_of_the_queue_and_of_a_caller(self, catalogue: Catalogue, maker: Maker) -> None:
        maker.generator.may_step.clear()
        few = {**maker.settings, "generator_max_queued": 2, "generator_max_per_caller": 2}
        with serving(catalogue, **few) as client:
            for seed in range(2):
                job_of(generate(client, {**RAIN, "seed": seed}))
            response = generate(client, RAIN, headers=TOKEN)  # another token is no other caller
            assert "2 jobs of yours" in refusal(response, 429, "too_many_jobs")
            assert int(response.headers["retry-after"]) >= 1
        few["generator_max_per_caller"] = 9
        with serving(catalogue, **few) as client:
            wait_until(lambda: maker.places.queue.n_by_state().get("running") == 1)
            job_of(generate(client, {**RAIN, "seed": 3}))
            response = generate(client, {**RAIN, "seed": 4})
            refusal(response, 429, "queue_full")
            assert int(response.headers["retry-after"]) >= 1

    def test_of_the_disk(self, catalogue: Catalogue, maker: Maker, client: TestClient) -> None:
        finished(client, {**RAIN, "seconds": 2})
        with serving(catalogue, **maker.settings, generator_sounds_max_bytes=2**20) as small:
            assert small.get("/ready").status_code == 200
            with maker.places.database.writing() as connection:
                connection.execute(update(sounds).values(n_bytes=2**20))
            refusal(generate(small, RAIN), 507, "no_space")


class TestEvents:
    @staticmethod
    def told(text: str) -> list[tuple[str, dict[str, Any]]]:
        """(event, data) of each event."""
        found = []
        for block in text.split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "event" in lines:
                assert "id" in lines
                JobAnswer.model_validate_json(lines["data"])
                found.append((lines["event"], json.loads(lines["data"])))
        return found

    def test_tell_of_each_change_and_end_with_the_job(self, client: TestClient, maker: Maker) -> None:
        maker.generator.may_step.clear()
        job = job_of(generate(client, {**RAIN, "steps": 4}))
        steps = threading.Timer(1.0, maker.generator.may_step.set)
        steps.start()
        response = client.get(f"/jobs/{job['id']}/events")
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.text.startswith("retry: ")
        events = self.told(response.text)
        assert events[-1][0] == "finished"
        assert events[-1][1]["recommendations"]["results"]
        assert [name for name, _ in events[:-1]] == sorted(name for name, _ in events[:-1])  # queued, then running
        assert {name for name, _ in events} <= {"queued", "running", "finished"}
        assert len(events) >= 2

    def test_of_a_job_that_has_ended_are_one_and_none_for_who_has_it(self, client: TestClient) -> None:
        job = finished(client, RAIN)
        events = self.told(client.get(f"/jobs/{job['id']}/events").text)
        assert [name for name, _ in events] == ["finished"]
        again = client.get(f"/jobs/{job['id']}/events", headers={"Last-Event-ID": "end"})
        assert (again.status_code, again.content) == (204, b"")

    def test_of_a_job_under_way_have_a_head_at_once(self, client: TestClient, maker: Maker) -> None:
        maker.generator.may_step.clear()
        job = job_of(generate(client, RAIN))
        response = client.head(f"/jobs/{job['id']}/events")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert client.get(f"/jobs/{job['id']}").json()["ended_at"] is None
        maker.generator.may_step.set()

    async def follow(self, catalogue: Catalogue, maker: Maker) -> None:
        async with started(catalogue, **maker.settings) as app:
            job = await self.asked(app)
            watched = Connection(app, f"/jobs/{job['id']}/events", {}, "GET")
            watched.send(b"")
            while not watched._sent[1:]:
                await asyncio.sleep(0.01)
            generating = app.state.service.generating
            while not generating.watch._watched:
                await asyncio.sleep(0.01)
            watched.leave()
            await asyncio.wait_for(watched.task, 30)
            while generating.watch._watched:
                await asyncio.sleep(0.01)
            await asyncio.wait_for(generating.watch._looking, 30)  # nobody looks when nobody waits

    @staticmethod
    async def asked(app: Any) -> dict[str, Any]:
        posted = Connection(app, "/generate", JSON)
        posted.send(json.dumps(RAIN).encode())
        job: dict[str, Any] = (await posted.answer()).json()
        return job

    def test_a_client_that_leaves_is_not_told_any_more(self, catalogue: Catalogue, maker: Maker) -> None:
        maker.generator.may_step.clear()
        asyncio.run(asyncio.wait_for(self.follow(catalogue, maker), 60))

    def test_a_comment_now_and_then_keeps_the_connection(
        self, client: TestClient, maker: Maker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert COMMENT_S < 30
        monkeypatch.setattr("audiorec.api.generation.events.COMMENT_S", 0.3)
        maker.generator.may_step.clear()
        job = job_of(generate(client, RAIN))
        threading.Timer(1.5, maker.generator.may_step.set).start()
        assert "\n: still here\n" in client.get(f"/jobs/{job['id']}/events").text


class TestWaiting:
    async def leave(self, catalogue: Catalogue, maker: Maker) -> None:
        async with started(catalogue, **maker.settings) as app:
            waiting = Connection(app, "/generate", JSON, query=b"wait=60")
            waiting.send(json.dumps(RAIN).encode())
            await asyncio.to_thread(wait_until, lambda: bool(maker.generator.asked))
            waiting.leave()
            await asyncio.to_thread(wait_until, lambda: maker.heart.is_cancelled)
            maker.generator.may_step.set()
            await asyncio.wait_for(waiting.task, 30)

    def test_who_leaves_has_cancelled_since_nobody_knows_the_job(self, catalogue: Catalogue, maker: Maker) -> None:
        maker.generator.may_step.clear()
        asyncio.run(asyncio.wait_for(self.leave(catalogue, maker), 60))
        wait_until(lambda: maker.places.queue.n_by_state() == {"cancelled": 1})


class TestAudio:
    @pytest.fixture
    def job(self, client: TestClient) -> dict[str, Any]:
        return finished(client, RAIN)

    @pytest.mark.parametrize(
        ("kind", "media_type", "magic"),
        [
            ("wav", "audio/wav", b"RIFF"),
            ("flac", "audio/flac", b"fLaC"),
            ("mp3", "audio/mpeg", b""),
            ("opus", "audio/ogg", b"OggS"),
        ],
    )
    def test_formats(self, client: TestClient, job: dict[str, Any], kind: str, media_type: str, magic: bytes) -> None:
        url = job["sound"]["url"]
        response = client.get(url, params={"format": kind})
        assert (response.status_code, response.headers["content-type"]) == (200, media_type)
        assert response.headers["content-disposition"] == f'inline; filename="{job["id"]}.{kind}"'
        assert response.content.startswith(magic)
        assert int(response.headers["content-length"]) == len(response.content)
        samples, rate_hz = soundfile.read(io.BytesIO(response.content))
        assert rate_hz == 16_000
        assert abs(len(samples) / rate_hz - 1.0) < 0.15
        assert np.abs(samples).max() > 0.1
        again = client.get(url, params={"format": kind.upper()})  # kept now
        assert again.content == response.content
        assert again.headers["etag"] == response.headers["etag"]
        assert client.get(url, headers={"If-None-Match": again.headers["etag"]}).status_code == (
            304 if kind == "wav" else 200
        )

    def test_formats_that_are_none(self, client: TestClient, job: dict[str, Any]) -> None:
        url = job["sound"]["url"]
        for kind in ("ogg", "", "wav2", "../x"):
            assert "wav, flac, mp3, opus" in refusal(client.get(url, params={"format": kind}), 422, "bad_query")
        refusal(client.get(f"{url}?format=wav&format=mp3"), 422, "bad_query")

    def test_parts_of_it(self, client: TestClient, job: dict[str, Any]) -> None:
        url = job["sound"]["url"]
        whole = client.get(url).content
        n = len(whole)
        for wanted, first, end in (
            ("bytes=0-9", 0, 10),
            ("bytes=10-", 10, n),
            ("bytes=-7", n - 7, n),
            (f"bytes={n - 1}-{n + 50}", n - 1, n),
            (f"bytes=-{n + 50}", 0, n),
        ):
            response = client.get(url, headers={"Range": wanted})
            assert (response.status_code, response.content) == (206, whole[first:end]), wanted
            assert response.headers["content-range"] == f"bytes {first}-{end - 1}/{n}"
            assert response.headers["accept-ranges"] == "bytes"
        for wanted in (f"bytes={n}-", "bytes=-0"):
            response = client.get(url, headers={"Range": wanted})
            assert (response.status_code, response.json()["error"]["code"]) == (416, "no_such_part")
            assert response.headers["content-range"] == f"bytes */{n}"
        for wanted in ("bytes=5-2", "bytes=x-y", "lines=1-2", "bytes=0-1,5-6", "bytes=-", "bytes"):
            response = client.get(url, headers={"Range": wanted})
            assert (response.status_code, len(response.content)) == (200, n), wanted
        tag = client.get(url).headers["etag"]
        assert client.get(url, headers={"Range": "bytes=0-1", "If-Range": tag}).status_code == 206
        assert client.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status_code == 200
        assert client.head(url).headers["content-length"] == str(n)

    def test_too_early(self, client: TestClient, maker: Maker) -> None:
        maker.generator.may_step.clear()
        job = job_of(generate(client, RAIN))
        refusal(client.get(f"/jobs/{job['id']}/audio"), 409, "not_finished")


class TestWithout:
    def test_a_generator_503_with_what_configures_one_and_all_else_works(self, catalogue: Catalogue) -> None:
        with serving(catalogue) as client:
            for method, path in (
                ("POST", "/generate"),
                ("GET", "/jobs/x"),
                ("DELETE", "/jobs/x"),
                ("GET", "/jobs/x/audio"),
            ):
                message = refusal(client.request(method, path), 503, "generator_not_configured")
                assert message.splitlines()[1:] == [
                    "export AUDIOREC_GENERATOR_MODEL=DIR_OR_HUB_ID",
                    "audiorec serve MODEL_DIR",
                ]
            assert client.get("/model").json()["generator"] is None
            assert ask(client, {"clip_id": catalogue.rows[0]["clip_id"]}).status_code == 200
            assert "audiorec_jobs" not in client.get("/metrics").text

    @pytest.mark.parametrize("configured", [False, True])
    def test_what_a_worker_imports(self, catalogue: Catalogue, tmp_path: Path, configured: bool) -> None:
        """Never a model's libraries; those of the table only where there is one."""
        program = """
import json, sys
from starlette.testclient import TestClient
from audiorec.api.app import create_app
from audiorec.settings import Settings
with TestClient(create_app(Settings.load(**json.loads(sys.argv[1])))) as client:
    answer = client.post("/generate", json={"prompt": "rain"})
    client.get("/model"), client.get("/metrics"), client.get("/openapi.json"), client.get("/jobs/x")
names = ("torch", "torchaudio", "transformers", "diffusers", "sqlalchemy")
print(answer.status_code, *(name for name in names if name in sys.modules))
"""
        given = {"model_dir": str(catalogue.model_dir)}
        if configured:
            given |= {"generator_model": "./ldm", "generator_jobs_url": f"sqlite:///{tmp_path}/jobs.db"}
            given |= {"generator_sounds_url": str(tmp_path / "sounds")}
        command = [sys.executable, "-W", "ignore", "-c", program, json.dumps(given)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        assert printed == ("202 sqlalchemy" if configured else "503")


class TestOperation:
    def test_the_model_says_what_makes_sounds(self, client: TestClient) -> None:
        shown = client.get("/model").json()["generator"]
        assert shown["state"] == "ready"
        assert Facts.model_validate(shown["facts"]) == FACTS
        assert shown["limits"]["max_steps"] == 200

    def test_metrics_count_what_has_become_of_jobs(self, client: TestClient, maker: Maker) -> None:
        before = metrics_of(client)
        finished(client, RAIN)
        finished(client, {**RAIN, "prompt": "silence"})
        after = metrics_of(client)
        for name, n in (
            ('audiorec_jobs_ended_total{state="finished"}', 1),
            ('audiorec_jobs_ended_total{state="failed"}', 1),
            ('audiorec_jobs_failed_total{reason="silent"}', 1),
        ):
            assert after[name] - before.get(name, 0.0) == n
        assert 'audiorec_jobs_seconds_total{stage="generate"}' in after
        assert after["audiorec_jobs_queued"] == after["audiorec_jobs_running"] == 0
        assert after["audiorec_generators_ready"] == 1
        assert after["audiorec_sounds_bytes"] > 40_000

    def test_the_documents_examples_work(self, client: TestClient) -> None:
        document = client.get("/openapi.json").json()
        body = document["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]
        for example in body["examples"].values():
            assert finished(client, {**example["value"], "steps": 2})["state"] == "finished"
        parameters = document["paths"]["/generate"]["post"]["parameters"]
        assert {one["name"] for one in parameters} == {"wait", "X-Caller-Token"}
        audio = document["paths"]["/jobs/{job_id}/audio"]["get"]
        assert {one["name"] for one in audio["parameters"]} == {"job_id", "format", "X-Caller-Token"}
        assert set(audio["responses"]["200"]["content"]) == {"audio/wav", "audio/flac", "audio/mpeg", "audio/ogg"}

    def test_a_database_that_does_not_answer_spoils_nothing_else(self, catalogue: Catalogue) -> None:
        pytest.importorskip("psycopg")
        url = "postgresql://user:hush@127.0.0.1:1/jobs"
        with serving(catalogue, generator_jobs_url=url, generator_sounds_url="memory://sounds") as client:
            response = generate(client, RAIN)
            assert "hush" not in refusal(response, 503, "jobs_unavailable")
            assert response.headers["retry-after"] == "5"
            refusal(client.get("/jobs/AAAAAAAAAAAAAAAAAAAAAA"), 503, "jobs_unavailable")
            assert client.get("/model").json()["generator"]["state"] == "unavailable"
            assert client.get("/metrics").status_code == client.get("/ready").status_code == 200
            assert ask(client, {"clip_id": catalogue.rows[0]["clip_id"]}).status_code == 200


def metrics_of(client: TestClient) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if line and not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
