"""Who uses a release: a lock on its manifest.json that many may share, so that it is not deleted under them.

The file is opened for reading only: a release on a read-only mount can be held too, and whoever deletes, in another
container of the same machine, sees it. The system lets go when a process ends, however it ends. On a file system that
carries no such locks nothing can be held, and nothing is taken for free.
"""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from audiorec.errors import BadModelDir
from audiorec.release.manifest import MANIFEST_FILE

PATIENCE_S = 1.0  # whoever asks whether a release is held locks it for microseconds
PAUSE_S = 0.005


class Hold:
    """A release that this process uses: until `release()`, the end of a `with` block, or the end of the process.

    A forked child shares the hold: it lasts until both let go. Two holds on one release are two, in one process too.
    locked: False on a file system without such locks, where a release must be kept by hand.
    Raises BadModelDir for a release that is gone, or is being deleted at this moment.
    """

    _descriptor = -1

    def __init__(self, release_dir: Path) -> None:
        self.release_dir = release_dir
        self._descriptor = _opened(release_dir)
        try:
            is_had = self._wait()
            if is_had is False or not self._is_in_place():
                raise _gone(release_dir)
        except BaseException:
            self.release()
            raise
        self.locked = is_had is True

    def _wait(self) -> bool | None:
        """As `_try_lock`, with patience."""
        deadline = time.monotonic() + PATIENCE_S
        while (is_had := _try_lock(self._descriptor, fcntl.LOCK_SH)) is False and time.monotonic() < deadline:
            time.sleep(PAUSE_S)
        return is_had

    def _is_in_place(self) -> bool:
        """Whether the file has its name still: a release that is deleted is moved away first."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.release_dir / MANIFEST_FILE))
        except OSError:
            return False

    def release(self) -> None:
        """Lets go; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> "Hold":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


class Exclusive:
    """A release that nobody else can begin to hold until the end of the `with` block; `is_held`: somebody does already.

    Raises BadModelDir when it is gone.
    """

    def __init__(self, release_dir: Path) -> None:
        self._descriptor = _opened(release_dir)
        self.is_held = not _try_lock(self._descriptor, fcntl.LOCK_EX)  # without locks nobody knows: then it may be

    def __enter__(self) -> "Exclusive":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._descriptor)


def is_held(release_dir: Path) -> bool:
    """Whether any process holds a release, this one too. Raises BadModelDir when it is gone."""
    with Exclusive(release_dir) as exclusive:
        return exclusive.is_held


def _try_lock(descriptor: int, kind: int) -> bool | None:
    """Whether the lock was had at once; None on a file system that has none."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _opened(release_dir: Path) -> int:
    try:
        return os.open(release_dir / MANIFEST_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise _gone(release_dir) from None


def _gone(release_dir: Path) -> BadModelDir:
    return BadModelDir(
        f"got the release {release_dir.name}, which is not there any more, expected one that is kept: "
        "open the model directory again"
    )
