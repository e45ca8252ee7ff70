"""Keeps the workers of a service alive: uvicorn's supervisor, but one that cannot start does not end the others."""

import logging
import socket
from pathlib import Path

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from audiorec.api.metric_files import give_back_room

LOG = logging.getLogger("audiorec")
RETRY_S = 2.0  # between a worker that could not start and the next


class Supervisor(Multiprocess):
    """Of a service that could never start, the first worker that cannot ends it, as with uvicorn. Once a worker has
    served, the others may well go on with what they have open while nobody can open it any more: then a worker that
    takes a dead one's place is tried again and again.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket, shared_dir: Path) -> None:
        super().__init__(config, [listener])
        self.has_served = False
        self._shared_dir = shared_dir

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
            self.processes[number] = Process(self.config, self.sockets)
            self.processes[number].start()
