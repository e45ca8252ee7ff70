"""Keeps the workers of a service alive: uvicorn's supervisor, but one that cannot start does not end the others."""

import logging
import socket
import sys
from contextlib import suppress
from pathlib import Path

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from audiorec.api.metric_files import give_back_room

LOG = logging.getLogger("audiorec")
RETRY_S = 2.0  # between a worker that could not start and the next


class ListeningServer(uvicorn.Server):
    """uvicorn's in a worker. Its event loop does not say so when it cannot listen, and waits for clients for ever."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        with suppress(OSError):  # another loop than uvloop does say so
            await super().startup(sockets)
        if not all(map(_listens, sockets or ())):
            self.started = False
            LOG.error(
                "cannot serve: got a port that another service listens on since this one began to start, expected one "
                "that is free: name another by --port"
            )
            await self.lifespan.shutdown()
            sys.exit(STARTUP_FAILURE)


def _listens(one: socket.socket) -> bool:
    try:
        return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:  # closed, which is all that uvloop does about it
        return False


class Worker(Process):
    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = ListeningServer(self.config)
        return self._server


class Supervisor(Multiprocess):
    """Of a service that could never start, the first worker that cannot ends it, as with uvicorn. Once a worker has
    served, the others may well go on with what they have open while nobody can open it any more: then a worker that
    takes a dead one's place is tried again and again.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket, shared_dir: Path) -> None:
        super().__init__(config, [listener])
        self.has_served = False
        self._shared_dir = shared_dir

    def init_processes(self) -> None:
        self.processes += [Worker(self.config, self.sockets) for _ in range(self.processes_num)]
        for process in self.processes:
            process.start()

    def keep_subprocess_alive(self) -> None:
        for number, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if process.is_alive(timeout=self.config.timeout_worker_healthcheck):
                self.has_served = self.has_served or process.is_ready(timeout=self.config.timeout_worker_healthcheck)
                continue
            process.kill()  # it may hang
            process.join()
            assert process.pid is not None
            give_back_room(self._shared_dir, process.pid)
            if process.exitcode == STARTUP_FAILURE:
                if not self.has_served:
                    self.should_exit.set()
                    return
                LOG.error("a worker could not start, the others serve on; trying again in %g s", RETRY_S)
                self.should_exit.wait(RETRY_S)
            else:
                LOG.warning("worker %d died, starting another", process.pid)
            self.processes[number] = Worker(self.config, self.sockets)
            self.processes[number].start()
