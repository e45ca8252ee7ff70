"""Who waits for jobs: the table is asked once for all of them, however many they are."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

from audiorec.errors import AudiorecError, Overloaded
from audiorec.jobs.estimate import Paces
from audiorec.jobs.job import Job

LOG = logging.getLogger("audiorec")
LOOK_S = 0.25
MAX_WATCHERS = 1_000  # a worker's: each is a connection that stays open
Seen = tuple[dict[str, Job], Paces]


class JobWatch:
    """One a worker, in its event loop."""

    def __init__(self, look: Callable[[list[str]], Awaitable[Seen]]) -> None:
        """look: those jobs by id, as they are now, and how fast jobs go."""
        self._look = look
        self._watched: Counter[str] = Counter()
        self._seen: Seen | None = None  # when it was last looked
        self._last_ids: set[str] = set()  # for whom
        self._looked = asyncio.Event()  # another one each time
        self._looking: asyncio.Task[None] | None = None

    async def follow(self, job_id: str) -> AsyncGenerator[tuple[Job, Paces] | None, None]:
        """What is known of a job, about each quarter of a second, until it is not there any more.

        None where the table does not answer. Close it (`aclosing`) when you go. Raises Overloaded.
        """
        if sum(self._watched.values()) >= MAX_WATCHERS:
            raise Overloaded("got more who wait for jobs than this service takes at once: ask again in a moment")
        self._watched[job_id] += 1
        try:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look_on())
            while True:
                looked = self._looked
                await looked.wait()
                if self._seen is None:
                    yield None
                elif (job := self._seen[0].get(job_id)) is not None:
                    yield job, self._seen[1]
                elif self._asked_for(job_id):
                    return
        finally:
            self._watched[job_id] -= 1
            if not self._watched[job_id]:
                del self._watched[job_id]

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    def _asked_for(self, job_id: str) -> bool:
        return job_id in self._last_ids

    async def _look_on(self) -> None:
        """While anybody waits."""
        while self._watched:
            self._last_ids = set(self._watched)
            try:
                self._seen = await self._look(list(self._watched))
            except AudiorecError as error:
                LOG.warning("cannot look at jobs: %s", error.message)
                self._seen = None
            except Exception:  # whoever waits is told as well that nothing is known
                LOG.exception("cannot look at jobs")
                self._seen = None
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await asyncio.sleep(LOOK_S)
