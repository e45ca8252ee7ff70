"""`audiorec build` and others in a process of their own, which may be killed at a chosen point of its work.

The processes are forked from one that has imported everything and done nothing: starting one takes no time.
"""

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["audiorec.build", "audiorec.publishing.edit", "audiorec.cli", "audiorec.report", "toy"])
CHANGES = {"os.rename", "os.mkdir", "os.symlink", "os.link", "os.remove", "os.rmdir", "os.chmod", "os.truncate"}
HAVE_TARGETS = {"os.rename", "os.symlink", "os.link"}  # as their second argument


@dataclass(frozen=True)
class Kill:
    """When the process kills itself: before its n-th change to the disk, or once n items of a stage are done."""

    before_change: int = 0
    stage: str = ""
    after_items: int = 0


@dataclass(frozen=True)
class Ended:
    """code: of the exit; minus the signal's number when one ended it. changes: what it did to the disk, in order."""

    code: int
    output: str
    changes: list[str]


def audiorec_build(
    audio_dir: Path, model_dir: Path, scratch: Path, kill: Kill = Kill(), *, max_file_bytes: int | None = None
) -> Ended:
    """Runs `audiorec build` with the toy encoder. scratch: a folder for what it prints."""
    options = ["--encoder", "Slopes", "--no-baselines", "--workers", "1"]
    command = ["build", str(audio_dir), str(model_dir), *options]
    return audiorec_command(command, model_dir, scratch, kill, max_file_bytes=max_file_bytes)


def audiorec_command(
    command: list[str], model_dir: Path, scratch: Path, kill: Kill = Kill(), *, max_file_bytes: int | None = None
) -> Ended:
    """Runs any command, and notes what it does to the disk in model_dir."""
    scratch.mkdir(exist_ok=True)
    for name in ("output", "changes"):
        (scratch / name).write_text("")
    process = CONTEXT.Process(target=_run, args=(command, model_dir, scratch, kill, max_file_bytes))
    process.start()
    process.join()
    assert process.exitcode is not None
    return Ended(process.exitcode, (scratch / "output").read_text(), (scratch / "changes").read_text().splitlines())


def _run(command: list[str], model_dir: Path, scratch: Path, kill: Kill, max_file_bytes: int | None) -> None:
    import torch
    from toy import Slopes

    from audiorec import cli, export
    from audiorec.commands import build, catalogue
    from audiorec.encoders import ENCODERS

    output = os.open(scratch / "output", os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    ENCODERS["Slopes"] = Slopes
    export.PARITY_BATCHES = (1, 1, 1)
    _watch_changes(model_dir, os.open(scratch / "changes", os.O_WRONLY), kill.before_change)

    def progress(items: Iterable[Any], *, stage: str, **_: Any) -> Iterator[Any]:
        for number, item in enumerate(items, start=1):
            yield item
            if stage.startswith(kill.stage) and number == kill.after_items:
                _die()

    build.progress = catalogue.progress = progress  # type: ignore[attr-defined]
    if max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, resource.RLIM_INFINITY))
    cli.app(command)


def _watch_changes(folder: Path, log: int, kill_before: int) -> None:
    """Python tells of all that opens, renames or removes: from here on, what changes the folder is written down."""
    n_changes = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal n_changes
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        path = (
            _text(arguments[1] if event in ("os.rename", "os.symlink", "os.link") else arguments[0])
            if arguments
            else ""
        )
        if (writes or event in CHANGES) and path.startswith(str(folder)):
            n_changes += 1
            if n_changes == kill_before:
                _die()
            name = str(Path(path).relative_to(folder)).replace(f"-{os.getpid()}-", "-")
            os.write(log, f"{event.removeprefix('os.')} {name}\n".encode())

    sys.addaudithook(hook)


def _text(path: Any) -> str:
    with suppress(TypeError):
        return os.fsdecode(path)
    return ""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
