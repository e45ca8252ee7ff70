"""Holds: a release that somebody uses is known to be used, by every process, on a read-only mount, to the very end."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from audiorec.errors import BadModelDir
from audiorec.release import holds
from audiorec.release.holds import Exclusive, Hold, is_held

HOLDER = (
    "import sys; from pathlib import Path; from audiorec.release.holds import Hold; hold = Hold(Path(sys.argv[1])); "
)


@pytest.fixture
def release_dir(tmp_path: Path) -> Path:
    """All that a hold needs of a release."""
    folder = tmp_path / "0001"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    (folder / "manifest.json").chmod(0o444)
    return folder


def test_a_hold_is_seen_until_it_ends(release_dir: Path) -> None:
    assert not is_held(release_dir)
    hold = Hold(release_dir)
    assert hold.locked
    assert is_held(release_dir)
    hold.release()
    hold.release()
    assert not is_held(release_dir)


def test_it_ends_with_its_block_and_with_its_object(release_dir: Path) -> None:
    with Hold(release_dir):
        assert is_held(release_dir)
    assert not is_held(release_dir)
    hold = Hold(release_dir)
    assert is_held(release_dir)
    del hold
    assert not is_held(release_dir)


def test_many_may_hold_and_the_last_one_counts(release_dir: Path) -> None:
    one, two = Hold(release_dir), Hold(release_dir)
    one.release()
    assert is_held(release_dir)
    two.release()
    assert not is_held(release_dir)


def test_another_process_holds_until_it_is_killed(release_dir: Path) -> None:
    command = [sys.executable, "-c", HOLDER + "print(flush=True); sys.stdin.read()", str(release_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_held(release_dir)
        process.send_signal(signal.SIGKILL)
    assert not is_held(release_dir)


def test_a_program_that_is_started_does_not_inherit_it(release_dir: Path) -> None:
    hold = Hold(release_dir)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as process:
        hold.release()
        held = is_held(release_dir)
        process.kill()
    assert not held


def test_a_release_that_is_gone_cannot_be_held(release_dir: Path) -> None:
    (release_dir / "manifest.json").unlink()
    for call in (Hold, is_held):
        with pytest.raises(BadModelDir, match="got the release 0001, which is not there any more, expected one that"):
            call(release_dir)


def test_nobody_begins_to_hold_what_is_being_deleted(release_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "PATIENCE_S", 0.05)
    n_open = len(os.listdir("/proc/self/fd"))
    with Exclusive(release_dir) as exclusive:
        assert not exclusive.is_held
        with pytest.raises(BadModelDir, match="which is not there any more"):
            Hold(release_dir)
        assert is_held(release_dir)
    with Hold(release_dir):
        assert is_held(release_dir)
    assert len(os.listdir("/proc/self/fd")) == n_open


def test_one_that_is_moved_away_while_it_is_waited_for_is_gone(release_dir: Path) -> None:
    """As `prune` does it: the lock first, the name next, then the lock is let go."""
    refusals: list[str] = []

    def hold() -> None:
        with pytest.raises(BadModelDir) as refusal:
            Hold(release_dir)
        refusals.append(refusal.value.message)

    holder = threading.Thread(target=hold)
    with Exclusive(release_dir):
        holder.start()
        time.sleep(0.05)
        release_dir.rename(release_dir.with_name("elsewhere"))
    holder.join()
    assert len(refusals) == 1


def test_a_look_does_not_turn_away_who_comes_to_hold(release_dir: Path) -> None:
    finished = threading.Event()

    def look() -> None:
        while not finished.is_set():
            is_held(release_dir)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(300):
            Hold(release_dir).release()
    finally:
        finished.set()
        looker.join()


def test_a_file_system_without_locks(release_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be held there, so everything may be in use."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Hold(release_dir) as hold:
        assert not hold.locked
    assert is_held(release_dir)


@pytest.fixture
def read_only(release_dir: Path, tmp_path: Path) -> Iterator[Path]:
    """The same release on a mount that cannot be written to, as a container has it."""
    mount = tmp_path / "mount"
    mount.mkdir()
    if subprocess.run(["mount", "--bind", release_dir.parent, mount], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", mount], check=True)
        yield mount / release_dir.name
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_hold_on_a_read_only_mount_is_seen_from_outside(release_dir: Path, read_only: Path) -> None:
    with pytest.raises(OSError, match="Read-only"):
        (read_only / "x").touch()
    with Hold(read_only) as hold:
        assert hold.locked
        assert is_held(release_dir)
    with Hold(release_dir):
        assert is_held(read_only)
    assert not is_held(read_only)
