"""Writing files so that nobody ever sees half of one: a temporary name beside it, then one rename."""

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from audiorec.errors import BadSetting, Busy, NoSpace

TEMPORARY_PREFIX = ".part-"
OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}  # a file stands where a folder was to be


@contextmanager
def writing_to_disk(what: str) -> Iterator[None]:
    """Turns the system's word for a full or read-only disk into NoSpace, and for a file in the way into BadSetting.

    what: what was being written, for the message.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_FOLDER:
            path = Path(error.filename or what)
            name = next((above for above in (path, *path.parents) if os.path.isfile(above)), path).name
            raise BadSetting(f"got '{name}' in or as a file, expected a folder for {what}: name another") from error
        if error.errno in OUT_OF_SPACE or error.errno is None:  # numpy's word for a short write has no number
            raise NoSpace(
                f"got '{error.strerror or error}' while writing {what}, expected room and permission: "
                "make some, then run the same command again, it goes on where it stopped"
            ) from error
        raise


@contextmanager
def replacing(path: Path, mode: str = "wb", *, durable: bool = False) -> Iterator[IO[bytes]]:
    """Opens a temporary file that takes the place of `path` when the block ends well, and vanishes when it does not.

    durable: on disk, not only in the system's memory, before it takes the place.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}"[:200])
    with writing_to_disk(path.name):
        try:
            with temporary.open(mode) as file:
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def remove_leftovers(directory: Path) -> None:
    """Deletes what `replacing` left under a directory when it was killed. Nobody may be writing there."""
    for leftover in directory.rglob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable, as fsync does for the contents of a file."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Holds a lock file for the block. Raises Busy, naming the process that holds it, instead of waiting.

    The system lets go of the lock when the process ends, however it ends.
    """
    with writing_to_disk(what):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(200).decode(errors="replace").strip() or "unknown"
            raise Busy(f"got {what} in use by another process ({holder}): wait until it ends, or stop it") from None
        with suppress(OSError):  # a full disk: who holds the lock may be about to make room
            file.truncate(0)
            file.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode())
        yield
