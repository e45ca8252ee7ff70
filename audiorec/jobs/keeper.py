"""Keeps a process that makes sounds alive: started again when it dies, after a pause that grows, stopped with us."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from audiorec.errors import BadSetting
from audiorec.json_log import JsonFormatter
from audiorec.settings import ENVIRONMENT_PREFIX, Settings

LOG = logging.getLogger("audiorec")
CHILD = "import sys; sys.path[:] = sys.argv[2:]; from audiorec.jobs.process import main; main(sys.argv[1])"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
LIVED_S = 120.0  # a process that lived so long was well: the next pause is short again
STOP_S = 30.0  # between two steps it hears that it is to stop; after that it is killed
NOT_FOR_IT = ("PROMETHEUS_MULTIPROC_DIR",)  # it counts in the table of jobs


class Keeper:
    """One process at a time. `run` until `stop`, in a thread or not."""

    def __init__(self, settings: Settings) -> None:
        """The process reads its settings from our environment."""
        self.exit_code = 0  # of the last process, as a program's
        self._settings = settings
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()  # a process is started before `stop`, which ends it, or not at all
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """`run` in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="keeper", daemon=True)
        self._thread.start()

    def run(self, *, gives_up: bool = False) -> None:
        """Returns after `stop`; with `gives_up` also when the first process refuses to begin, and says why."""
        pause_s, before = FIRST_PAUSE_S, ""
        while (name := self._start(before)) is not None:
            assert self._process is not None
            start_s = time.monotonic()
            self.exit_code = self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
            if self._stopping.is_set() or (gives_up and self.exit_code > 0 and not before):
                return
            if time.monotonic() - start_s > LIVED_S:
                pause_s = FIRST_PAUSE_S
            LOG.warning("the generator ended with status %d, starting another in %g s", self.exit_code, pause_s)
            self._stopping.wait(pause_s)
            pause_s, before = min(2 * pause_s, LONGEST_PAUSE_S), name

    def stop(self) -> None:
        """What it makes goes back into the queue, for whoever comes next. A second call does nothing."""
        with self._starting:
            self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._thread is not None:
            self._thread.join()

    def _start(self, before: str) -> str | None:
        """Starts a process. Returns its name as a maker, None after `stop`. before: the name of the one that died."""
        name = f"{socket.gethostname()[:60]} {os.getpid()} {os.urandom(8).hex()}"
        threads = str(self._settings.generator_threads)
        environment = {
            **{key: value for key, value in os.environ.items() if key not in NOT_FOR_IT},
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads),
        }
        with self._starting:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(
                [sys.executable, "-c", CHILD, json.dumps({"name": name, "before": before}), *sys.path],
                stdin=subprocess.PIPE,  # which ends when we do, however we do
                env=environment,
                start_new_session=True,  # Ctrl-C is for us: we tell it
            )
        return name


def set_up_log(settings: Settings) -> None:
    """Of a process that is no server: in the format of the service, so that both can go into one file."""
    handler = logging.StreamHandler()
    is_json = settings.log_format == "json"
    handler.setFormatter(JsonFormatter() if is_json else logging.Formatter("%(levelname)s:     %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(settings.log_level.upper())
    LOG.propagate = False


def keep(model_dir: Path, *, model: str | None, device: str | None) -> int:
    """Keeps a process that makes sounds until a signal stops us. Returns the exit code, 0 for a good end.

    Raises BadSetting.
    """
    given = {"model_dir": model_dir.absolute(), "generator_model": model, "generator_device": device}
    given = {name: value for name, value in given.items() if value is not None}
    settings = Settings.load(**given)
    if not settings.generator_model:
        raise BadSetting(
            "got nothing for AUDIOREC_GENERATOR_MODEL, expected a directory or a hub id: or name it by --model"
        )
    for name, value in given.items():
        os.environ[f"{ENVIRONMENT_PREFIX}{name.upper()}"] = str(value)  # which the process reads
    set_up_log(settings)
    keeper = Keeper(settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        keeper.run(gives_up=True)
    except KeyboardInterrupt:
        keeper.stop()
        return 0
    return keeper.exit_code
