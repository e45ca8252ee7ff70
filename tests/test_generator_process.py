"""The process that makes sounds, with a real model: started, killed, stopped, and started by the service."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_fixtures import Catalogue
from servers import Running, descendants, is_alive, left_behind, refused, running
from tiny_generators import save_audioldm
from waiting import wait_until

from audiorec.generate.prompt import Prompt
from audiorec.jobs.heart import EXIT_HUNG
from audiorec.jobs.job import Caller, Job, Wishes
from audiorec.jobs.leases import Leases
from audiorec.jobs.places import Places, open_places
from audiorec.settings import Settings

ME = Caller("", "me")
SHORT = {"prompt": "rain", "seconds": 0.64, "steps": 3, "seed": 1, "k": 3}
LONG = {**SHORT, "steps": 900, "seconds": 8}  # takes minutes


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_audioldm(tmp_path_factory.mktemp("ldm") / "tiny")


@pytest.fixture
def environment(tmp_path: Path, model: Path) -> dict[str, str]:
    return {
        "AUDIOREC_GENERATOR_MODEL": str(model),
        "AUDIOREC_GENERATOR_JOBS_URL": f"sqlite:///{tmp_path}/jobs/jobs.db",
        "AUDIOREC_GENERATOR_SOUNDS_URL": str(tmp_path / "sounds"),
        "AUDIOREC_GENERATOR_MAX_STEPS": "1000",
        "AUDIOREC_GENERATOR_NICENESS": "1",
        "AUDIOREC_GENERATOR_MAX_PER_CALLER": "100",
    }


@pytest.fixture
def places(catalogue: Catalogue, environment: dict[str, str], tmp_path: Path) -> Iterator[Places]:
    """The same table and store as those of the processes that a test starts."""
    settings = {name.removeprefix("AUDIOREC_").lower(): value for name, value in environment.items()}
    places = open_places(Settings.load(model_dir=catalogue.model_dir, **settings))
    yield places
    places.close()


def submit(places: Places, **changes: Any) -> Job:
    fields = {**SHORT, **changes}
    k = fields.pop("k")
    return places.queue.submit(Prompt(**fields), Wishes(k=k), ME)


def state_of(places: Places, job: Job) -> str:
    return places.queue.find(job.id, ME).state


def generator_of(server: Running) -> int:
    """The process that makes sounds."""
    found = [pid for pid in descendants(server.process.pid) if b"audiorec.jobs.process" in cmdline(pid)]
    assert len(found) == 1, server.log
    return found[0]


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class TestAlone:
    def command(self, catalogue: Catalogue) -> list[str]:
        return ["audiorec.cli", "generator", str(catalogue.model_dir)]

    def test_killed_in_mid_job_it_is_started_again_and_stopped_it_puts_its_job_back(
        self, catalogue: Catalogue, places: Places, environment: dict[str, str], tmp_path: Path
    ) -> None:
        long, waiting = submit(places, **LONG), submit(places)
        with running(tmp_path, self.command(catalogue), **environment) as server:
            wait_until(lambda: places.queue.find(long.id, ME).step >= 1, lambda: server.log)
            assert (state_of(places, long), places.queue.find(long.id, ME).attempt) == ("running", 1)
            os.kill(generator_of(server), signal.SIGKILL)
            wait_until(lambda: places.queue.find(long.id, ME).step == 0, lambda: server.log)
            wait_until(lambda: places.queue.find(long.id, ME).step >= 1, lambda: server.log)
            assert places.queue.find(long.id, ME).attempt == 2  # once more
            assert server.log.count("the generator ended with status -9, starting another") == 1
            own, niceness = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, generator_of(server)))
            assert niceness == min(19, own + 1)
            assert places.queue.cancel(long.id, ME).is_cancelled
            wait_until(lambda: state_of(places, waiting) == "finished", lambda: server.log)
            assert state_of(places, long) == "cancelled"

            again, behind = submit(places, **LONG), submit(places, seed=2)
            wait_until(lambda: places.queue.find(again.id, ME).step >= 1, lambda: server.log)
            pid = generator_of(server)
            assert server.stop() == 0
            assert not is_alive(pid)
            assert "Traceback" not in server.log
        assert [state_of(places, job) for job in (again, behind)] == ["queued"] * 2
        assert places.queue.find(again.id, ME).attempt == 0
        assert places.makers.read().n_ready == 0

    def test_two_on_one_table_go_on_with_what_an_earlier_one_left(
        self, catalogue: Catalogue, places: Places, environment: dict[str, str], tmp_path: Path
    ) -> None:
        left = [submit(places, seed=seed) for seed in range(3)]
        taken = Leases(places.database, "of a host that is gone", -1.0).take(lambda prompt: None)
        assert taken is not None
        for name in "ab":
            (tmp_path / name).mkdir()
        with (
            running(tmp_path / "a", self.command(catalogue), **environment) as one,
            running(tmp_path / "b", self.command(catalogue), **environment) as two,
        ):
            wait_until(lambda: places.makers.read().n_ready == 2, lambda: one.log + two.log)
            more = [submit(places, seed=seed) for seed in range(10, 16)]
            wait_until(lambda: places.queue.n_by_state() == {"finished": 9}, lambda: one.log + two.log)
            attempts = [places.queue.find(job.id, ME).attempt for job in (*left, *more)]
            assert attempts == [2, *[1] * 8]
            pid = generator_of(one)
            one.process.kill()
            wait_until(lambda: not is_alive(pid))  # it ends with its keeper

    def test_a_corrupted_model_ends_it_with_a_reason(
        self, catalogue: Catalogue, environment: dict[str, str], model: Path, tmp_path: Path
    ) -> None:
        broken = shutil.copytree(model, tmp_path / "broken")
        for path in (broken / "unet").glob("*.safetensors"):
            path.write_bytes(path.read_bytes()[:1000])
        environment["AUDIOREC_GENERATOR_MODEL"] = str(broken)
        with running(tmp_path, self.command(catalogue), **environment) as server:
            assert server.process.wait(300) == 5
            assert "cannot make sounds: got " in server.log
            assert "Traceback" not in server.log

    def test_without_a_model_it_says_which_variable(self, catalogue: Catalogue, tmp_path: Path) -> None:
        with running(tmp_path, self.command(catalogue)) as server:
            assert server.process.wait(60) == 2
            assert "got nothing for AUDIOREC_GENERATOR_MODEL" in server.log


class TestServed:
    def command(self, catalogue: Catalogue, *options: str) -> list[str]:
        return ["audiorec.cli", "serve", str(catalogue.model_dir), "--port", "0", *options]

    def test_a_service_that_makes_sounds(
        self, catalogue: Catalogue, environment: dict[str, str], tmp_path: Path
    ) -> None:
        with running(tmp_path, self.command(catalogue, "--workers", "2"), **environment) as server:
            server.wait_until_ready()
            body, media_type = json.dumps(SHORT).encode(), {"Content-Type": "application/json"}
            status, _, job = server.request("POST", "/generate?wait=5", body, media_type)
            assert (status, job["state"]) in ((200, "finished"), (202, "queued"), (202, "running")), server.log
            path = f"/jobs/{job['id']}"
            wait_until(lambda: server.get(path)[2]["state"] == "finished", lambda: server.log)
            status, headers, wav = server.get(f"{path}/audio")
            assert (status, headers["content-type"], wav[:4]) == (200, "audio/wav", b"RIFF")
            events = server.get(f"{path}/events")[2].decode()
            assert "event: finished\n" in events
            again = server.request("POST", "/generate", body, media_type)
            assert (again[0], again[2]["sound"]["is_shared"]) == (200, True)
            long = server.request("POST", "/generate", json.dumps(LONG).encode(), media_type)[2]
            wait_until(lambda: server.get(f"/jobs/{long['id']}")[2]["progress"]["step"] >= 1, lambda: server.log)
            following = server.connect()
            following.request("GET", f"/jobs/{long['id']}/events")
            stream = following.getresponse()
            assert stream.readline().startswith(b"retry")
            processes = descendants(server.process.pid)
            start_s = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - start_s < 20, "events were not ended: it waited for its grace"
            assert b"event: running" in stream.read()
            stream.close()
            following.close()
            wait_until(lambda: not any(map(is_alive, processes)))
            assert left_behind(server) == []
            assert "Traceback" not in server.log

    def test_a_model_that_is_broken_stops_nothing_else(
        self, catalogue: Catalogue, environment: dict[str, str], tmp_path: Path
    ) -> None:
        environment["AUDIOREC_GENERATOR_MODEL"] = str(tmp_path / "nowhere")
        with running(tmp_path, self.command(catalogue), **environment) as server:
            server.wait_until_ready()
            wait_until(lambda: "cannot make sounds" in server.log)
            body = json.dumps(SHORT).encode()
            wait_until(
                lambda: server.request("POST", "/generate", body, {"Content-Type": "application/json"})[0] == 503
            )
            refused(
                server.request("POST", "/generate", body, {"Content-Type": "application/json"}), 503, "generator_broken"
            )
            assert server.nearest(json.dumps({"clip_id": "b/clip 21.wav"}).encode())[0] == 200
            assert server.stop() == 0


def test_a_sound_that_never_ends_ends_its_process(catalogue: Catalogue, tmp_path: Path) -> None:
    """And the job has failed, so that it is not tried again."""
    program = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from generators import Pretender
from audiorec.jobs.heart import Heart
from audiorec.jobs.leases import Leases
from audiorec.jobs.leases import Leases
from audiorec.jobs.places import open_places
from audiorec.jobs.runner import Runner
from audiorec.settings import Settings
settings = Settings.load(model_dir=sys.argv[2], generator_jobs_url=sys.argv[3], generator_sounds_url=sys.argv[4])
places = open_places(settings)
leases = Leases(places.database, "maker", 30.0)
heart = Heart(leases, places.makers, "maker", lease_s=30.0, max_job_s=1.0)
generator = Pretender()
generator.may_step.clear()
heart.start(lambda: generator.facts)
Runner(settings, places, leases, heart, generator, None).run()
"""
    urls = [f"sqlite:///{tmp_path}/jobs.db", str(tmp_path / "sounds")]
    settings = {"generator_jobs_url": urls[0], "generator_sounds_url": urls[1]}
    places = open_places(Settings.load(model_dir=catalogue.model_dir, **settings))
    job = submit(places, seconds=1.0)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        program,
        str(Path(__file__).parent),
        str(catalogue.model_dir),
        *urls,
    ]
    assert subprocess.run(command, check=False, capture_output=True, timeout=120).returncode == EXIT_HUNG
    failed = places.queue.find(job.id, ME)
    assert (failed.state, failed.error_code) == ("failed", "too_slow")
    places.close()
