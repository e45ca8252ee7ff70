"""The child of `decoder.Decoder`: decodes what it is asked to, within its limits, until its parent is gone."""

import json
import os
import resource
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from audiorec.decode import decode
from audiorec.decoder import DecodeLimits, receive, send
from audiorec.errors import AudiorecError, BadAudio
from audiorec.wav import convert_file


def serve(limits: DecodeLimits) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not speak for us
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            request, payload = receive(requests)
        except EOFError:
            return
        _allow_cpu(limits.cpu_s)
        answer, produced = answer_to(request, payload, limits)
        send(answers, answer, produced)


def answer_to(request: dict[str, Any], payload: bytes, limits: DecodeLimits) -> tuple[dict[str, Any], bytes]:
    """Never raises for what a file can do: whatever is wrong with it is an answer."""
    try:
        if request["operation"] == "convert":
            return convert_file(Path(request["path"]), Path(request["wav_dir"]), max_s=limits.max_s), b""
        sound = Path(request["path"]) if "path" in request else payload
        pcm = decode(sound, max_s=limits.max_s)
        if request["operation"] == "measure":
            return {"n_samples": len(pcm)}, b""
        return {}, pcm.tobytes()
    except AudiorecError as error:
        return _refusal(error), b""
    except MemoryError:
        message = "got a file that needs more memory than allowed, expected less: cut it, or raise the limit"
        return _refusal(BadAudio(message, code="too_large")), b""
    except OSError as error:
        return _refusal(BadAudio(f"got a file that cannot be read ({error.strerror})", code="unreadable")), b""


def _end_with_parent() -> None:
    """In the middle of a file too, and with the ffmpeg that may be at work on it."""
    parent = select.poll()
    parent.register(sys.stdin.fileno(), 0)  # that the other end was closed is always reported
    parent.poll()
    os.killpg(0, signal.SIGKILL)


def _allow_cpu(cpu_s: int) -> None:
    """The limit counts from the start of the process: set it anew for each file."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + cpu_s + 1, hard))


def _refusal(error: AudiorecError) -> dict[str, Any]:
    return {"refused": {"kind": type(error).__name__, "code": error.code, "message": error.message}}


def main(limits: str) -> None:
    """limits: the fields of DecodeLimits as JSON."""
    serve(DecodeLimits(**json.loads(limits)))
