"""A release verified whole before a worker opens it: in a process of its own, once for all workers of a service."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from audiorec.errors import AudiorecError, BadModelDir, NoSpace, NotReady
from audiorec.files import replacing
from audiorec.release import Release

CHILD = "import sys; sys.path[:] = sys.argv[2:]; from audiorec.api.verifier import main; main(sys.argv[1])"
VERDICT_FILE = "verified.json"
REFUSED = 3  # the child's exit code
NICENESS = 10  # those who wait for answers come first
TURN_S = 0.1  # how often a worker looks whether another is done


class Verifier:
    """One a worker. Nothing that a damaged release does to the process that reads it reaches the worker."""

    def __init__(self, shared_dir: Path | None) -> None:
        """shared_dir: a folder of all workers: the first to verify a release leaves its verdict there."""
        self._shared_dir = shared_dir
        self._process: subprocess.Popen[str] | None = None
        self._starting = threading.Lock()  # a child is started before `close`, which ends it, or not at all
        self._closed = threading.Event()

    def verify(self, directory: Path, state: str) -> None:
        """Takes as long as reading every byte of the release; for threads.

        state: what its files look like from outside. A verdict holds for as long as that is the same.
        Raises BadModelDir; NotReady after `close`, and when the system has killed the process that verifies.
        """
        if self._shared_dir is None:
            refusal = self._refusal(directory)
        else:
            with self._turn(self._shared_dir / "verifying"):
                refusal = self._known_refusal(self._shared_dir / VERDICT_FILE, directory, state)
        if refusal:
            raise BadModelDir(refusal)

    def vouch(self, state: str) -> None:
        """Notes what was verified elsewhere, and need not be once more."""
        if self._shared_dir is not None:
            _note(self._shared_dir / VERDICT_FILE, {"state": state, "refusal": ""})

    def close(self) -> None:
        """Ends what is under way, and `verify` with it."""
        with self._starting:
            self._closed.set()
        if self._process is not None:
            self._process.kill()

    @contextmanager
    def _turn(self, path: Path) -> Iterator[None]:
        with path.open("a") as file:
            while not _locked(file.fileno()):
                if self._closed.wait(TURN_S):
                    raise _closing()
            yield

    def _known_refusal(self, path: Path, directory: Path, state: str) -> str:
        verdict = json.loads(path.read_bytes()) if path.exists() else {}
        if verdict.get("state") != state:
            verdict = {"state": state, "refusal": self._refusal(directory)}
            _note(path, verdict)
        return str(verdict["refusal"])

    def _refusal(self, directory: Path) -> str:
        """Why the release cannot be served; empty when it can."""
        with self._starting:
            if self._closed.is_set():
                raise _closing()
            process = self._process = subprocess.Popen(
                [sys.executable, "-c", CHILD, str(directory), *sys.path],  # not `-m`: see `Decoder`
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is not for it
            )
        told, traceback = process.communicate()
        if self._closed.is_set():
            raise _closing()
        if process.returncode in (0, REFUSED):
            return told.strip()
        if process.returncode == -signal.SIGKILL:  # nothing in a release does that, a system without memory does
            raise NotReady(
                "got the process that verified the release killed, expected it to end: give the service more memory"
            )
        error = traceback.strip().rpartition("\n")[2].partition(":")[0] or f"exit status {process.returncode}"
        return f"got {error} from the process that verified the release, expected a clean end: build it again"


def main(directory: str) -> None:
    """What the child does: prints why it refuses a release."""
    os.nice(NICENESS)
    try:
        Release(Path(directory)).verify()
    except AudiorecError as error:
        print(error.message)
        sys.exit(REFUSED)
    except OSError as error:
        print(f"got '{error.strerror}' while reading the release, expected files that can be read: copy it again")
        sys.exit(REFUSED)


def _note(path: Path, verdict: dict[str, str]) -> None:
    with suppress(NoSpace), replacing(path) as file:  # without it the others verify the release as well
        file.write(json.dumps(verdict).encode())


def _locked(descriptor: int) -> bool:
    """True also on a file system without locks: there every worker verifies the release."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _closing() -> NotReady:
    return NotReady("got a release to verify while the service stops, expected none any more")
