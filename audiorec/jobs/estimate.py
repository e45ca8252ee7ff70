"""How long jobs will take, by how long the last ones took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from sqlalchemy import Connection, RowMapping, func, select

from audiorec.generate.prompt import Prompt
from audiorec.jobs.job import Job
from audiorec.jobs.tables import jobs, makers, now_s

N_LAST = 20  # jobs that are looked at
FRESH_S = 60.0  # a maker that was not seen for so long is gone
UNKNOWN_S = 30  # when to come again where nothing is known


def work_of(prompt: Prompt) -> float:
    """What a job's time is about proportional to."""
    return (prompt.steps or 1) * (prompt.seconds or 1.0)


@dataclass(frozen=True)
class Paces:
    """left_s_of: of each job that has not ended, by its number, seconds of work left, None where unknown, in the order
    of the queue; queued: the numbers of those that wait. n_makers: processes that make sounds now.
    """

    left_s_of: Mapping[int, float | None]
    queued: Sequence[int]
    n_makers: int

    def place(self, job: Job) -> int:
        """How many wait before it."""
        return sum(number < job.number for number in self.queued) if job.state == "queued" else 0

    def left_s(self, job: Job) -> float | None:
        """Seconds until a job ends, if nothing comes between; None where nobody can say."""
        if not self.n_makers:
            return None
        own_s = self.left_s_of.get(job.number)
        if own_s is None or job.state == "running":
            return own_s
        before = [left_s for number, left_s in self.left_s_of.items() if number < job.number]
        if None in before:
            return None
        return own_s + sum(left_s for left_s in before if left_s is not None) / self.n_makers

    def next_end_s(self) -> int:
        """When there may be room again, in whole seconds, for Retry-After."""
        known = [left_s for left_s in self.left_s_of.values() if left_s is not None]
        return max(1, ceil(min(known))) if known and self.n_makers else UNKNOWN_S


def paces_of(connection: Connection) -> Paces:
    last = connection.execute(
        select(jobs.c.prompt, (jobs.c.ended_s - jobs.c.begun_s).label("took_s"))
        .where(jobs.c.state == "finished", jobs.c.attempt > 0, jobs.c.step > 0)
        .order_by(jobs.c.ended_s.desc())
        .limit(N_LAST)
    ).all()
    n_work = sum(work_of(Prompt.model_validate_json(prompt)) for prompt, _ in last)
    s_per_work = sum(took_s for _, took_s in last) / n_work if n_work else None
    under_way = connection.execute(
        select(
            jobs.c.number,
            jobs.c.prompt,
            jobs.c.state,
            jobs.c.step,
            jobs.c.n_steps,
            (now_s() - jobs.c.begun_s).label("for_s"),
        )
        .where(jobs.c.state.in_(("queued", "running")))
        .order_by(jobs.c.number)
    ).mappings()
    left_s_of, queued = {}, []
    for row in under_way:
        left_s_of[row["number"]] = _left_s(row, s_per_work)
        queued += [row["number"]] if row["state"] == "queued" else []
    n_makers = connection.execute(
        select(func.count()).where(makers.c.state == "ready", makers.c.seen_s > now_s() - FRESH_S)
    ).scalar_one()
    return Paces(left_s_of, queued, n_makers)


def _left_s(row: RowMapping, s_per_work: float | None) -> float | None:
    """By its own steps where it has made some, else by what the last jobs took."""
    if row["state"] == "running" and row["step"] and row["n_steps"]:
        return float(row["for_s"] * (row["n_steps"] - row["step"]) / row["step"])
    if s_per_work is None:
        return None
    expected_s = s_per_work * work_of(Prompt.model_validate_json(row["prompt"]))
    return max(0.0, expected_s - float(row["for_s"] or 0.0)) if row["state"] == "running" else expected_s
