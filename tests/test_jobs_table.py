"""The table of jobs, on SQLite and PostgreSQL: nothing is lost, nothing done twice, nobody sees what is not his."""

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from audiorec.errors import BadSetting, JobsUnavailable, NoSpace, QueueFull, UnknownJob, WrongState
from audiorec.generate.facts import Facts
from audiorec.generate.prompt import Prompt
from audiorec.jobs.database import Database
from audiorec.jobs.job import Caller, Job, Lease, Outcome, Wishes
from audiorec.jobs.leases import DIED, Leases
from audiorec.jobs.limits import any_facts
from audiorec.jobs.queue import JobQueue, QueueLimits
from audiorec.jobs.roster import Makers
from audiorec.jobs.tables import jobs, makers, sounds
from audiorec.jobs.tallies import read_tallies

ME, YOU, ANYBODY = Caller("me", "me"), Caller("you", "you"), Caller("", "somewhere")
WISHES = Wishes(k=3)
RAIN = Prompt(prompt="rain", steps=4, seconds=1.0)
MANY = QueueLimits(max_queued=1_000, max_per_caller=1_000)
LONG_S = 3_600.0


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def queue(database: Database) -> JobQueue:
    return JobQueue(database, MANY)


@pytest.fixture
def leases(database: Database) -> Leases:
    return Leases(database, "a maker", LONG_S)


def never_shared(prompt: Prompt) -> None:
    return None


def by_words(prompt: Prompt) -> str:
    return prompt.prompt


def outcome(release_id: str = "0001 then", **changes: Any) -> Outcome:
    facts = any_facts(RAIN).model_dump()
    fields = {"generator": facts, "duration_s": 1.0, "sample_rate_hz": 16_000, "n_channels": 1, "is_shared": False}
    fields |= {"seed": 1, "took_s": {"generate": 2.0}, "release": "0001", "release_id": release_id}
    return Outcome(**fields, recommendations={"results": []}, **changes)


def taken(leases: Leases, key_of: Callable[[Prompt], str | None] = never_shared) -> tuple[Job, Lease]:
    found = leases.take(key_of)
    assert found is not None
    return found


def change(database: Database, job: Job, **values: Any) -> None:
    with database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.number == job.number).values(**values))


