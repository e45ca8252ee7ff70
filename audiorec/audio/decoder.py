"""Decoding at arm's length: a child process with limits, which a hostile or broken file may kill, and a pool of them.

A request is a line of JSON on one pipe, an answer one on another. The bytes of a sound go to the child, and its samples
come back, in a file without a name that both hold. Nothing that comes back is ever unpickled or evaluated, or believed
to be as long as it says. The parent ends a child that takes too long, and starts another one.
"""

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

import numpy as np

from audiorec.audio import SAMPLE_RATE_HZ, Pcm
from audiorec.errors import AudiorecError, BadAudio, NoSpace, NotReady
from audiorec.files.memory import memory_file, read_content, replace_content

PCM_BYTES_PER_S = 2 * SAMPLE_RATE_HZ
MAX_LINE_BYTES = 2**20
KEPT_BYTES = 2**22  # of the shared file between calls: memory that need not be had anew
LOOK_S = 0.1  # how soon it is noticed that nobody wants an answer any more
RESTART_S = 1.0  # what another child takes to start: an answer that may come sooner is waited for all the same


@dataclass(frozen=True)
class DecodeLimits:
    """What one file may cost. A clip that needs more is refused with a reason; its neighbours are not touched."""

    max_s: float = 3600.0  # seconds of sound
    wall_s: float = 120.0  # seconds on the clock
    cpu_s: int = 90  # seconds of processor
    memory_bytes: int = 3 * 2**30  # address space of the child


class GivenUpError(Exception):
    """Nobody wanted the answer any more."""


def always() -> bool:
    return True


class Decoder:
    """One child process, started at the first call and again after it died. One call at a time."""

    def __init__(self, limits: DecodeLimits) -> None:
        self.limits = limits
        self._child: _Child | None = None
        self._closed = False
        self._starting = threading.Lock()  # a child is started before `close`, which ends it, or not at all
        self._calling = threading.Lock()

    def decode(self, sound: Path | bytes, wanted: Callable[[], bool] = always) -> Pcm:
        """A file, or the bytes of one, to (n_samples,) int16. Raises as `call` does."""
        if isinstance(sound, Path):
            return self.call("decode", {"path": str(sound)}, wanted=wanted)[1]
        return self.call("decode", {}, sound, wanted)[1]

    def call(
        self, operation: str, request: dict[str, Any], sound: bytes = b"", wanted: Callable[[], bool] = always
    ) -> tuple[dict[str, Any], Pcm]:
        """Runs one of the child's operations: (its answer, the clip where it gives one).

        Raises what the child refused with, BadAudio when the file was the end of it, NotReady after `close`,
        GivenUpError, and ends the child, once `wanted` is false.
        """
        with self._calling:
            child = self._child
            if child is None or child.process.poll() is not None:
                child = self._start()
            try:
                child.ask({"operation": operation, **request}, sound)
                answer = child.answer(self.limits.wall_s, wanted)
                pcm = child.pcm(answer.pop("n_bytes"), self.limits.max_s)
                refusal = _refusal(answer)
            except BaseException as error:  # whatever it was, what the child says next would answer the wrong question
                status = self._discard()
                if isinstance(error, EOFError | TimeoutError | BrokenPipeError | LookupError | TypeError | ValueError):
                    raise self._death(isinstance(error, TimeoutError), status) from None
                raise
        if refusal is not None:
            raise refusal
        return answer, pcm

    def _start(self) -> "_Child":
        self._discard()
        with self._starting:
            if self._closed:
                raise self._closing()
            self._child = _Child(self.limits)
            return self._child

    def _closing(self) -> AudiorecError:
        return NotReady("got a file for a decoder that is closed, expected none any more: try again later")

    def _death(self, overdue: bool, status: int) -> AudiorecError:
        if self._closed:
            return self._closing()
        if overdue or status == -signal.SIGXCPU:
            limit = f"{self.limits.wall_s:g} s" if overdue else f"{self.limits.cpu_s} s of processor time"
            return BadAudio(
                f"got a file that takes more than {limit} to decode, expected less: cut it, or raise the limit",
                code="decode_timeout",
            )
        return BadAudio(
            f"got a file that made the decoder stop (status {status}), expected sound: write the file again",
            code="decoder_crashed",
        )

    def close(self) -> None:
        """Ends the child, whatever it is at, and waits for its end. No other is started."""
        with self._starting:
            self._closed = True
            if self._child is not None:
                self._child.kill()
        with self._calling:
            self._discard()

    def _discard(self) -> int:
        """Ends the child. Returns its exit status, 0 where there was none. The next call starts another."""
        child, self._child = self._child, None
        return 0 if child is None else child.bury()


