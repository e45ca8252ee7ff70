"""Nobody ever sees half a file, a full disk is said in a sentence, and one process at a time writes."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from audiorec.errors import BadSetting, Busy, NoSpace
from audiorec.files import locked, remove_leftovers, replacing, sha256_of, sync_directory, writing_to_disk


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_is_replaced_at_the_end_of_the_block(before: bytes | None, durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    with replacing(path, durable=durable) as file:
        file.write(b"new")
        file.flush()
        assert (path.read_bytes() if path.exists() else None) == before
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["file"])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_what_was_there(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["file"])


def test_durable_means_on_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").read_bytes()))
    with replacing(tmp_path / "quick") as file:
        file.write(b"quick")
    with replacing(tmp_path / "durable", durable=True) as file:
        file.write(b"durable")
    assert synced == [b"durable"]


def test_a_name_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    with replacing(path) as file:
        file.write(b"new")
    assert names(tmp_path) == [path.name]


def test_a_killed_writer_leaves_the_old_file_and_something_to_sweep_up(tmp_path: Path) -> None:
    path = tmp_path / "deep/file"
    path.parent.mkdir()
    path.write_bytes(b"old")
    program = "import os, sys, pathlib; from audiorec.files import replacing\n" + (
        "with replacing(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == -9
    assert path.read_bytes() == b"old"
    assert len(names(path.parent)) == 2
    remove_leftovers(tmp_path)
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENOSPC, NoSpace, "got 'No space left on device' while writing the index, expected room and permission"),
        (errno.EDQUOT, NoSpace, "got 'Disk quota exceeded' while writing the index"),
        (errno.EROFS, NoSpace, "got 'Read-only file system' while writing the index"),
        (errno.EACCES, NoSpace, "got 'Permission denied' while writing the index"),
        (errno.EFBIG, NoSpace, "got 'File too large' while writing the index"),
        (errno.ENOTDIR, BadSetting, "got 'b' in or as a file, expected a folder for the index"),
        (errno.EEXIST, BadSetting, "got 'b' in or as a file, expected a folder for the index"),
        (errno.EIO, OSError, "Input/output error"),
        (errno.ENOENT, FileNotFoundError, "No such file"),
    ],
)
def test_what_the_system_says_of_a_disk(number: int, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as raised, writing_to_disk("the index"):
        raise OSError(number, os.strerror(number), "/secret/a/b")
    if kind is not OSError and kind is not FileNotFoundError:
        assert "secret" not in str(raised.value)


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadSetting, match="got 'file' in or as a file, expected a folder"), writing_to_disk("it"):
        (tmp_path / "file").mkdir(exist_ok=True)
    for lock in (tmp_path / "file" / "lock", tmp_path / "file" / "work" / "lock"):
        with (
            pytest.raises(BadSetting, match="got 'file' in or as a file, expected a folder for the model directory"),
            locked(lock, "the model directory"),
        ):
            pytest.fail("there is no such folder")


def test_a_folder_that_may_not_be_written(unprivileged_dir: Path) -> None:
    (unprivileged_dir / "file").write_bytes(b"old")
    unprivileged_dir.chmod(0o500)
    with pytest.raises(NoSpace, match="'Permission denied' while writing file"), replacing(unprivileged_dir / "file"):
        pytest.fail("it was opened")
    with (
        pytest.raises(NoSpace, match="'Permission denied' while writing the run"),
        locked(unprivileged_dir / "lock", "the run"),
    ):
        pytest.fail("it was locked")
    assert (unprivileged_dir / "file").read_bytes() == b"old"


def test_a_lock_keeps_out_and_says_who_holds_it(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "lock"
    with locked(lock, "the folder"):
        with (
            pytest.raises(Busy, match=rf"got the folder in use by another process \(process {os.getpid()}, since 20"),
            locked(lock, "the folder"),
        ):
            pytest.fail("two have it")
        assert f"process {os.getpid()}" in lock.read_text()
    with locked(lock, "the folder"):
        assert lock.read_text().count("process") == 1


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_lock_is_let_go_however_its_holder_ends(end: str, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    program = "import pathlib, sys, time; from audiorec.files import locked\n" + (
        "with locked(pathlib.Path(sys.argv[1]), 'it'):\n    print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, lock], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(Busy, match=f"process {holder.pid}, since"), locked(lock, "it"):
            pytest.fail("two have it")
        getattr(holder, end)()
    with locked(lock, "it"):
        assert f"process {os.getpid()}" in lock.read_text()


def test_a_lock_file_of_somebody_else(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_bytes(b"\xff\xfe\0garbage" * 100)
    with locked(lock, "it"), pytest.raises(Busy, match=f"process {os.getpid()}"), locked(lock, "it"):
        pytest.fail("two have it")


@pytest.mark.parametrize("n_bytes", [0, 1, 2**20, 2**20 + 1])
def test_sha256(n_bytes: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * n_bytes)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"x" * n_bytes).hexdigest()


def test_a_directory_can_be_synced(tmp_path: Path) -> None:
    sync_directory(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "missing")
