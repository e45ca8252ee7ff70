"""Decoding at arm's length: a child process with limits, which a hostile or broken file may kill, and a pool of them.

The child speaks over its two pipes: a request is a line of JSON and `n_bytes` of payload, an answer the same. Nothing
that comes back is ever unpickled or evaluated. The parent ends a child that takes too long, and starts another one.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from audiorec.audio import Pcm
from audiorec.errors import AudiorecError, BadAudio, NoSpace, NotReady


@dataclass(frozen=True)
class DecodeLimits:
    """What one file may cost. A clip that needs more is refused with a reason; its neighbours are not touched."""

    max_s: float = 3600.0  # seconds of sound
    wall_s: float = 120.0  # seconds on the clock
    cpu_s: int = 90  # seconds of processor
    memory_bytes: int = 3 * 2**30  # address space of the child


CHILD = "import sys; sys.path[:] = sys.argv[2:]; from audiorec.decoder_child import main; main(sys.argv[1])"


class Decoder:
    """One child process, started at the first call and again after it died. One call at a time."""

    def __init__(self, limits: DecodeLimits) -> None:
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._starting = threading.Lock()  # a child is started before `close`, which ends it, or not at all

    def decode(self, sound: Path | bytes) -> Pcm:
        """A file, or the bytes of one, to (n_samples,) int16. Raises BadAudio."""
        request = {"path": str(sound)} if isinstance(sound, Path) else {}
        _, payload = self.call("decode", request, b"" if isinstance(sound, Path) else sound)
        return np.frombuffer(payload, np.int16)

    def call(self, operation: str, request: dict[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Runs one of the child's operations: (its answer, its payload).

        Raises what the child refused with, BadAudio when the file was the end of it, NotReady after `close`.
        """
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        overdue = threading.Event()
        watchdog = threading.Timer(self.limits.wall_s, self._end_overdue, [overdue])
        watchdog.daemon = True
        watchdog.start()
        try:
            send(process.stdin, {"operation": operation, **request}, payload)
            answer, payload = receive(process.stdout)
        except BaseException as error:  # whatever it was, what the child says next would answer the wrong question
            self._kill()
            status = process.wait()
            self._discard()
            if isinstance(error, EOFError | BrokenPipeError | ValueError):
                raise self._death(overdue.is_set(), status) from None
            raise
        finally:
            watchdog.cancel()
            watchdog.join()
        if overdue.is_set():  # it answered, but only just: the child has been killed
            self._discard()
        if "refused" in answer:
            raise ERRORS[answer["refused"]["kind"]](answer["refused"]["message"], code=answer["refused"]["code"])
        return answer, payload

    def _start(self) -> subprocess.Popen[bytes]:
        self._discard()
        one_of_each = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # address space
        with self._starting:
            if self._closed:
                raise self._closing()
            self._process = subprocess.Popen(
                # Not `-m`, which looks for modules in the current folder first: that one may be full of anything.
                [sys.executable, "-c", CHILD, json.dumps(asdict(self.limits)), *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # libmpg123 writes there what it thinks of a file
                env={**os.environ, **one_of_each},
                start_new_session=True,  # a group of its own: what it starts ends with it, and Ctrl-C is not for it
            )
            return self._process

    def _end_overdue(self, overdue: threading.Event) -> None:
        overdue.set()
        self._kill()

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

    def _kill(self) -> None:
        """Ends the child and all it started, at once. The next call starts another."""
        process = self._process
        if process is not None and process.returncode is None:  # until it is waited for, its number is not given away
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends the child, whatever it is at, and waits for its end. No other is started."""
        with self._starting:
            self._closed = True
        self._discard()

    def _discard(self) -> None:
        self._kill()
        process, self._process = self._process, None
        if process is None:
            return
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


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


def send(pipe: IO[bytes], message: dict[str, Any], payload: bytes) -> None:
    """Writes one message: a line of JSON, which states the length of the payload, and the payload."""
    pipe.write(json.dumps({**message, "n_bytes": len(payload)}).encode() + b"\n")
    pipe.write(payload)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Raises EOFError when the other side is gone, in the middle of a message too."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message = json.loads(line)
    n_bytes = message.pop("n_bytes")
    payload = pipe.read(n_bytes)
    if len(payload) < n_bytes:
        raise EOFError
    return message, payload
