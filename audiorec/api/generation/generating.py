"""What the routes of jobs stand on: the table and the store, opened when they can be, asked in threads of their own."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Literal, TypeVar

from prometheus_client.metrics_core import Metric

from audiorec.api.generation.exposition import job_metrics
from audiorec.api.generation.watch import JobWatch, Seen
from audiorec.errors import JobsUnavailable, NoGenerator
from audiorec.generate.facts import Facts
from audiorec.generate.prompt import Prompt, result_key
from audiorec.jobs.estimate import Paces
from audiorec.jobs.job import Caller, Job, Wishes
from audiorec.jobs.limits import any_facts, granted, limits_of
from audiorec.jobs.places import Places, open_places, urls
from audiorec.jobs.roster import Roster
from audiorec.settings import Settings

LOG = logging.getLogger("audiorec")
T = TypeVar("T")
N_THREADS = 4
SHOWN_LIMITS = ("prompt_characters", "s", "steps", "queued", "per_caller")
ROSTER_S = 1.0  # how long what is known of the makers is good
GeneratorState = Literal["ready", "starting", "broken", "unavailable"]


class Generating:
    """One a worker. It imports no torch, and loads no model."""

    def __init__(self, settings: Settings) -> None:
        """Raises BadSetting."""
        urls(settings)
        self.settings = settings
        self._limits = limits_of(settings)
        self.watch = JobWatch(self._look)
        self._threads = ThreadPoolExecutor(N_THREADS, "jobs")
        self._opening = asyncio.Lock()
        self._places: Places | None = None
        self._roster: tuple[float, Roster] | None = None

    async def open(self) -> None:
        """A database that does not answer is no reason not to start. Raises BadSetting, NoSpace."""
        try:
            await self.places()
        except JobsUnavailable as error:
            LOG.warning("no sounds can be asked for yet: %s", error.message)

    async def close(self) -> None:
        await self.watch.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._places is not None:
            self._places.close()

    async def places(self) -> Places:
        """Raises JobsUnavailable."""
        async with self._opening:
            if self._places is None:
                self._places = await self.run(lambda: open_places(self.settings))
            return self._places

    async def run(self, ask: Callable[[], T]) -> T:
        """What may wait for a database or a store, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    async def submit(self, prompt: Prompt, wishes: Wishes, caller: Caller, release_id: str) -> Job:
        """Raises BadQuery, NoGenerator, QueueFull, NoSpace, JobsUnavailable."""
        roster = await self.roster()
        if roster.trouble is not None:
            raise NoGenerator(
                "got a generator that cannot be loaded, expected one that can: the log says why, to the operator",
                code="generator_broken",
            )
        filled = granted(prompt, roster.facts or any_facts(prompt), self._limits)
        key = result_key(filled, roster.facts) if roster.facts else None
        places = await self.places()

        def add() -> Job:
            places.sounds.check_room()
            return places.queue.submit(
                filled if roster.facts else prompt, wishes, caller, key=key, release_id=release_id
            )

        return await self.run(add)

    async def find(self, job_id: str, caller: Caller) -> Job:
        """Raises UnknownJob, JobsUnavailable."""
        places = await self.places()
        return await self.run(lambda: places.queue.find(job_id, caller))

    async def cancel(self, job_id: str, caller: Caller) -> Job:
        """Raises UnknownJob, WrongState, JobsUnavailable."""
        places = await self.places()
        return await self.run(lambda: places.queue.cancel(job_id, caller))

    async def paces(self) -> Paces:
        places = await self.places()
        return await self.run(places.queue.paces)

    async def wait(self, job: Job, wait_s: float, is_over: Callable[[], Awaitable[bool]]) -> Job:
        """The job when it has ended, or as it is when the time is up, or `is_over` says that nobody waits any more."""
        until_s = time.monotonic() + wait_s
        async with aclosing(self.watch.follow(job.id)) as seen:
            async for found in seen:
                job = found[0] if found is not None else job
                if job.has_ended or time.monotonic() > until_s or await is_over():
                    break
        return job

    async def roster(self) -> Roster:
        """Raises JobsUnavailable."""
        if self._roster is None or time.monotonic() - self._roster[0] > ROSTER_S:
            places = await self.places()
            self._roster = time.monotonic(), await self.run(places.makers.read)
        return self._roster[1]

    async def state(self) -> tuple[GeneratorState, Facts | None]:
        """For whoever only wants to know; never an error."""
        try:
            roster = await self.roster()
        except JobsUnavailable:
            return "unavailable", None
        if roster.n_ready:
            return "ready", roster.facts
        return "broken" if roster.trouble is not None else "starting", roster.facts

    async def described(self) -> dict[str, object]:
        """For /model. Never an error."""
        state, facts = await self.state()
        limits = self.settings.model_dump(include={f"generator_max_{what}" for what in SHOWN_LIMITS})
        shown = {name.removeprefix("generator_"): limit for name, limit in limits.items()}
        return {"state": state, "facts": facts and facts.model_dump(), "limits": shown}

    def metrics(self) -> Iterable[Metric]:
        """Nothing before the table is open. For threads."""
        return job_metrics(self._places) if self._places is not None else ()

    async def _look(self, job_ids: list[str]) -> Seen:
        places = await self.places()
        return await self.run(lambda: (places.queue.look(job_ids), places.queue.paces()))
