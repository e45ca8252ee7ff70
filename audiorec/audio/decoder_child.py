"""The child of `decoder.Decoder`: decodes what it is asked to, within its limits, until its parent is gone."""

import json
import os
import resource
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from audiorec.audio import Pcm
from audiorec.audio.decode import decode
from audiorec.audio.decoder import DecodeLimits
from audiorec.audio.wav import convert_file
from audiorec.errors import AudiorecError, BadAudio
from audiorec.files.memory import replace_content

NONE: Pcm = np.empty(0, np.int16)


def serve(limits: DecodeLimits, shared: BinaryIO) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not speak for us
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (request := requests.readline()).endswith(b"\n"):
        _allow_cpu(limits.cpu_s)
        answer, pcm = answer_to(json.loads(request), shared, limits)
        replace_content(shared, pcm.data.cast("B"))
        answers.write(json.dumps({**answer, "n_bytes": pcm.nbytes}) + "\n")
        answers.flush()


def answer_to(request: dict[str, Any], sound: BinaryIO, limits: DecodeLimits) -> tuple[dict[str, Any], Pcm]:
    """Never raises for what a file can do: whatever is wrong with it is an answer. sound: where no path is given."""
    try:
        if request["operation"] == "convert":
            return convert_file(Path(request["path"]), Path(request["wav_dir"]), max_s=limits.max_s), NONE
        pcm = decode(Path(request["path"]) if "path" in request else sound, max_s=limits.max_s)
        return ({"n_samples": len(pcm)}, NONE) if request["operation"] == "measure" else ({}, pcm)
    except AudiorecError as error:
        return _refusal(error), NONE
    except MemoryError:
        message = "got a file that needs more memory than allowed, expected less: cut it, or raise the limit"
        return _refusal(BadAudio(message, code="too_large")), NONE
    except OSError as error:
        return _refusal(BadAudio(f"got a file that cannot be read ({error.strerror})", code="unreadable")), NONE


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


def main(limits: str, shared: str) -> None:
    """limits: the fields of DecodeLimits as JSON. shared: the number of the file that the parent holds too."""
    serve(DecodeLimits(**json.loads(limits)), os.fdopen(int(shared), "r+b", buffering=0))
