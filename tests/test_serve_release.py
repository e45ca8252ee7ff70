"""Workers that are killed while `current` leads to a release that none of them serves."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from api_fixtures import children_of
from model_dirs import copied, flipped, make_current_anyway
from servers import Running, running
from waiting import WAIT_S, wait_until

from audiorec.release import make_current
from audiorec.testing import make_release


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("releases") / "model"
    for seed in range(3):
        make_release(model_dir, 50, seed=seed)
    return model_dir


@pytest.fixture
def model_dir(releases: Path, tmp_path: Path) -> Path:
    """A copy whose current release is 0001."""
    model_dir = copied(releases, tmp_path / "model")
    make_current(model_dir, "0001")
    return model_dir


def command(served: Path) -> list[str]:
    return ["audiorec.cli", "serve", str(served), "--port", "0", "--workers", "2"]


@contextmanager
def serving(folder: Path, served: Path) -> Iterator[Running]:
    """Two workers, both of them at work."""
    with running(folder, command(served), AUDIOREC_SWAP_POLL_S="0.1") as server:
        server.wait_until_ready()
        wait_until(lambda: server.log.count("serving release 0001") == 2, lambda: server.log)
        yield server
        assert server.stop() == 0
        assert "Traceback" not in server.log


def workers_of(server: Running) -> list[int]:
    """Beside them the supervisor has a child that tracks its resources."""
    return sorted(pid for pid in children_of(server.process.pid) if b"spawn_main" in cmdline(pid))


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def kill_one(server: Running) -> None:
    os.kill(workers_of(server)[0], signal.SIGKILL)


def gone(release_dir: Path) -> None:
    shutil.rmtree(release_dir)


class TestKilledWorker:
    @pytest.mark.parametrize("damage", [flipped("index.ann"), gone])
    def test_comes_back_with_what_the_others_serve(
        self, model_dir: Path, tmp_path: Path, damage: Callable[[Path], None]
    ) -> None:
        damage(model_dir / "versions" / "0002")
        with serving(tmp_path, model_dir) as server:
            make_current_anyway(model_dir, "0002")
            wait_until(lambda: server.log.count("release 0002 is refused") == 2, lambda: server.log)
            reason = server.get("/ready")[2]["refused_release"]["reason"]
            kill_one(server)
            wait_until(lambda: server.log.count("serving release 0001") == 3, lambda: server.log)
            wait_until(
                lambda: server.log.count(f"release 0002 is refused, the one before it is still served: {reason}") == 3
            )
            for path in ("/ready", "/model"):
                for _ in range(10):  # of either worker
                    answer = server.get(path)[2]
                    assert answer["release"] == "0001"
                    assert answer["refused_release"] == {"release": "0002", "reason": reason}
            metrics = server.get("/metrics")[2].decode()
            assert "\naudiorec_release_refused 1.0\n" in metrics
            assert "\naudiorec_release_refusals_total 3.0\n" in metrics
            make_current(model_dir, "0003")
            wait_until(lambda: server.log.count("serving release 0003 after 0001") == 2, lambda: server.log)
            kill_one(server)
            wait_until(lambda: server.log.count("serving release 0003\n") == 1, lambda: server.log)
            assert {server.get("/ready")[2]["refused_release"] for _ in range(10)} == {None}

    def test_waits_for_a_release_that_can_be_opened_and_the_others_serve_on(
        self, model_dir: Path, tmp_path: Path
    ) -> None:
        versions, elsewhere = model_dir / "versions", model_dir / "elsewhere"
        with serving(tmp_path, model_dir) as server:
            versions.rename(elsewhere)
            kill_one(server)
            wait_until(lambda: "a worker could not start, the others serve on" in server.log, lambda: server.log)
            assert "release 0001, which this service serves, cannot be opened: got " in server.log
            assert "cannot serve: got " in server.log
            assert [server.get("/health")[0] for _ in range(10)] == [200] * 10
            elsewhere.rename(versions)
            wait_until(lambda: server.log.count("serving release 0001") == 3, lambda: server.log)

    def test_keeps_to_a_release_that_was_named_by_a_link(self, model_dir: Path, tmp_path: Path) -> None:
        with serving(tmp_path, model_dir / "current") as server:
            make_current(model_dir, "0002")
            kill_one(server)
            wait_until(lambda: server.log.count("serving release 0001") == 3, lambda: server.log)
            assert {server.get("/ready")[2]["release"] for _ in range(10)} == {"0001"}


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (flipped("index.ann"), "error: got index.ann with SHA-256 "),
        (gone, "without a current release, expected it to be one of 0001"),
    ],
)
def test_a_service_that_starts_on_a_bad_release_does_not_start(
    model_dir: Path, tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    damage(model_dir / "versions" / "0002")
    make_current_anyway(model_dir, "0002")
    with running(tmp_path, command(model_dir)) as server:
        assert server.process.wait(WAIT_S) == 5, server.log
        assert sentence in server.log
        assert len(server.log.splitlines()) == 1


def test_what_was_swapped_after_it_was_verified_is_verified_once_more(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release is verified before there are workers: they must not trust another that has become current since."""
    from audiorec.api import metrics
    from audiorec.api.follower import Follower
    from audiorec.api.serve import _verify
    from audiorec.api.sighting import make_note
    from audiorec.errors import BadModelDir

    _verify(model_dir, tmp_path)
    make_note(tmp_path)
    monkeypatch.setattr(metrics, "shared_dir", lambda: tmp_path)
    assert Follower(model_dir, 1.0).open().name == "0001"
    flipped("index.ann")(model_dir / "versions" / "0002")
    make_current_anyway(model_dir, "0002")
    with pytest.raises(BadModelDir, match=r"got index\.ann with SHA-256"):
        Follower(model_dir, 1.0).open()