class TestCallers:
    def test_a_job_is_what_was_asked_for(self, queue: JobQueue) -> None:
        wishes = Wishes(k=7, filter={"label": ["dog", "ünïcödé 🎧"]}, max_per_artist=1)
        job = queue.submit(RAIN, wishes, ME)
        assert (job.state, job.prompt, job.wishes, job.owner) == ("queued", RAIN, wishes, "me")
        assert (job.attempt, job.step, job.n_steps, job.sound, job.outcome) == (0, 0, 4, None, None)
        assert 0 <= job.now_s - job.asked_s < 5
        assert abs(job.now_s - time.time()) < 5
        found = queue.find(job.id, ME)
        assert found.number == job.number

    def test_ids_are_long_and_random(self, queue: JobQueue) -> None:
        ids = {queue.submit(RAIN, WISHES, ME).id for _ in range(20)}
        assert len(ids) == 20
        assert {len(job_id) for job_id in ids} == {22}  # 128 bits
        assert max(Counter(job_id[:4] for job_id in ids).values()) < 3

    def test_a_foreign_job_is_as_unknown_as_one_that_never_was(self, queue: JobQueue) -> None:
        job = queue.submit(RAIN, WISHES, ME)
        said = set()
        strange = ("x" * 22, "", "\x00", "\x00" * 22, "é" * 22, "x" * 9_999, job.id + "\n", job.id.swapcase())
        for job_id, caller in ((job.id, YOU), (job.id, ANYBODY), *((one, ME) for one in strange)):
            for ask in (queue.find, queue.cancel):
                with pytest.raises(UnknownJob) as refused:
                    ask(job_id, caller)
                said.add(refused.value.message)
        assert len(said) == 1
        assert queue.find(job.id, ME).state == "queued"

    def test_a_job_without_an_owner_is_whose_knows_its_id(self, queue: JobQueue) -> None:
        job = queue.submit(RAIN, WISHES, ANYBODY)
        assert queue.find(job.id, YOU).id == job.id

    def test_limits_of_all_and_of_one(self, database: Database) -> None:
        queue = JobQueue(database, QueueLimits(max_queued=3, max_per_caller=2))
        mine = [queue.submit(RAIN, WISHES, ME) for _ in range(2)]
        with pytest.raises(QueueFull, match="got 2 jobs of yours that have not ended") as refused:
            queue.submit(RAIN, WISHES, ME)
        assert (refused.value.code, refused.value.status) == ("too_many_jobs", 429)
        assert refused.value.retry_after_s >= 1
        queue.submit(RAIN, WISHES, YOU)
        with pytest.raises(QueueFull, match="got 3 jobs that wait, expected fewer than 3") as refused:
            queue.submit(RAIN, WISHES, YOU)
        assert refused.value.code == "queue_full"
        queue.cancel(mine[0].id, ME)
        queue.submit(RAIN, WISHES, ME)

    def test_limits_hold_when_many_ask_at_once(self, database: Database) -> None:
        queue = JobQueue(database, QueueLimits(max_queued=5, max_per_caller=100))

        def ask(number: int) -> bool:
            try:
                queue.submit(RAIN, WISHES, Caller("", str(number)))
            except QueueFull:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(ask, range(20))) == 5

    def test_the_last_jobs_of_a_caller_are_kept(
        self, database: Database, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("audiorec.jobs.queue.MAX_KEPT", 3)
        waiting, other = queue.submit(RAIN, WISHES, ME), queue.submit(RAIN, WISHES, YOU)
        ended = [queue.cancel(queue.submit(RAIN, WISHES, ME).id, ME).id for _ in range(6)]
        there = queue.look([waiting.id, other.id, *ended])
        assert set(there) == {waiting.id, other.id, *ended[-3:]}

    def test_old_jobs_are_forgotten_and_those_nobody_begins_fail(self, database: Database, queue: JobQueue) -> None:
        old, waiting, young = (queue.submit(RAIN, WISHES, ME) for _ in range(3))
        queue.cancel(old.id, ME)
        change(database, old, ended_s=time.time() - 100)
        change(database, waiting, asked_s=time.time() - 100)
        assert queue.forget(50) == 1
        with pytest.raises(UnknownJob):
            queue.find(old.id, ME)
        assert (queue.find(waiting.id, ME).state, queue.find(waiting.id, ME).error_code) == ("failed", "expired")
        assert queue.find(young.id, ME).state == "queued"
        assert read_tallies(database)["failed"] == {"expired": 1}


class TestCancel:
    def test_one_that_waits_is_never_begun(self, queue: JobQueue, leases: Leases) -> None:
        job = queue.submit(RAIN, WISHES, ME)
        assert queue.cancel(job.id, ME).state == "cancelled"
        assert queue.cancel(job.id, ME).state == "cancelled"  # a second time
        assert leases.take(never_shared) is None

    def test_one_that_is_made_hears_of_it_and_ends(self, queue: JobQueue, leases: Leases) -> None:
        queue.submit(RAIN, WISHES, ME)
        job, lease = taken(leases)
        assert not leases.beat(lease, "generate", 1, 4).is_cancelled
        for _ in range(2):
            asked = queue.cancel(job.id, ME)
            assert (asked.state, asked.is_cancelled) == ("running", True)
        assert leases.beat(lease, "generate", 2, 4).is_cancelled
        assert leases.cancel(lease)
        assert queue.find(job.id, ME).state == "cancelled"

    def test_one_that_has_ended_cannot_be(self, queue: JobQueue, leases: Leases) -> None:
        queue.submit(RAIN, WISHES, ME)
        job, lease = taken(leases)
        leases.finish(lease, outcome(), 4)
        with pytest.raises(WrongState, match="got a job that has finished") as refused:
            queue.cancel(job.id, ME)
        assert refused.value.code == "job_ended"


class TestMakers:
    def test_who_waits_longest_comes_first_and_says_where_it_is(self, queue: JobQueue, leases: Leases) -> None:
        ids = [queue.submit(RAIN, WISHES, ME).id for _ in range(3)]
        assert [queue.paces().place(queue.find(job_id, ME)) for job_id in ids] == [0, 1, 2]
        job, lease = taken(leases)
        assert (job.id, job.state, job.attempt) == (ids[0], "running", 1)
        assert [queue.paces().place(queue.find(job_id, ME)) for job_id in ids] == [0, 0, 1]
        leases.describe(lease, RAIN.model_copy(update={"guidance": 2.5}))
        leases.beat(lease, "generate", 3, 4)
        shown = queue.find(job.id, ME)
        assert (shown.stage, shown.step, shown.n_steps, shown.prompt.guidance) == ("generate", 3, 4, 2.5)
        assert leases.finish(lease, outcome(), 4)
        done = queue.find(job.id, ME)
        assert (done.state, done.outcome, done.step) == ("finished", outcome(), 4)
        assert done.ended_s is not None
        assert done.begun_s is not None
        assert done.asked_s <= done.begun_s <= done.ended_s

    def test_many_makers_never_do_a_job_twice(self, database: Database, queue: JobQueue) -> None:
        n_jobs, n_makers = 40, 4
        ids = [queue.submit(RAIN, WISHES, ME).id for _ in range(n_jobs)]
        started = threading.Barrier(n_makers)

        def work(number: int) -> list[str]:
            leases, done = Leases(database, f"maker {number}", LONG_S), []
            started.wait(30)
            while (found := leases.take(never_shared)) is not None:
                done.append(found[0].id)
                assert leases.finish(found[1], outcome(), 4)
            return done

        with ThreadPoolExecutor(n_makers) as pool:
            done = [job_id for part in pool.map(work, range(n_makers)) for job_id in part]
        assert sorted(done) == sorted(ids)
        assert queue.n_by_state() == {"finished": n_jobs}
        assert {queue.find(job_id, ME).attempt for job_id in ids} == {1}
        assert read_tallies(database)["ended"] == {"finished": n_jobs}
        assert read_tallies(database)["seconds"] == {"generate": 2.0 * n_jobs}

    def test_two_equal_sounds_are_not_made_at_the_same_time(self, database: Database, queue: JobQueue) -> None:
        first, second, other = (
            queue.submit(Prompt(prompt=words, seed=1), WISHES, ME) for words in ("rain", "rain", "wind")
        )
        one, two = Leases(database, "one", LONG_S), Leases(database, "two", LONG_S)
        job, lease = taken(one, by_words)
        assert job.id == first.id
        assert taken(two, by_words)[0].id == other.id  # passed over: its twin is being made
        assert two.take(by_words) is None
        assert one.finish(lease, outcome(), 4)
        assert taken(two, by_words)[0].id == second.id  # who makes it finds the sound there

    def test_one_without_an_address_is_its_own(self, queue: JobQueue, leases: Leases) -> None:
        for _ in range(2):
            queue.submit(RAIN, WISHES, ME)
        one, other = taken(leases)[0], taken(leases)[0]
        assert one.sound is not None
        assert other.sound is not None
        assert one.sound != other.sound
        assert one.id not in one.sound

    def test_a_lost_lease_changes_nothing_more(self, database: Database, queue: JobQueue) -> None:
        """A maker that slept so long that its job went to another one."""
        queue.submit(RAIN, WISHES, ME)
        slow, quick = Leases(database, "slow", -1.0), Leases(database, "quick", LONG_S)
        job, lost = taken(slow)
        assert quick.reap() == 1
        again, lease = taken(quick)
        assert (again.id, again.attempt) == (job.id, 2)
        assert slow.beat(lost, "generate", 3, 4).is_lost
        slow.describe(lost, Prompt(prompt="wind"))
        assert not slow.finish(lost, outcome(), 4)
        assert not slow.fail(lost, "x", "y")
        assert not slow.cancel(lost)
        assert not slow.put_back(lost)
        now = queue.find(job.id, ME)
        assert (now.state, now.step, now.prompt, now.attempt) == ("running", 0, RAIN, 2)
        assert quick.finish(lease, outcome(), 4)

    def test_a_job_whose_maker_died_is_tried_once_more_then_it_has_failed(
        self, database: Database, queue: JobQueue, leases: Leases
    ) -> None:
        job = queue.submit(RAIN, WISHES, ME)
        later = queue.submit(RAIN, WISHES, ME)
        dead = Leases(database, "dead", -1.0)
        taken(dead)
        assert leases.reap() == 1
        assert leases.reap() == 0
        assert taken(dead)[0].id == job.id  # its place in the queue is what it was
        assert leases.reap() == 1
        failed = queue.find(job.id, ME)
        assert (failed.state, failed.error_code, failed.error_message) == ("failed", "died", DIED)
        assert queue.find(later.id, ME).state == "queued"
        assert read_tallies(database)["failed"] == {"died": 1}

    def test_one_that_was_cancelled_is_not_tried_again(
        self, database: Database, queue: JobQueue, leases: Leases
    ) -> None:
        job = queue.submit(RAIN, WISHES, ME)
        taken(Leases(database, "dead", -1.0))
        queue.cancel(job.id, ME)
        assert leases.reap() == 1
        assert queue.find(job.id, ME).state == "cancelled"

    def test_what_a_maker_left_that_is_known_to_be_dead_is_had_at_once(
        self, database: Database, queue: JobQueue, leases: Leases
    ) -> None:
        for _ in range(2):
            queue.submit(RAIN, WISHES, ME)
        taken(Leases(database, "dead", LONG_S))
        other, _ = taken(Leases(database, "alive", LONG_S))
        assert leases.reap() == 0
        assert leases.inherit("dead") == 1
        assert queue.find(other.id, ME).state == "running"

    def test_one_that_is_put_back_was_never_begun(self, queue: JobQueue, leases: Leases) -> None:
        queue.submit(RAIN, WISHES, ME)
        queue.submit(RAIN, WISHES, ME)
        for _ in range(3):  # as often as the service is stopped
            job, lease = taken(leases)
            assert job.attempt == 1
            assert leases.put_back(lease)
        assert queue.find(job.id, ME).state == "queued"

    def test_failures_are_counted_by_reason(self, database: Database, queue: JobQueue, leases: Leases) -> None:
        for code in ("silent", "silent", "not_finite"):
            queue.submit(RAIN, WISHES, ME)
            assert leases.fail(taken(leases)[1], code, "got silence")
        assert read_tallies(database)["failed"] == {"silent": 2, "not_finite": 1}
        assert read_tallies(database)["ended"] == {"failed": 3}


class TestSharedSounds:
    @pytest.fixture
    def made(self, database: Database, queue: JobQueue, leases: Leases) -> Job:
        queue.submit(RAIN, WISHES, ME)
        job, lease = taken(leases, by_words)
        leases.finish(lease, outcome(), 4)
        with database.writing() as connection:
            row = {"key": "rain", "file": "ra/rain", "n_bytes": 1, "is_whole": True, "made_s": 0.0, "used_s": 0.0}
            connection.execute(insert(sounds).values(**row))
        return job

    def test_who_asks_for_the_same_has_it_at_once(self, queue: JobQueue, made: Job) -> None:
        job = queue.submit(RAIN, WISHES, YOU, key="rain", release_id="0001 then")
        assert (job.state, job.sound, job.owner) == ("finished", "rain", "you")
        assert job.outcome == outcome().model_copy(update={"is_shared": True, "took_s": {}})
        assert job.id != made.id

    @pytest.mark.parametrize(
        ("wishes", "key", "release_id"),
        [
            (WISHES, "wind", "0001 then"),
            (WISHES, None, "0001 then"),
            (WISHES, "rain", "0002 then"),  # another release has other clips
            (WISHES, "rain", "0001 later"),
            (Wishes(k=4), "rain", "0001 then"),
            (Wishes(k=3, filter={"label": "dog"}), "rain", "0001 then"),
        ],
    )
    def test_who_asks_for_something_else_waits(
        self, queue: JobQueue, made: Job, wishes: Wishes, key: str | None, release_id: str
    ) -> None:
        assert queue.submit(RAIN, wishes, YOU, key=key, release_id=release_id).state == "queued"

    def test_and_who_asks_when_the_sound_is_gone(self, database: Database, queue: JobQueue, made: Job) -> None:
        with database.writing() as connection:
            connection.execute(update(sounds).values(is_whole=False))
        assert queue.submit(RAIN, WISHES, YOU, key="rain", release_id="0001 then").state == "queued"


class TestRoster:
    FACTS = Facts.model_validate({**any_facts(RAIN).model_dump(), "name": "a model"})

    def test_who_makes_sounds(self, database: Database) -> None:
        roster = Makers(database)
        assert (roster.read().n_ready, roster.read().facts, roster.read().trouble) == (0, None, None)
        roster.tell("one", "loading")
        assert roster.read().n_ready == 0
        for _ in range(2):
            roster.tell("one", "ready", facts=self.FACTS)
        assert (roster.read().n_ready, roster.read().facts) == (1, self.FACTS)

    def test_what_keeps_one_from_it_is_told_until_another_is_ready(self, database: Database) -> None:
        roster = Makers(database)
        roster.tell("one", "broken", trouble="no weights")
        roster.tell("two", "loading")
        assert roster.read().trouble == "no weights"
        roster.tell("two", "ready", facts=self.FACTS)
        roster.tell("one", "broken", trouble="no weights")
        assert roster.read().trouble is None
        with database.writing() as connection:  # some moments ago, or the two may have been told in the same one
            connection.execute(update(makers).values(seen_s=makers.c.seen_s - 1))
        roster.tell("two", "gone")
        assert (roster.read().trouble, roster.read().n_ready) == (None, 0)

    def test_one_that_says_nothing_for_long_is_gone_but_its_model_is_known(self, database: Database) -> None:
        roster = Makers(database)
        roster.tell("one", "ready", facts=self.FACTS)
        with database.writing() as connection:
            connection.execute(update(makers).values(seen_s=makers.c.seen_s - 100))
        assert (roster.read().n_ready, roster.read().facts) == (0, self.FACTS)


class TestTimeLeft:
    def test_by_its_own_steps_and_by_those_before(self, database: Database, queue: JobQueue, leases: Leases) -> None:
        Makers(database).tell("a maker", "ready", facts=TestRoster.FACTS)
        first, second = (queue.submit(RAIN, WISHES, ME) for _ in range(2))
        paces = queue.paces()
        assert paces.left_s(first) is None  # nothing is known yet
        _, lease = taken(leases)
        change(database, first, begun_s=time.time() - 10)
        leases.beat(lease, "generate", 1, 4)
        paces, running = queue.paces(), queue.find(first.id, ME)
        assert paces.left_s(running) == pytest.approx(30, rel=0.3)
        assert paces.left_s(second) is None
        leases.finish(lease, outcome(), 4)
        paces = queue.paces()
        assert paces.left_s(queue.find(second.id, ME)) == pytest.approx(10, rel=0.3)
        third = queue.submit(RAIN.model_copy(update={"seconds": 2.0}), WISHES, ME)
        assert queue.paces().left_s(third) == pytest.approx(30, rel=0.3)
        assert queue.paces().next_end_s() in range(8, 16)

    def test_nobody_knows_when_nobody_works(self, queue: JobQueue) -> None:
        job = queue.submit(RAIN, WISHES, ME)
        assert queue.paces().left_s(job) is None
        assert queue.paces().next_end_s() == 30


class TestDatabase:
    def test_all_of_it_is_there_when_it_is_opened_again(self, database_url: str) -> None:
        database = Database(database_url)
        job = JobQueue(database, MANY).submit(RAIN, WISHES, ME)
        taken(Leases(database, "dead", -1.0))
        database.close()
        again = Database(database_url)
        leases = Leases(again, "alive", LONG_S)
        assert leases.reap() == 1
        assert taken(leases)[0].id == job.id
        again.close()

    def test_many_processes_may_make_the_tables(self, database_url: str) -> None:
        with ThreadPoolExecutor(6) as pool:
            for database in pool.map(lambda _: Database(database_url), range(6)):
                database.close()

    def test_a_transaction_is_all_or_nothing(self, database: Database, queue: JobQueue) -> None:
        job = queue.submit(RAIN, WISHES, ME)

        with pytest.raises(ZeroDivisionError), database.writing() as connection:  # noqa: PT012
            connection.execute(update(jobs).values(step=7))
            raise ZeroDivisionError
        assert queue.find(job.id, ME).step == 0

    @pytest.mark.parametrize("url", ["", "x", "mysql://x/y", "sqlite://", "postgresql://host", "sqlite+aiosqlite:///x"])
    def test_a_url_that_is_none(self, url: str) -> None:
        with pytest.raises(BadSetting, match="expected sqlite:////PATH or postgresql://"):
            Database(url)

    def test_a_server_that_is_not_there_says_nothing_secret(self, postgresql: str) -> None:
        with pytest.raises(JobsUnavailable) as refused:
            Database("postgresql://user:hush@127.0.0.1:1/jobs")
        assert "hush" not in refused.value.message

    def test_a_server_that_goes_and_comes_back(self, postgresql: str, database_url: str) -> None:
        if not database_url.startswith("postgresql"):
            pytest.skip("a file does not go away")
        database = Database(database_url)
        queue = JobQueue(database, MANY)
        job = queue.submit(RAIN, WISHES, ME)
        with database.reading() as connection:
            own = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        other = Database(postgresql)
        with other.writing() as connection:
            assert connection.execute(text(f"SELECT pg_terminate_backend({own})")).scalar_one()
        assert queue.find(job.id, ME).id == job.id
        database.close()
        other.close()

    def test_sqlite_waits_for_whoever_writes(self, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path}/jobs.db")
        other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
        assert JobQueue(database, MANY).submit(RAIN, WISHES, ME).state == "queued"
        other.close()
        database.close()

    def test_a_full_disk_is_said_as_one(self, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path}/jobs.db")
        queue = JobQueue(database, MANY)
        kept = queue.submit(RAIN, WISHES, ME)
        with database.reading() as connection:
            n_pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        database.close()
        with database.reading() as connection:
            connection.execute(text(f"PRAGMA max_page_count = {n_pages}"))
        wide = RAIN.model_copy(update={"prompt": "rain " * 20_000})
        with pytest.raises(NoSpace, match="full or read-only disk for the table of jobs"):
            queue.submit(wide, WISHES, ME)
        assert queue.find(kept.id, ME).id == kept.id
        database.close()

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "jobs.db").write_bytes(b"no database" * 1_000)
        with pytest.raises(JobsUnavailable):
            Database(f"sqlite:///{tmp_path}/jobs.db")

    def test_nothing_of_a_caller_is_in_the_clear_but_the_words(self, database: Database, queue: JobQueue) -> None:
        queue.submit(RAIN, WISHES, Caller("digest", "digest"))
        with database.reading() as connection:
            row = connection.execute(select(jobs)).mappings().one()
        assert json.loads(row["prompt"])["prompt"] == "rain"
        assert row["owner"] == row["counted_as"] == "digest"
