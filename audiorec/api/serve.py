"""`audiorec serve`: verifies the release once, then lets uvicorn run the workers."""

import copy
import logging
import multiprocessing
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE

from audiorec.api.buckets import BUCKETS_FILE, make_buckets_file
from audiorec.api.clip_files import ClipFiles
from audiorec.api.keys import read_keys
from audiorec.api.metric_files import make_room
from audiorec.api.sighting import find, make_note
from audiorec.api.supervisor import ListeningServer, Supervisor
from audiorec.api.verifier import Verifier
from audiorec.errors import BadSetting, NoSpace, NotReady
from audiorec.files import writing_to_disk
from audiorec.release import open_release
from audiorec.settings import ENVIRONMENT_PREFIX, Settings

LOG = logging.getLogger("audiorec")
SHARED_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
MAX_OPEN_FILES = 65_536
WORKER_SILENCE_S = 15  # one that says nothing for so long is killed; on a busy machine it takes some to start


def run(
    model_dir: Path, *, host: str, port: int, workers: int, access_log: bool | None, clips_dir: Path | None = None
) -> None:
    """Returns when the service was told to stop, and has. port: 0 takes any that is free.

    Raises BadModelDir, BadSetting and NoSpace before anything listens, NotReady when a worker could not start.
    """
    said = {
        "model_dir": model_dir.absolute(),
        "clips_dir": clips_dir and clips_dir.absolute(),
        "access_log": access_log,
    }
    given = {name: value for name, value in said.items() if value is not None}
    settings = Settings.load(**given)
    if settings.clips_dir is not None:
        ClipFiles(settings.clips_dir)
    if settings.keys_file is not None:
        read_keys(settings.keys_file)
    if settings.has_generator:
        from audiorec.jobs.places import urls  # and SQLAlchemy, which only this needs

        urls(settings)
    config = uvicorn.Config(
        "audiorec.api.serve:create_worker",
        factory=True,
        workers=workers,
        http="audiorec.api.protocol:PatientProtocol",
        ws="none",
        access_log=False,  # uvicorn's has the query string in it: we have one of our own
        log_level=settings.log_level,
        log_config=_log_config(settings),
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        server_header=False,
        timeout_graceful_shutdown=settings.stop_grace_s,
        timeout_worker_healthcheck=WORKER_SILENCE_S,
    )
    _allow_many_connections()
    with _bound(host, port) as listener, _stoppable(), _shared_dir() as shared_dir:
        _verify(settings.model_dir, shared_dir)
        with writing_to_disk("what the workers share"):
            make_buckets_file(shared_dir / BUCKETS_FILE)
            make_note(shared_dir)
        for name, value in given.items():
            os.environ[f"{ENVIRONMENT_PREFIX}{name.upper()}"] = str(value)  # workers read the environment
        os.environ[SHARED_DIR_VARIABLE] = str(shared_dir)  # before anything imports prometheus_client
        shown_host = f"[{host}]" if ":" in host else host
        LOG.info("starting on http://%s:%d, Ctrl-C stops", shown_host, listener.getsockname()[1])
        with _generator(settings):
            has_served = _serve(config, listener, shared_dir)
        if not has_served:
            raise NotReady("got a service that could not start, expected one that can: the lines above say why")


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM ends the block as well, from which the server takes it over: what is temporary is deleted."""

    def stop(number: int, frame: object) -> None:
        LOG.info("told to stop before anything listens")
        sys.exit()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _generator(settings: Settings) -> Iterator[None]:
    """The process that makes sounds, where the service was given a model; the workers answer without it as well."""
    if not settings.generator_model:
        yield
        return
    from audiorec.jobs.keeper import Keeper

    keeper = Keeper(settings)
    keeper.start()
    try:
        yield
    finally:
        keeper.stop()


def _verify(model_dir: Path, shared_dir: Path) -> None:
    """What the workers are to open, so that they can do it at once. Raises BadModelDir."""
    seen = find(model_dir)
    release = open_release(model_dir / seen.target, verify=True)
    Verifier(shared_dir).vouch(repr(seen))
    LOG.info("release %s verified: %s clips", release.name, f"{release.manifest.catalogue.n_clips:,}")


def create_worker() -> FastAPI:
    """What each worker runs. One that has nowhere to count ends here, in a sentence."""
    _leave_with_supervisor()
    try:
        make_room(Path(os.environ[SHARED_DIR_VARIABLE]))
    except NoSpace as error:
        LOG.error("cannot serve: %s", error.message)
        sys.exit(STARTUP_FAILURE)
    from audiorec.api.app import create_app  # which opens the files

    return create_app()


def _leave_with_supervisor() -> None:
    """A worker whose supervisor was killed lets its requests end, as when it is told to stop: who would replace it, or
    let go of the port?
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is None:  # a service of one worker
        return

    def wait() -> None:
        supervisor.join()
        LOG.error("the process that started this worker is gone, stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=wait, name="supervisor", daemon=True).start()


def _serve(config: uvicorn.Config, listener: socket.socket, shared_dir: Path) -> bool:
    """Until a signal stops it. Returns False when it did not start: the worker has logged why.

    `uvicorn.run` would end with exit code 0 when no worker of several can start, and with a signal's when one is told
    to stop.
    """
    if config.workers > 1:
        supervisor = Supervisor(config, listener, shared_dir)
        supervisor.run()
        return supervisor.has_served or all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)
    server = ListeningServer(config)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises the signal again when it has stopped
    with suppress(KeyboardInterrupt, SystemExit):
        server.run([listener])
    return server.started


def _allow_many_connections() -> None:
    """As many as the system lets us: each is an open file, of which a process has 1,024 unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < MAX_OPEN_FILES:  # below 0: any number
        most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


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
def _shared_dir() -> Iterator[Path]:
    """For what all workers count: new and empty, since counts of an earlier run are not ours."""
    try:
        directory = tempfile.TemporaryDirectory(prefix="audiorec-serve-", ignore_cleanup_errors=True)
    except OSError as error:
        raise NoSpace(
            f"got '{error.strerror}' while making a folder for what the workers share, expected room for a few MB: "
            "name a folder that can be written to in TMPDIR"
        ) from None
    with directory as name:
        yield Path(name)


def _log_config(settings: Settings) -> dict[str, Any]:
    """uvicorn's, with our own logger beside its own, and without a line for each form that cannot be read."""
    config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    if settings.log_format == "json":
        config["formatters"]["default"] = {"()": "audiorec.json_log.JsonFormatter"}
    level = settings.log_level.upper()
    for name, least in (("audiorec", level), ("opentelemetry", "WARNING")):
        config["loggers"][name] = {"handlers": ["default"], "level": least, "propagate": False}
    config["loggers"]["python_multipart"] = {"level": "ERROR"}
    return config
