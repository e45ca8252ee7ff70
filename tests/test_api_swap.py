"""A worker goes on to another release between two requests, or refuses it and stays: nothing mixed, nothing left."""

import asyncio
import fcntl
import gc
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from api_fixtures import JSON, Connection, ask, children_of, ids_of, message_of, refusal, results_of
from fastapi import FastAPI
from model_dirs import change_array, copied, edit_manifest, flipped, make_current_anyway, vouch_for
from sounds import encoded, noise
from starlette.testclient import TestClient
from waiting import WAIT_S, wait_until

from audiorec.api import follower, metrics, verifier
from audiorec.api.app import create_app
from audiorec.api.schemas import Model, Readiness
from audiorec.api.service import Service
from audiorec.api.sighting import Sighting, look
from audiorec.api.verifier import Verifier
from audiorec.errors import BadModelDir
from audiorec.release import SERVED_FILES, Release, make_current, open_release
from audiorec.release.holds import is_held
from audiorec.settings import Settings
from audiorec.testing import make_release

WAV = {"Content-Type": "audio/wav"}
MARKS = {"0001": " of a", "0002": " of b", "0003": " of c"}  # at the end of every title of a release
DIMS = {"0001": 64, "0002": 64, "0003": 32}
N_CLIPS = 300


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three releases whose clips say which of them they belong to; the last has another dimension."""
    model_dir = tmp_path_factory.mktemp("swap") / "model"
    for seed, (name, mark) in enumerate(MARKS.items()):
        assert make_release(model_dir, N_CLIPS, dim=DIMS[name], seed=seed, mark=mark).name == name
    return model_dir


@pytest.fixture
def model_dir(releases: Path, tmp_path: Path) -> Path:
    """A copy whose current release is 0001."""
    model_dir = copied(releases, tmp_path / "model")
    make_current(model_dir, "0001")
    return model_dir


@pytest.fixture(scope="module")
def sound() -> bytes:
    return encoded(noise(1.0))


@contextmanager
def serving(model_dir: Path, **settings: Any) -> Iterator[TestClient]:
    """The service in this process; it looks at `current` all the time."""
    app = create_app(Settings.load(model_dir=model_dir, **{"swap_poll_s": 0.02, **settings}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@asynccontextmanager
async def started(model_dir: Path, **settings: Any) -> AsyncIterator[FastAPI]:
    app = create_app(Settings.load(model_dir=model_dir, swap_poll_s=0.02, **settings))
    async with app.router.lifespan_context(app):
        yield app


def service_in(client: TestClient) -> Service:
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service


async def eventually(condition: Callable[[], bool]) -> None:
    await asyncio.wait_for(asyncio.to_thread(wait_until, condition), WAIT_S)


def serves(client: TestClient, name: str) -> bool:
    return bool(client.get("/ready").json()["release"] == name)


def refused(client: TestClient) -> str:
    """Why the current release is refused, once it is."""
    wait_until(lambda: client.get("/ready").json()["refused_release"] is not None)
    answer = client.get("/ready").json()
    Readiness.model_validate(answer, strict=True)
    reason: str = answer["refused_release"]["reason"]
    return reason


def mapped(model_dir: Path) -> set[str]:
    """The releases of which this process maps a file."""
    return set(re.findall(rf"{model_dir}/versions/(\w+)/", Path("/proc/self/maps").read_text()))


def series(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def first_clip(model_dir: Path, name: str) -> str:
    return open_release(model_dir / "versions" / name).metadata.clip_id(0)


def are_of(results: list[dict[str, Any]], name: str) -> bool:
    """Whether clips belong to a release."""
    return len(results) > 0 and all(result["title"].endswith(MARKS[name]) for result in results)


def check_answers(client: TestClient, model_dir: Path, name: str, sound: bytes) -> None:
    """Every kind of request is answered by one release, with its clips, and says so."""
    release = open_release(model_dir / "versions" / name)
    clip_id, vector = release.metadata.clip_id(0), release.embeddings[5].tolist()
    by_sound = client.post("/nearest", content=sound, headers=WAV)
    for answer in (
        ask(client, {"clip_id": clip_id}),
        ask(client, {"embedding": vector, "filter": {"year": {"gte": 1900}}}),
        by_sound,
    ):
        assert answer.json()["release"] == name
        assert are_of(results_of(answer), name)
    embedded = client.post("/embed", content=sound, headers=WAV).json()
    assert (len(embedded["embedding"]), embedded["release"]) == (DIMS[name], name)
    assert ids_of(ask(client, {"embedding": embedded["embedding"]})) == ids_of(by_sound)
    batch = ask(client, {"queries": [{"clip_id": clip_id}, {"embedding": vector}]}, "/nearest/batch").json()
    assert [answer["release"] for answer in batch["answers"]] == [name, name]
    assert client.get(f"/clips/{clip_id}").json()["release"] == name
    assert client.get("/health").json()["release"] == name
    assert client.get("/model").json()["release"] == name


class TestSwap:
    def test_to_any_release_and_back(self, model_dir: Path, sound: bytes, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "audiorec"), serving(model_dir) as client:
            n_swaps = series(client, "audiorec_release_swaps_total")
            check_answers(client, model_dir, "0001", sound)
            for number, name in enumerate(("0002", "0003", "0001", "0003", "0002"), start=1):
                make_current(model_dir, name)
                wait_until(lambda name=name: serves(client, name))  # type: ignore[misc]
                check_answers(client, model_dir, name, sound)
                assert series(client, "audiorec_release_swaps_total") == n_swaps + number
                assert series(client, "audiorec_release_refused") == 0
                assert client.get("/ready").json()["refused_release"] is None
        assert [record.message for record in caplog.records if record.message.startswith("serving")][:3] == [
            "serving release 0001",
            "serving release 0002 after 0001",
            "serving release 0003 after 0002",
        ]

    def test_what_is_said_of_the_release_follows(self, model_dir: Path) -> None:
        edit_manifest(model_dir / "versions" / "0003", {"created_at": "2020-01-01T00:00:00+00:00"})
        edit_manifest(model_dir / "versions" / "0003", {"index.recall_at_10": 0.5})
        with serving(model_dir) as client:
            app = client.app
            before = app.openapi()  # type: ignore[attr-defined]
            assert app.openapi() is before  # type: ignore[attr-defined]
            vector = np.ones(64).tolist()
            assert ask(client, {"embedding": vector}).status_code == 200
            make_current(model_dir, "0003")
            wait_until(lambda: serves(client, "0003"))
            assert "expected 32" in refusal(ask(client, {"embedding": vector}), 422, "bad_vector")
            assert client.get("/model").json()["encoder"]["dim"] == 32
            document = client.get("/openapi.json").json()
            examples = document["paths"]["/nearest"]["post"]["requestBody"]["content"]["application/json"]["examples"]
            assert len(examples["embedding"]["value"]["embedding"]) == 32
            for example in examples.values():
                assert ids_of(ask(client, example["value"]))
            assert series(client, metrics.CREATED_NAME) == 1577836800
            assert series(client, "audiorec_index_recall_at_10") == 0.5

    def test_when_the_clock_jumps(self, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving(model_dir) as client:
            for now_s, name in ((0.0, "0002"), (4e9, "0003")):
                monkeypatch.setattr(time, "time", lambda now_s=now_s: now_s)
                make_current(model_dir, name)
                wait_until(lambda name=name: serves(client, name))  # type: ignore[misc]

    @pytest.mark.parametrize("named", ["versions/0001", "current"])
    def test_never_from_a_release_that_was_named_itself(self, model_dir: Path, named: str) -> None:
        with serving(model_dir / named) as client:
            make_current(model_dir, "0002")
            wait_until(lambda: service_in(client)._following.done())  # type: ignore[union-attr]
            assert serves(client, "0001")

    def test_a_release_whose_files_were_replaced_is_another(self, model_dir: Path) -> None:
        """As by rsync into a copy of the model directory: a file at a time, each by a rename."""
        with serving(model_dir) as client:
            clip_id = first_clip(model_dir, "0002")
            for path in sorted((model_dir / "versions" / "0002").iterdir()):
                path.rename(model_dir / "versions" / "0001" / path.name)
            wait_until(lambda: are_of(results_of(ask(client, {"clip_id": clip_id})), "0002"))
            wait_until(lambda: client.get("/ready").json()["refused_release"] is None)
            assert serves(client, "0001")


class TestRequestsUnderWay:
    """Each works on the release that it began with, however long it takes."""

    @pytest.mark.parametrize(
        ("path", "headers"),
        [("/nearest", WAV), ("/embed", WAV), ("/nearest", JSON), ("/nearest/batch", JSON)],
    )
    def test_keep_to_their_release_which_then_goes(
        self, model_dir: Path, sound: bytes, caplog: pytest.LogCaptureFixture, path: str, headers: dict[str, str]
    ) -> None:
        query = {"clip_id": first_clip(model_dir, "0001")}
        body = sound if headers is WAV else json.dumps({"queries": [query]} if "batch" in path else query).encode()

        async def scenario() -> None:
            async with started(model_dir, access_log=True) as app:
                gc.disable()
                try:
                    await check_pinned(app)
                finally:
                    gc.enable()

        async def check_pinned(app: FastAPI) -> None:
            slow = Connection(app, path, headers)
            slow.send(body[:20], more=True)
            await settled()
            make_current(model_dir, "0002")
            await eventually(lambda: app.state.service.opened.release.name == "0002")
            quick = Connection(app, "/embed", WAV)
            quick.send(sound)
            assert (await quick.answer()).json()["release"] == "0002"
            assert mapped(model_dir) == {"0001", "0002"}
            assert is_held(model_dir / "versions" / "0001")
            slow.send(body[20:])
            with caplog.at_level(logging.INFO, "audiorec"):
                answer = (await slow.answer()).json()
            assert caplog.records[-1].fields["release"] == "0001"  # type: ignore[attr-defined]
            answer = answer["answers"][0] if "answers" in answer else answer
            assert answer["release"] == "0001"
            assert are_of(answer.get("results", [{"title": MARKS["0001"]}]), "0001")
            del slow, quick
            await eventually(lambda: mapped(model_dir) == {"0002"})
            assert not is_held(model_dir / "versions" / "0001")
            assert is_held(model_dir / "versions" / "0002")

        asyncio.run(scenario())

    def test_one_whose_client_leaves_lets_go_too(self, model_dir: Path) -> None:
        async def scenario() -> None:
            async with started(model_dir) as app:
                slow = Connection(app, "/nearest", WAV)
                slow.send(b"RIFF", more=True)
                await settled()
                make_current(model_dir, "0002")
                await eventually(lambda: app.state.service.opened.release.name == "0002")
                assert mapped(model_dir) == {"0001", "0002"}
                slow.leave()
                assert (await slow.answer()).status_code == 499
                del slow
                await eventually(lambda: mapped(model_dir) == {"0002"})

        asyncio.run(scenario())

    def test_nothing_that_was_answered_or_refused_holds_a_release(self, model_dir: Path, sound: bytes) -> None:
        """Not even until Python collects its garbage."""
        with serving(model_dir) as client:
            gc.collect()
            gc.disable()
            try:
                for name in ("0002", "0001", "0003", "0001"):
                    now = "0001" if name != "0001" else service_in(client).opened.release.name
                    check_answers(client, model_dir, now, sound)
                    for wrong in ({"clip_id": "x"}, {"embedding": [1]}, {"clip_id": "x", "filter": {"x": 1}}, "{"):
                        assert ask(client, wrong).status_code in (404, 422)
                    assert client.post("/nearest", content=b"x", headers=WAV).status_code == 422
                    assert client.get("/openapi.json").status_code == 200
                    make_current(model_dir, name)
                    wait_until(lambda name=name: serves(client, name))  # type: ignore[misc]
                    wait_until(lambda name=name: mapped(model_dir) == {name})  # type: ignore[misc]
            finally:
                gc.enable()
        wait_until(lambda: mapped(model_dir) == set())


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


class TestEncoder:
    def test_is_loaded_before_the_swap_when_the_worker_had_one(
        self, model_dir: Path, sound: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served: list[tuple[str, bool]] = []
        serve = Service._serve

        def watched(service: Service, release: Release) -> None:
            served.append((release.name, "encoder" in release.__dict__))
            serve(service, release)

        monkeypatch.setattr(Service, "_serve", watched)
        with serving(model_dir) as client:
            make_current(model_dir, "0002")
            wait_until(lambda: serves(client, "0002"))
            assert client.post("/nearest", content=sound, headers=WAV).status_code == 200
            make_current(model_dir, "0003")
            wait_until(lambda: serves(client, "0003"))
        with serving(model_dir, warm=True) as client:
            make_current(model_dir, "0001")
            wait_until(lambda: serves(client, "0001"))
        assert served == [("0001", False), ("0002", False), ("0003", True), ("0003", True), ("0001", True)]

    def test_the_same_one_is_not_loaded_again(self, model_dir: Path, sound: bytes) -> None:
        """As after clips were added: the next release has the encoder of the one before."""
        again = model_dir / "versions" / "0004"
        shutil.copytree(model_dir / "versions" / "0001", again)
        with serving(model_dir) as client:
            assert client.post("/nearest", content=sound, headers=WAV).status_code == 200
            encoder = service_in(client).opened.release.encoder
            make_current(model_dir, "0004")
            wait_until(lambda: serves(client, "0004"))
            assert service_in(client).opened.release.encoder is encoder
            by_sound = client.post("/nearest", content=sound, headers=WAV)
            assert (by_sound.status_code, by_sound.json()["release"]) == (200, "0004")

    def test_the_same_one_beside_vectors_of_another_dimension_is_refused(self, model_dir: Path, sound: bytes) -> None:
        bad = model_dir / "versions" / "0003"
        shutil.copy(model_dir / "versions" / "0001" / "encoder.pt", bad)
        vouch_for(bad)
        with serving(model_dir) as client:
            assert client.post("/nearest", content=sound, headers=WAV).status_code == 200
            make_current(model_dir, "0003")
            assert "got an encoder of 64 dimensions, expected 32" in refused(client)

    def test_one_that_cannot_be_loaded_is_refused_where_it_is_needed(self, model_dir: Path, sound: bytes) -> None:
        bad = model_dir / "versions" / "0002"
        (bad / "encoder.pt").write_bytes(b"no TorchScript")
        vouch_for(bad)
        with serving(model_dir) as client:
            assert client.post("/nearest", content=sound, headers=WAV).status_code == 200
            make_current(model_dir, "0002")
            assert "encoder.pt that TorchScript cannot run" in refused(client)
            check_answers(client, model_dir, "0001", sound)

    def test_a_swap_needs_no_torch(self, model_dir: Path) -> None:
        environment = {"AUDIOREC_MODEL_DIR": str(model_dir), "AUDIOREC_SWAP_POLL_S": "0.02", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, "-c", SWAP_WITHOUT_TORCH], capture_output=True, text=True, env=environment, timeout=WAIT_S
        )
        assert done.returncode == 0, done.stderr


SWAP_WITHOUT_TORCH = """
import os, sys, time
from pathlib import Path
from starlette.testclient import TestClient
from audiorec.api.app import create_app
from audiorec.release import make_current

