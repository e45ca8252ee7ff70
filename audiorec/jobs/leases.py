"""The queue as makers see it: each job is taken by one of them at a time, and lost by one that dies.

A lease is a row of the table that says who works on a job and until when. It is taken by one UPDATE that changes a row
only while nobody has it, which both databases do for one of any number at once; whatever a maker then writes about the
job is written only while it still has that lease.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Update, select, update
from sqlalchemy.exc import IntegrityError

from audiorec.generate.prompt import Prompt
from audiorec.jobs.database import Database
from audiorec.jobs.job import N_ATTEMPTS, Job, Lease, Outcome, Stage
from audiorec.jobs.tables import jobs, now_s
from audiorec.jobs.tallies import ENDED, FAILED, SECONDS, count

N_CANDIDATES = 50  # jobs that are looked at: those that wait for an equal one that is being made are passed over
DIED = (
    f"got a process that died while it made this sound, {N_ATTEMPTS} times, expected one that lives: ask for fewer "
    "seconds or steps, or tell the operator, whose log says more"
)


@dataclass(frozen=True)
class Beat:
    """What a maker hears when it renews its lease."""

    is_lost: bool
    is_cancelled: bool


class Leases:
    """For one maker, which has one job at a time."""

    def __init__(self, database: Database, maker: str, lease_s: float) -> None:
        """maker: a name that nobody else has or had. lease_s: after so long without a word from it, it is dead."""
        self._database = database
        self._maker = maker
        self._lease_s = lease_s

    def take(self, key_of: Callable[[Prompt], str | None]) -> tuple[Job, Lease] | None:
        """The job that has waited longest, and the lease on it; None where there is none.

        key_of: a prompt to the address of its sound, None for one that is never shared. A job whose sound somebody is
        making at this moment is left alone: it will find the sound there.
        """
        with self._database.reading() as connection:
            waiting = connection.execute(
                select(jobs.c.number, jobs.c.id, jobs.c.prompt)
                .where(jobs.c.state == "queued")
                .order_by(jobs.c.number)
                .limit(N_CANDIDATES)
            ).all()
        for number, job_id, prompt in waiting:
            key = key_of(Prompt.model_validate_json(prompt)) or own_key(job_id)
            try:
                with self._database.writing() as connection:
                    taken = self._take(connection, number, key)
            except IntegrityError:  # an equal sound is being made: the index on running jobs says so
                continue
            if taken is not None:
                return taken, Lease(number, self._maker, taken.attempt)
        return None

    def _take(self, connection: Connection, number: int, key: str) -> Job | None:
        changed = connection.execute(
            update(jobs)
            .where(jobs.c.number == number, jobs.c.state == "queued")
            .values(
                state="running",
                sound=key,
                maker=self._maker,
                lease_until_s=now_s() + self._lease_s,
                begun_s=now_s(),
                attempt=jobs.c.attempt + 1,
                step=0,
                stage="",
            )
        )
        if not changed.rowcount:
            return None
        row = connection.execute(select(jobs, now_s().label("now_s")).where(jobs.c.number == number))
        return Job.from_row(dict(row.mappings().one()))

    def beat(self, lease: Lease, stage: Stage, step: int, n_steps: int) -> Beat:
        """Renews the lease, and tells where the job is."""
        told = {"stage": stage, "step": step, "n_steps": n_steps, "lease_until_s": now_s() + self._lease_s}
        with self._database.writing() as connection:
            is_lost = not self._change(connection, lease, told)
            asked = select(jobs.c.is_cancelled).where(jobs.c.number == lease.number)
            return Beat(is_lost, bool(connection.execute(asked).scalar()))

    def describe(self, lease: Lease, prompt: Prompt) -> None:
        """The request as the model reads it, in the place of what was asked."""
        with self._database.writing() as connection:
            told = {"prompt": prompt.model_dump_json(), "n_steps": prompt.steps or 0}
            self._change(connection, lease, told)

    def finish(self, lease: Lease, outcome: Outcome, n_steps: int) -> bool:
        """False where the lease is lost, and nothing was written: so with all that end a job.

        n_steps: that it took, 0 where the sound was there already.
        """
        ended = {"state": "finished", "outcome": outcome.model_dump_json(), "step": n_steps, "n_steps": n_steps}
        return self._end(lease, ended, SECONDS, outcome.took_s)

    def fail(self, lease: Lease, code: str, message: str) -> bool:
        ended = {"state": "failed", "error_code": code[:40], "error_message": message, "sound": None}
        return self._end(lease, ended, FAILED, {code[:40]: 1})

    def cancel(self, lease: Lease) -> bool:
        return self._end(lease, {"state": "cancelled", "sound": None}, FAILED, {})

    def put_back(self, lease: Lease) -> bool:
        """To its place in the queue, as if nobody had begun it."""
        with self._database.writing() as connection:
            return self._change(connection, lease, {**QUEUED, "attempt": jobs.c.attempt - 1})

    def reap(self) -> int:
        """What dead makers leave behind goes back into the queue, once; then it has failed. How many jobs."""
        return self._reap(jobs.c.lease_until_s < now_s())

    def inherit(self, maker: str) -> int:
        """The same at once, for a maker that is known to be dead."""
        return self._reap(jobs.c.maker == maker)

    def _reap(self, is_dead: Any) -> int:
        is_dead = (jobs.c.state == "running") & is_dead
        with self._database.reading() as connection:  # most of the time there is none: no reason to lock anybody out
            dead = connection.execute(select(jobs.c.number).where(is_dead)).scalars().all()
        if not dead:
            return 0
        with self._database.writing() as connection:
            is_given_up = jobs.c.is_cancelled | (jobs.c.attempt >= N_ATTEMPTS)
            cancelled = connection.execute(_ended(is_dead & jobs.c.is_cancelled, {"state": "cancelled", "sound": None}))
            failure = {"state": "failed", "error_code": "died", "error_message": DIED, "sound": None}
            failed = connection.execute(_ended(is_dead & (jobs.c.attempt >= N_ATTEMPTS), failure))
            again = connection.execute(update(jobs).where(is_dead & ~is_given_up).values(**QUEUED))
            ended = {"cancelled": cancelled.rowcount, "failed": failed.rowcount}
            count(connection, ENDED, {state: n for state, n in ended.items() if n})
            count(connection, FAILED, {"died": failed.rowcount} if failed.rowcount else {})
            return int(cancelled.rowcount + failed.rowcount + again.rowcount)

    def _end(self, lease: Lease, values: Mapping[str, Any], tally: str, amounts: Mapping[str, float]) -> bool:
        with self._database.writing() as connection:
            if not self._change(connection, lease, {**values, **AT_THE_END}):
                return False
            count(connection, ENDED, {str(values["state"]): 1})
            count(connection, tally, amounts)
            return True

    @staticmethod
    def _change(connection: Connection, lease: Lease, values: Mapping[str, Any]) -> bool:
        """Whether the lease still holds; if not, nothing has changed."""
        holds = (
            (jobs.c.number == lease.number)
            & (jobs.c.state == "running")
            & (jobs.c.maker == lease.maker)
            & (jobs.c.attempt == lease.attempt)
        )
        return connection.execute(update(jobs).where(holds).values(**values)).rowcount > 0


QUEUED: dict[str, Any] = {
    "state": "queued",
    "maker": None,
    "lease_until_s": None,
    "begun_s": None,
    "stage": "",
    "step": 0,
}
AT_THE_END: dict[str, Any] = {"ended_s": now_s(), "lease_until_s": None, "stage": ""}


def _ended(where: Any, values: Mapping[str, Any]) -> Update:
    return update(jobs).where(where).values(**values, **AT_THE_END)


def own_key(job_id: str) -> str:
    """The address of a sound that is never shared. Nobody gets from a file's name to the id of its job."""
    return sha256(f"job {job_id}".encode()).hexdigest()
