"""`audiorec serve`: verifies the release once, then lets uvicorn run the workers."""

import copy
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from audiorec.errors import BadSetting, NoSpace, NotReady
from audiorec.release import open_release
from audiorec.settings import ENVIRONMENT_PREFIX, Settings

WORKER_SILENCE_S = 15  # one that says nothing for so long is killed; on a busy machine it takes some to start


def run(model_dir: Path, *, host: str, port: int, workers: int, access_log: bool) -> None:
    """Returns when the service was told to stop, and has. port: 0 takes any that is free.

    Raises BadModelDir, BadSetting and NoSpace before anything listens, NotReady when a worker could not start.
    """
    settings = Settings.load(model_dir=model_dir.absolute())
    config = uvicorn.Config(
        "audiorec.api.app:create_app",
        factory=True,
        workers=workers,
        access_log=access_log,
        log_level=settings.log_level,
        log_config=_log_config(settings.log_level),
        timeout_graceful_shutdown=settings.stop_grace_s,
        timeout_worker_healthcheck=WORKER_SILENCE_S,
    )
    with _bound(host, port) as listener, _metrics_dir() as metrics_dir:
        release = open_release(settings.model_dir, verify=True)
        print(f"release {release.name} verified: {release.manifest.catalogue.n_clips:,} clips", flush=True)
        del release
        os.environ[f"{ENVIRONMENT_PREFIX}MODEL_DIR"] = str(settings.model_dir)  # workers read the environment
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_dir  # before anything imports prometheus_client
        shown_host = f"[{host}]" if ":" in host else host
        print(f"starting on http://{shown_host}:{listener.getsockname()[1]}, Ctrl-C stops", flush=True)
        if not _serve(config, listener):
            raise NotReady("got a service that could not start, expected one that can: the lines above say why")


def _serve(config: uvicorn.Config, listener: socket.socket) -> bool:
    """Until a signal stops it. Returns False when it did not start: the worker has logged why.

    `uvicorn.run` would end with exit code 0 when no worker of several can start, and with a signal's when one is told
    to stop.
    """
    if config.workers > 1:
        supervisor = Multiprocess(config, [listener])
        supervisor.run()
        return all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)
    server = uvicorn.Server(config)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises the signal again when it has stopped
    with suppress(KeyboardInterrupt, SystemExit):
        server.run([listener])
    return server.started


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket with its address. The workers listen on it when they are ready; until then a client is refused."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise BadSetting(
                f"got host {host} and port {port}, expected an address of this machine that is free "
                f"({error.strerror}): name others by --host and --port"
            ) from None
        yield listener


@contextmanager
def _metrics_dir() -> Iterator[str]:
    """New and empty: counts of an earlier run are not ours."""
    try:
        directory = tempfile.TemporaryDirectory(prefix="audiorec-metrics-", ignore_cleanup_errors=True)
    except OSError as error:
        raise NoSpace(
            f"got '{error.strerror}' while making a folder for metrics, expected room for a few MB: "
            "name a folder that can be written to in TMPDIR"
        ) from None
    with directory as name:
        yield name


def _log_config(level: str) -> dict[str, Any]:
    """uvicorn's, with our own logger beside its own, and without a line for each form that cannot be read."""
    config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    config["loggers"]["audiorec"] = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    config["loggers"]["python_multipart"] = {"level": "ERROR"}
    return config
