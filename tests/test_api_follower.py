"""When a release is tried, and how it is verified: what stands behind a swap, without a service around it."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_fixtures import Catalogue, children_of
from model_dirs import copied
from waiting import WAIT_S, wait_until

from audiorec.api import follower, verifier
from audiorec.api.follower import Follower
from audiorec.api.sighting import Sighting
from audiorec.api.verifier import Verifier
from audiorec.errors import BadModelDir, NoSpace, NotReady


class TestFollower:
    """What is tried, given what is seen."""

    def test_a_release_is_not_tried_while_it_is_still_being_copied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        a, b = (Sighting(f"versions/{name}", (1, 1), ((1, 1),)) for name in ("a", "b"))
        b_growing = [Sighting(b.target, b.link, ((n, n),)) for n in range(3)]
        tried = self.tried([a, b_growing[0], b_growing[1], b_growing[2], b_growing[2], b, b, b], monkeypatch)
        assert tried == [b_growing[0], b_growing[2], b]

    def test_what_is_not_new_is_not_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        a, b, c = (Sighting(f"versions/{name}", (1, 1), ((1, 1),)) for name in "abc")
        linked_again = Sighting(a.target, (1, 2), a.files)
        assert self.tried([a, a, None, a, linked_again, linked_again, a], monkeypatch) == []
        assert self.tried([a, b, b, a, b, b, None, b, c, c], monkeypatch) == [b, b, c]
        assert self.tried([a, b, linked_again, c, b], monkeypatch) == [b, c, b]

    def tried(self, sightings: list[Sighting | None], monkeypatch: pytest.MonkeyPatch) -> list[Sighting]:
        """All of them are refused but the first, which is served."""
        tried = []

        def fail(self: Follower, seen: Sighting, prepare: Callable[[Any], None]) -> None:
            tried.append(seen)
            raise BadModelDir("no")

        seen = iter(sightings)
        for name in ("look", "find"):
            monkeypatch.setattr(follower, name, lambda model_dir: next(seen))
        monkeypatch.setattr(Follower, "_open", lambda self, seen: seen)
        monkeypatch.setattr(Follower, "_prepared", fail)
        following = Follower(Path("nowhere"), poll_s=0.0)
        following.open()

        async def until_the_end() -> None:
            for _ in sightings[1:]:
                await following._look_again(lambda release: None, lambda held: None)

        asyncio.run(until_the_end())
        following.close()
        return tried


WRITE_AND_REFUSE = "import sys; open(sys.argv[1] + '/runs', 'a').write('x'); print('no good'); sys.exit(3)"
HANG = "import time; time.sleep(600)"


class TestVerifier:
    def test_one_verdict_for_all_workers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(verifier, "CHILD", WRITE_AND_REFUSE)
        workers = [Verifier(tmp_path) for _ in range(6)]
        refusals: list[str] = []

        def verify(worker: Verifier, state: str) -> None:
            with pytest.raises(BadModelDir) as caught:
                worker.verify(tmp_path, state)
            refusals.append(caught.value.message)

        for state, n_runs in (("one", 1), ("two", 2), ("two", 2)):
            threads = [threading.Thread(target=verify, args=(worker, state)) for worker in workers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WAIT_S)
            assert len((tmp_path / "runs").read_text()) == n_runs
        assert refusals == ["no good"] * 18

    def test_a_good_release_is_verified_once_too(self, catalogue: Catalogue, tmp_path: Path) -> None:
        release = copied(catalogue.model_dir / "versions" / "0001", tmp_path / "0001")
        Verifier(tmp_path).verify(release, "state")
        os.truncate(release / "index.ann", 10)
        Verifier(tmp_path).verify(release, "state")
        with pytest.raises(BadModelDir, match=r"got index\.ann of 10 bytes"):
            Verifier(tmp_path).verify(release, "another state")
        with pytest.raises(BadModelDir, match=r"got index\.ann of 10 bytes"):
            Verifier(None).verify(release, "state")

    def test_a_full_disk_refuses_no_release(
        self, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(path: Path) -> None:
            raise NoSpace("got 'No space left on device'")

        monkeypatch.setattr(verifier, "replacing", fail)
        Verifier(tmp_path).verify(catalogue.model_dir / "versions" / "0001", "state")
        monkeypatch.setattr(verifier, "CHILD", WRITE_AND_REFUSE)
        with pytest.raises(BadModelDir, match="no good"):
            Verifier(tmp_path).verify(tmp_path, "state")

    def test_files_that_may_not_be_read(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(directory: Path) -> None:
            raise PermissionError(13, "Permission denied", str(directory))

        monkeypatch.setattr(verifier, "Release", fail)
        monkeypatch.setattr(os, "nice", lambda increment: 0)
        with pytest.raises(SystemExit, match="3"):
            verifier.main("/secret")
        assert capsys.readouterr().out.startswith("got 'Permission denied' while reading the release, expected files")

    def test_closing_ends_what_is_under_way_and_what_waits_for_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verifier, "CHILD", HANG)
        before = children_of(os.getpid())
        workers = [Verifier(tmp_path), Verifier(tmp_path), Verifier(None)]
        outcomes: list[str] = []

        def verify(worker: Verifier) -> None:
            with pytest.raises(NotReady) as caught:
                worker.verify(tmp_path, "state")
            outcomes.append(caught.value.code)

        threads = [threading.Thread(target=verify, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(children_of(os.getpid()) - before) == 2)
        for worker in workers:
            worker.close()
        for thread in threads:
            thread.join(WAIT_S)
        assert outcomes == ["not_ready"] * 3
        assert children_of(os.getpid()) == before
        with pytest.raises(NotReady):
            workers[2].verify(tmp_path, "state")
