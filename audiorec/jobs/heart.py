"""A maker's sign of life: a thread that renews its lease, tells where its job is, and hears whether to go on."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from audiorec.errors import AudiorecError
from audiorec.generate.facts import Facts
from audiorec.generate.generator import Cancelled
from audiorec.jobs.job import Lease, Stage
from audiorec.jobs.leases import Leases
from audiorec.jobs.roster import Makers

LOG = logging.getLogger("audiorec")
TELL_S = 0.5  # how soon a step is told, and a cancellation heard
ROSTER_S = 15.0  # how often an idle maker says that it is there
EXIT_HUNG = 70  # of a process that has ended itself


class Heart:
    """For one process that makes sounds. Costs a small write each half second while a job is under way."""

    def __init__(self, leases: Leases, makers: Makers, name: str, *, lease_s: float, max_job_s: float) -> None:
        """max_job_s: a job that takes longer has failed, and the process ends, since nothing else can stop it."""
        self.is_cancelled = self.is_lost = False
        self.stop = threading.Event()  # the process is to end: a job under way goes back into the queue
        self._leases = leases
        self._makers = makers
        self._name = name
        self._renew_s = min(1.0, lease_s / 4)
        self._is_heard = True
        self._max_job_s = max_job_s
        self._lease: Lease | None = None
        self._told: tuple[Stage, int, int] = ("", 0, 0)
        self._stage: tuple[Stage, int, int] = ("", 0, 0)
        self._begun_s = self._renewed_s = 0.0
        self._seen_s = -ROSTER_S
        self._ended = threading.Event()
        self._wake = threading.Lock()  # between the thread that works and the one that tells
        self._thread = threading.Thread(target=self._beat_on, name="heart", daemon=True)

    def start(self, facts_of: Callable[[], Facts]) -> None:
        """facts_of: the generator's, as they are when it is called. Raises JobsUnavailable."""
        self._facts_of = facts_of
        self._say_that_we_are_here()
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    @contextmanager
    def beating_for(self, lease: Lease) -> Iterator[None]:
        with self._wake:
            self.is_cancelled = self.is_lost = False
            self._told = self._stage = ("", 0, 0)
            self._begun_s = self._renewed_s = time.monotonic()
            self._lease = lease
        try:
            yield
        finally:
            with self._wake:
                self._lease = None

    @property
    def n_steps(self) -> int:
        """Of the job under way, as far as it told."""
        return self._stage[2]

    def on_stage(self, stage: Stage) -> None:
        """Raises Cancelled."""
        self.on_step(self._stage[1], self._stage[2], stage)

    def on_step(self, step: int, n_steps: int, stage: Stage = "generate") -> None:
        """For `Generator.generate`. Raises Cancelled when nobody wants the sound, or not from this process."""
        self._stage = (stage, step, n_steps)
        if self.is_cancelled or self.is_lost or self.stop.is_set():
            raise Cancelled

    def _beat_on(self) -> None:
        while not self._ended.wait(TELL_S):
            self._beat_once()

    def _beat_once(self) -> None:
        try:
            with self._wake:
                self._beat()
            self._say_that_we_are_here()
            self._is_heard = True
        except AudiorecError as error:
            if self._is_heard:  # once is enough
                LOG.warning("cannot say where the job is: %s", error.message)
            self._is_heard = False

    def _beat(self) -> None:
        lease, stage, now_s = self._lease, self._stage, time.monotonic()
        if lease is None:
            return
        if now_s - self._begun_s > self._max_job_s:
            self._give_up(lease)
        if stage != self._told or now_s - self._renewed_s >= self._renew_s:  # which also asks: is it still wanted?
            beat = self._leases.beat(lease, *stage)
            self.is_cancelled, self.is_lost = beat.is_cancelled, beat.is_lost
            self._told, self._renewed_s = stage, now_s

    def _say_that_we_are_here(self) -> None:
        if time.monotonic() - self._seen_s >= ROSTER_S:
            self._seen_s = time.monotonic()
            self._makers.tell(self._name, "ready", facts=self._facts_of())

    def _give_up(self, lease: Lease) -> None:
        LOG.error("a job takes longer than %g s and does not end between two steps: this process ends", self._max_job_s)
        with suppress(AudiorecError):
            self._leases.fail(
                lease,
                "too_slow",
                f"got a sound that was not done after {self._max_job_s:g} s, expected it sooner: ask for fewer seconds "
                "or steps",
            )
        os._exit(EXIT_HUNG)
