"""Server-sent events: a job's changes as they happen, until it ends (WHATWG HTML, section 9.2)."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from pydantic_core import to_json

from audiorec.api.generation.answers import job_answer
from audiorec.api.generation.watch import JobWatch
from audiorec.jobs.estimate import Paces
from audiorec.jobs.job import Job

COMMENT_S = 15.0  # a line now and then, so that no proxy takes the connection for dead
RETRY_MS = 2_000  # after which a browser connects again when the connection was lost
LAST_ID = "end"  # of a job's last event: who has that needs no other


async def events(watch: JobWatch, job: Job, prefix: str, is_stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
    """An event for each change, named by the job's state: its data is the job. The last one says how it ended."""
    yield b"retry: %d\n\n" % RETRY_MS
    shown: Any = None
    told_s = time.monotonic()
    async with aclosing(watch.follow(job.id)) as seen:
        async for found in seen:
            if is_stopping():
                return
            if found is not None and _marks(*found) != shown:
                shown, told_s = _marks(*found), time.monotonic()
                yield _event(*found, prefix)
                if found[0].has_ended:
                    return
            elif time.monotonic() - told_s > COMMENT_S:
                told_s = time.monotonic()
                yield b": still here\n\n"


def _marks(job: Job, paces: Paces) -> tuple[Any, ...]:
    """What is worth an event when it changes. The time left changes with every look, and goes along."""
    return job.state, job.is_cancelled, job.stage, job.step, job.n_steps, job.attempt, paces.place(job)


def _event(job: Job, paces: Paces, prefix: str) -> bytes:
    event_id = LAST_ID if job.has_ended else f"{job.attempt}.{job.step}"
    data = to_json(job_answer(job, paces, prefix))
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event_id.encode(), job.state.encode(), data)