CHILD = "import sys; sys.path[:] = sys.argv[3:]; from audiorec.audio.decoder_child import main; main(*sys.argv[1:3])"


class _Child:
    """A process, the pipes to it, and the file that both hold."""

    def __init__(self, limits: DecodeLimits) -> None:
        one_of_each = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # address space
        self._shared = memory_file()
        self.process = subprocess.Popen(
            # Not `-m`, which looks for modules in the current folder first: that one may be full of anything.
            [sys.executable, "-c", CHILD, json.dumps(asdict(limits)), str(self._shared.fileno()), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libmpg123 writes there what it thinks of a file
            env={**os.environ, **one_of_each},
            pass_fds=[self._shared.fileno()],
            start_new_session=True,  # a group of its own: what it starts ends with it, and Ctrl-C is not for it
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._requests, self._answers = self.process.stdin, self.process.stdout

    def ask(self, request: dict[str, Any], sound: bytes) -> None:
        """Raises BrokenPipeError when it is gone. Does not wait: a request is shorter than what a pipe holds."""
        replace_content(self._shared, sound)
        os.write(self._requests.fileno(), json.dumps(request).encode() + b"\n")

    def answer(self, wall_s: float, wanted: Callable[[], bool]) -> dict[str, Any]:
        """Raises EOFError, ValueError, TimeoutError, GivenUpError."""
        begun_s = monotonic()
        descriptor, line = self._answers.fileno(), b""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not line.endswith(b"\n"):
            taken_s = monotonic() - begun_s
            if taken_s >= wall_s:
                raise TimeoutError
            if taken_s > RESTART_S and not wanted():
                raise GivenUpError
            if poll.poll(min(wall_s - taken_s, LOOK_S) * 1e3):
                part = os.read(descriptor, MAX_LINE_BYTES)
                line += part
                if not part or len(line) > MAX_LINE_BYTES:
                    raise EOFError
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise ValueError
        return answer

    def pcm(self, n_bytes: int, max_s: float) -> Pcm:
        """A copy of what stands in the shared file, which the child may still change. Raises EOFError, and TypeError or
        ValueError for a number that cannot be.
        """
        if not 0 <= n_bytes <= max_s * PCM_BYTES_PER_S:
            raise EOFError
        samples = read_content(self._shared, n_bytes)
        if len(samples) < n_bytes:
            raise EOFError
        if n_bytes > KEPT_BYTES:
            replace_content(self._shared, b"")
        return np.frombuffer(samples, np.int16)

    def kill(self) -> None:
        """Ends the child and all it started, at once."""
        if self.process.returncode is None:  # until it is waited for, its number is not given away
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def bury(self) -> int:
        """Kills the child, waits for its end, closes what led to it. Returns its exit status."""
        self.kill()
        status = self.process.wait()
        for file in (self._requests, self._answers, self._shared):
            file.close()
        return status


class DecoderPool:
    """`n_decoders` children for any number of threads. Each call waits for a free one."""

    def __init__(self, n_decoders: int, limits: DecodeLimits) -> None:
        self._all = [Decoder(limits) for _ in range(n_decoders)]
        self._free: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for decoder in self._all:
            self._free.put(decoder)

    @contextmanager
    def borrowed(self) -> Iterator[Decoder]:
        decoder = self._free.get()
        try:
            yield decoder
        finally:
            self._free.put(decoder)

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for decoder in self._all:
            decoder.close()


ERRORS = {"AudiorecError": AudiorecError, "BadAudio": BadAudio, "NoSpace": NoSpace}


def _refusal(answer: dict[str, Any]) -> AudiorecError | None:
    """Raises LookupError, TypeError for one that cannot be read."""
    if "refused" not in answer:
        return None
    refused = answer["refused"]
    return ERRORS[refused["kind"]](str(refused["message"]), code=str(refused["code"]))
