"""The queue as callers see it: they ask for a sound, look at their job, and may cancel it."""

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from audiorec.errors import QueueFull, UnknownJob, WrongState
from audiorec.generate.prompt import Prompt
from audiorec.jobs.database import Database
from audiorec.jobs.estimate import Paces, paces_of
from audiorec.jobs.job import ENDED, Caller, Job, Wishes
from audiorec.jobs.tables import jobs, now_s, sounds
from audiorec.jobs.tallies import ENDED as TALLY_ENDED
from audiorec.jobs.tallies import FAILED as TALLY_FAILED
from audiorec.jobs.tallies import count

ID = re.compile(r"[A-Za-z0-9_-]{22}")
ID_BYTES = 16  # 128 random bits: nobody finds one by trying
MAX_KEPT = 1_000  # jobs of one caller, whatever their age
UNDER_WAY = ("queued", "running")


@dataclass(frozen=True)
class QueueLimits:
    """How many jobs may wait at once: of all callers, and, running ones too, of one."""

    max_queued: int
    max_per_caller: int


class JobQueue:
    """For any thread, in any number of processes."""

    def __init__(self, database: Database, limits: QueueLimits) -> None:
        self._database = database
        self._limits = limits

    def submit(
        self, prompt: Prompt, wishes: Wishes, caller: Caller, *, key: str | None = None, release_id: str | None = None
    ) -> Job:
        """A new job. It has finished already where one with the same key has, with the same wishes and release.

        key: the address of the sound, where it is known by now. Raises QueueFull, JobsUnavailable, NoSpace.
        """
        job_id = secrets.token_urlsafe(ID_BYTES)
        values: dict[str, Any] = {
            "id": job_id,
            "owner": caller.owner,
            "counted_as": caller.counted_as,
            "state": "queued",
            "prompt": prompt.model_dump_json(),
            "wishes": wishes.as_key(),
            "asked_s": now_s(),
            "n_steps": prompt.steps or 0,
        }
        with self._database.writing() as connection:
            self._database.lock(connection)  # or two who count at the same time both find room
            twin = _finished_twin(connection, key, values["wishes"], release_id) if key and release_id else None
            if twin is None:
                self._check_room(connection, caller)
            else:
                values |= _as_finished(twin)
                count(connection, TALLY_ENDED, {"finished": 1})
            connection.execute(insert(jobs).values(values))
            _forget_oldest(connection, caller)
            return _find(connection, jobs.c.id == job_id)[job_id]

    def find(self, job_id: str, caller: Caller) -> Job:
        """Raises UnknownJob, for somebody else's job as for one that never was."""
        with self._database.reading() as connection:
            return self._own(connection, job_id, caller)

    def look(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Those that are there, whoever owns them, by id: one question for many."""
        with self._database.reading() as connection:
            return _find(connection, jobs.c.id.in_(job_ids))

    def cancel(self, job_id: str, caller: Caller) -> Job:
        """One that waits ends at once, one that is being made between two steps. A second time changes nothing.

        Raises UnknownJob, WrongState for one that has finished or failed.
        """
        with self._database.writing() as connection:
            self._database.lock(connection)
            job = self._own(connection, job_id, caller)
            if job.state in ("finished", "failed"):
                raise WrongState(
                    f"got a job that has {job.state}, expected one that is queued or running: there is nothing to "
                    "cancel any more",
                    code="job_ended",
                )
            is_job = jobs.c.number == job.number
            ended = connection.execute(
                update(jobs)
                .where(is_job, jobs.c.state == "queued")
                .values(state="cancelled", ended_s=now_s(), is_cancelled=True, sound=None)
            )
            if ended.rowcount:
                count(connection, TALLY_ENDED, {"cancelled": 1})
            else:
                connection.execute(update(jobs).where(is_job, jobs.c.state == "running").values(is_cancelled=True))
            return _find(connection, is_job)[job_id]

    def paces(self) -> Paces:
        """What is known of how fast jobs go, and of those that are under way."""
        with self._database.reading() as connection:
            return paces_of(connection)

    def n_by_state(self) -> dict[str, int]:
        with self._database.reading() as connection:
            return _n_by_state(connection)

    def forget(self, max_age_s: float) -> int:
        """Deletes jobs that ended so long ago, and gives up those that nobody has begun in that time. How many."""
        with self._database.writing() as connection:
            oldest_s = now_s() - max_age_s
            waited = connection.execute(
                update(jobs)
                .where(jobs.c.state == "queued", jobs.c.asked_s < oldest_s)
                .values(
                    state="failed",
                    ended_s=now_s(),
                    error_code="expired",
                    error_message="got a job that nobody could begin in time, expected a generator: ask again later",
                )
            )
            if waited.rowcount:
                count(connection, TALLY_ENDED, {"failed": waited.rowcount})
                count(connection, TALLY_FAILED, {"expired": waited.rowcount})
            gone = connection.execute(delete(jobs).where(jobs.c.state.in_(ENDED), jobs.c.ended_s < oldest_s))
            return int(gone.rowcount)

    def _check_room(self, connection: Connection, caller: Caller) -> None:
        own = select(func.count()).where(jobs.c.counted_as == caller.counted_as, jobs.c.state.in_(UNDER_WAY))
        n_own = connection.execute(own).scalar_one()
        if n_own >= self._limits.max_per_caller:
            raise QueueFull(
                f"got {n_own} jobs of yours that have not ended, expected fewer than {self._limits.max_per_caller} "
                "before another: wait for one, or cancel it",
                code="too_many_jobs",
                retry_after_s=paces_of(connection).next_end_s(),
            )
        n_queued = _n_by_state(connection).get("queued", 0)
        if n_queued >= self._limits.max_queued:
            raise QueueFull(
                f"got {n_queued} jobs that wait, expected fewer than {self._limits.max_queued}: try again later",
                retry_after_s=paces_of(connection).next_end_s(),
            )

    @staticmethod
    def _own(connection: Connection, job_id: str, caller: Caller) -> Job:
        job = _find(connection, jobs.c.id == job_id).get(job_id) if ID.fullmatch(job_id) else None
        if job is None or job.owner not in ("", caller.owner):
            raise UnknownJob(
                "got a job id that is unknown here, expected one that you were given: jobs are forgotten some time "
                "after they end"
            )
        return job


def _forget_oldest(connection: Connection, caller: Caller) -> None:
    """Keeps the last jobs of a caller: what costs nothing to ask for must not fill the disk either."""
    numbers = select(jobs.c.number).where(jobs.c.counted_as == caller.counted_as).order_by(jobs.c.number.desc())
    last = connection.execute(numbers.offset(MAX_KEPT).limit(1)).scalar()
    if last is not None:
        is_old = (jobs.c.counted_as == caller.counted_as) & (jobs.c.number <= last)
        connection.execute(delete(jobs).where(is_old, jobs.c.state.in_(ENDED)))


def _find(connection: Connection, where: object) -> dict[str, Job]:
    rows = connection.execute(select(jobs, now_s().label("now_s")).where(where))  # type: ignore[arg-type]
    return {row["id"]: Job.from_row(dict(row)) for row in rows.mappings()}


def _n_by_state(connection: Connection) -> dict[str, int]:
    rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
    return {state: n for state, n in rows}  # noqa: C416  # rows are no pairs for mypy


def _finished_twin(connection: Connection, key: str, wishes: str, release_id: str) -> RowMapping | None:
    """The last job for the same sound, with the same recommendations, while the sound is there."""
    found = connection.execute(
        select(jobs)
        .join(sounds, sounds.c.key == jobs.c.sound)
        .where(jobs.c.sound == key, jobs.c.state == "finished", jobs.c.wishes == wishes, sounds.c.is_whole)
        .order_by(jobs.c.number.desc())
        .limit(1)
    )
    twin = found.mappings().first()
    return twin if twin is not None and Job.from_row({**twin, "now_s": 0.0}).is_of(release_id) else None


def _as_finished(twin: RowMapping) -> dict[str, object]:
    """A new job's columns, by a finished one's."""
    outcome = Job.from_row({**twin, "now_s": 0.0}).outcome
    assert outcome is not None
    shared = outcome.model_copy(update={"is_shared": True, "took_s": {}})
    same = ("prompt", "sound", "step", "n_steps", "stage")
    return {
        **{name: twin[name] for name in same},
        "state": "finished",
        "begun_s": now_s(),
        "ended_s": now_s(),
        "outcome": shared.model_dump_json(),
    }