with TestClient(create_app()) as client:
    make_current(Path(os.environ["AUDIOREC_MODEL_DIR"]), "0002")
    while client.get("/ready").json()["release"] != "0002":
        time.sleep(0.02)
    assert client.get("/health").status_code == 200
    assert "torch" not in sys.modules
"""


def no_manifest(release: Path) -> None:
    (release / "manifest.json").unlink()


def no_json(release: Path) -> None:
    (release / "manifest.json").write_text("{")


def later_format(release: Path) -> None:
    edit_manifest(release, {"format_version": 2})


def missing(name: str) -> Callable[[Path], None]:
    return lambda release: (release / name).unlink()


def truncated(name: str) -> Callable[[Path], None]:
    return lambda release: os.truncate(release / name, (release / name).stat().st_size // 2)


def of_another_dimension(release: Path) -> None:
    edit_manifest(release, {"encoder.dim": 32})


def not_a_number(release: Path) -> None:
    change_array(release / "embeddings.npy", {7: np.nan})
    vouch_for(release)


def gone(release: Path) -> None:
    shutil.rmtree(release)


class TestRefusal:
    @pytest.mark.parametrize(
        ("damage", "fragment"),
        [
            (no_manifest, "got the release 0002, which is not there"),
            (no_json, "got a manifest.json that is not JSON"),
            (later_format, "got a release of format 2, expected 1"),
            (of_another_dimension, "embeddings.npy holds float32 (300, 64), expected float32 (300, 32)"),
            (not_a_number, "got an embedding of norm nan in row 7"),
            (gone, "got the release 0002, which is not there"),
            *((missing(name), f"got a release without {name}, expected") for name in ("encoder.pt", "index.ann")),
            *((truncated(name), f"got {name} of ") for name in ("encoder.pt", "metadata.arrow")),
            *((flipped(name), f"got {name} with SHA-256") for name in SERVED_FILES),
        ],
    )
    def test_a_bad_release_leaves_the_old_one_and_is_seen_everywhere(
        self,
        model_dir: Path,
        caplog: pytest.LogCaptureFixture,
        damage: Callable[[Path], None],
        fragment: str,
    ) -> None:
        damage(model_dir / "versions" / "0002")
        with serving(model_dir) as client:
            n_refusals = series(client, "audiorec_release_refusals_total")
            make_current_anyway(model_dir, "0002")
            reason = refused(client)
            assert fragment in reason
            message_of({"error": {"code": "", "message": reason, "request_id": "x"}}, "", "x")  # and holds no path
            assert serves(client, "0001")
            fact = {"release": "0002", "reason": reason}
            assert client.get("/ready").json() == {"status": "ready", "release": "0001", "refused_release": fact}
            described = client.get("/model").json()
            Model.model_validate(described, strict=True)
            assert (described["release"], described["refused_release"]) == ("0001", fact)
            wait_until(lambda: series(client, "audiorec_release_refused") == 1)
            assert series(client, "audiorec_release_refusals_total") == n_refusals + 1
            assert f"release 0002 is refused, the one before it is still served: {reason}" in caplog.messages
            assert are_of(results_of(ask(client, {"embedding": [1.0] * 64})), "0001")
            assert mapped(model_dir) == {"0001"}
            if (model_dir / "versions" / "0002" / "manifest.json").exists():
                assert not is_held(model_dir / "versions" / "0002")
            make_current(model_dir, "0001")
            wait_until(lambda: client.get("/ready").json()["refused_release"] is None)
            assert series(client, "audiorec_release_refused") == 0

    def test_a_failure_that_nobody_thought_of_is_one_too(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(directory: Path) -> None:
            raise ZeroDivisionError(f"something about {directory}")

        with serving(model_dir) as client:
            with monkeypatch.context() as broken:
                broken.setattr(follower, "Release", fail)
                make_current(model_dir, "0002")
                assert refused(client) == "got ZeroDivisionError while opening it, expected none: the log says more"
            assert "something about" in caplog.text
            make_current(model_dir, "0003")
            wait_until(lambda: serves(client, "0003"))
            assert client.get("/ready").json()["refused_release"] is None

    def test_it_is_tried_again_when_its_files_are_others_and_not_before(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried = []
        n_looks = 0
        verify, look = Verifier.verify, follower.look

        def counted(self: Verifier, directory: Path, state: str) -> None:
            tried.append(directory.name)
            verify(self, directory, state)

        def counting(model_dir: Path) -> Sighting | None:
            nonlocal n_looks
            n_looks += 1
            return look(model_dir)

        monkeypatch.setattr(Verifier, "verify", counted)
        monkeypatch.setattr(follower, "look", counting)
        embeddings = model_dir / "versions" / "0002" / "embeddings.npy"
        embeddings.rename(tmp := model_dir / "embeddings.npy")
        with serving(model_dir) as client:
            make_current(model_dir, "0002")
            refused(client)
            n_before = n_looks
            wait_until(lambda: n_looks >= n_before + 5)
            assert tried == ["0002"]
            tmp.rename(embeddings)
            wait_until(lambda: serves(client, "0002"))
            assert tried == ["0002", "0002"]

    def test_it_is_tried_again_when_it_is_made_current_again(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*arguments: Any, **options: Any) -> None:
            raise BadModelDir("for once")

        with serving(model_dir) as client:
            with monkeypatch.context() as broken:
                broken.setattr(Verifier, "verify", fail)
                make_current(model_dir, "0002")
                assert refused(client) == "for once"
            make_current(model_dir, "0002")
            wait_until(lambda: serves(client, "0002"))


class TestUnreadable:
    def test_a_model_directory_that_goes_away_and_comes_back(
        self, model_dir: Path, sound: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        clip_id = first_clip(model_dir, "0001")
        with serving(model_dir) as client:
            model_dir.rename(model_dir.with_name("elsewhere"))
            wait_until(lambda: "the model directory cannot be read" in caplog.text)
            for _ in range(3):
                assert ask(client, {"clip_id": clip_id}).status_code == 200
                assert client.get("/ready").json() == {"status": "ready", "release": "0001", "refused_release": None}
            model_dir.with_name("elsewhere").rename(model_dir)
            make_current(model_dir, "0002")
            wait_until(lambda: serves(client, "0002"))
        assert caplog.text.count("cannot be read") == 1

    def test_the_files_of_the_served_release_deleted(self, model_dir: Path) -> None:
        clip_id = first_clip(model_dir, "0001")
        with serving(model_dir) as client:
            shutil.rmtree(model_dir / "versions" / "0001")
            assert "got the release 0001, which is not there" in refused(client)
            assert ask(client, {"clip_id": clip_id}).status_code == 200
            make_current(model_dir, "0002")
            wait_until(lambda: serves(client, "0002"))

    def test_a_file_system_without_locks(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError(37, "No locks available")

        monkeypatch.setattr(fcntl, "flock", fail)
        with serving(model_dir) as client:
            assert client.get("/health").status_code == 200
            make_current(model_dir, "0002")
            wait_until(lambda: serves(client, "0002"))
        for name in ("0001", "0002"):
            assert f"release {name} is on a file system without locks: nobody can see that it is in use" in caplog.text

    def test_a_fault_in_following_does_not_end_it(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with serving(model_dir) as client:
            with monkeypatch.context() as broken:
                broken.setattr(follower, "look", lambda model_dir: 1 / 0)
                wait_until(lambda: "ZeroDivisionError" in caplog.text)
            make_current(model_dir, "0002")
            wait_until(lambda: serves(client, "0002"))


def fail_for_want_of_files(*_: object, **__: object) -> None:
    raise OSError(24, "Too many open files")


class TestVerifying:
    @pytest.mark.parametrize(
        ("child", "fragment"),
        [
            ("import os; os.kill(os.getpid(), 11)", "got exit status -11 from the process that verified the release"),
            ("import os; os.open('/secret', 0)", "got FileNotFoundError from the process that verified the release"),
            ("import sys; sys.exit(9)", "got exit status 9 from"),
        ],
    )
    def test_a_release_that_ends_the_process_that_reads_it(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch, child: str, fragment: str
    ) -> None:
        monkeypatch.setattr(verifier, "CHILD", child)
        with serving(model_dir) as client:
            make_current(model_dir, "0002")
            assert fragment in refused(client)
            assert serves(client, "0001")

    @pytest.mark.parametrize(
        ("broken", "fragment"),
        [
            (
                (verifier, "CHILD", "import os; os.kill(os.getpid(), 9)"),
                "got the process that verified the release killed",
            ),
            ((verifier.Verifier, "verify", fail_for_want_of_files), "got OSError while opening it"),
        ],
    )
    def test_a_release_that_was_refused_for_no_fault_of_its_own_is_tried_again(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch, broken: tuple[Any, str, Any], fragment: str
    ) -> None:
        with serving(model_dir) as client:
            with monkeypatch.context() as patched:
                patched.setattr(*broken)
                make_current(model_dir, "0002")
                assert fragment in refused(client)
            time.sleep(0.3)
            assert serves(client, "0001")
            client.app.state.service.follower._retry_at_s = 0.0  # its 30 s are over
            wait_until(lambda: serves(client, "0002"))
            assert client.get("/ready").json()["refused_release"] is None

    def test_a_release_that_was_gone_back_from_while_it_was_verified_is_not_served(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        begun, may_end, looks = threading.Event(), threading.Event(), []

        def verify(*_: object, **__: object) -> None:
            begun.set()
            assert may_end.wait(60)

        def looked(model_dir: Path) -> Sighting | None:
            looks.append(may_end.is_set())
            return look(model_dir)

        monkeypatch.setattr(verifier.Verifier, "verify", verify)
        monkeypatch.setattr(follower, "look", looked)
        caplog.set_level(logging.INFO, "audiorec")
        with serving(model_dir) as client:
            make_current(model_dir, "0002")
            assert begun.wait(60)
            make_current(model_dir, "0001")
            may_end.set()
            wait_until(lambda: sum(looks) >= 3)
            assert serves(client, "0001")
            assert "serving release 0002" not in caplog.text
            make_current(model_dir, "0002")
            wait_until(lambda: serves(client, "0002"))

    def test_the_service_stops_while_a_release_is_verified(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verifier, "CHILD", "import time; time.sleep(600)")
        before = children_of(os.getpid())
        with serving(model_dir) as client:
            make_current(model_dir, "0002")
            wait_until(lambda: len(children_of(os.getpid()) - before) == 1)
            assert client.get("/health").json()["release"] == "0001"
        wait_until(lambda: children_of(os.getpid()) == before)
