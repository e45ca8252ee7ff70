"""The store of sounds: kept while a job names them, let go of by use and age, whole or not there at all."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from sqlalchemy import select, update

from audiorec.errors import BadSetting, JobsUnavailable, NoSpace, SoundGone
from audiorec.generate.prompt import Prompt
from audiorec.jobs.database import Database
from audiorec.jobs.job import Caller, Wishes
from audiorec.jobs.leases import Leases
from audiorec.jobs.places import urls
from audiorec.jobs.queue import JobQueue, QueueLimits
from audiorec.jobs.sounds import Sounds, StoreLimits
from audiorec.jobs.tables import jobs, sounds
from audiorec.settings import Settings

ME = Caller("me", "me")
SOUND = bytes(1_000)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/jobs.db")
    yield database
    database.close()


@pytest.fixture(params=["directory", "object store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "sounds") if request.param == "directory" else f"memory://{tmp_path.name}/sounds"


@pytest.fixture
def store(database: Database, url: str) -> Sounds:
    return Sounds(database, url, StoreLimits(max_bytes=3_500, max_age_s=100.0))


def used(database: Database, key: str, ago_s: float) -> None:
    with database.writing() as connection:
        changed = {"used_s": sounds.c.used_s - ago_s, "made_s": sounds.c.made_s - ago_s}
        connection.execute(update(sounds).where(sounds.c.key == key).values(**changed))


def name(database: Database, key: str) -> None:
    """Makes a job that has this sound."""
    JobQueue(database, QueueLimits(99, 99)).submit(Prompt(prompt="x"), Wishes(k=1), ME)
    taken = Leases(database, "maker", 99.0).take(lambda prompt: key)
    assert taken is not None
    with database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.number == taken[1].number).values(state="finished", ended_s=0.0))


def keys(store: Sounds, candidates: str = "abcdef") -> str:
    """Which are there, without counting as use."""
    with store._database.reading() as connection:
        there = set(connection.execute(select(sounds.c.key)).scalars())
    return "".join(sorted(there & set(candidates)))


class TestStore:
    def test_what_is_put_can_be_read_in_any_part(self, store: Sounds) -> None:
        content = bytes(range(250)) * 4
        assert store.find("a") is None
        store.put("a", content)
        file = store.find("a")
        assert file is not None
        assert store.read(file) == content
        assert store.size(file) == 1_000
        with store.open(file) as opened:
            opened.seek(990)
            assert opened.read() == content[990:]

    def test_other_formats_lie_beside_it_and_go_with_it(self, store: Sounds, database: Database) -> None:
        store.put("a", SOUND)
        file = store.find("a")
        assert file is not None
        assert store.size(file, "mp3") is None
        store.add(file, "mp3", b"m" * 100)
        assert store.read(file, "mp3") == b"m" * 100
        assert store.n_bytes() == 1_100
        store.add(file, "flac", bytes(3_000))  # no place: no harm
        assert store.size(file, "flac") is None
        assert store.n_bytes() == 1_100
        used(database, "a", 200)
        assert store.sweep() == 1
        assert store.size(file) is None
        assert store.size(file, "mp3") is None
        store.add(file, "mp3", b"m")  # its sound has gone meanwhile
        assert store.size(file, "mp3") is None

    def test_those_used_longest_ago_go_first(self, store: Sounds, database: Database) -> None:
        for key, ago_s in (("a", 30), ("b", 20), ("c", 10)):
            store.put(key, SOUND)
            used(database, key, ago_s)
        store.find("a")  # which is a use
        store.put("d", SOUND)
        assert keys(store) == "acd"
        store.put("e", bytes(2_000))
        assert keys(store) == "de"

    def test_one_that_a_job_names_never_does(self, store: Sounds, database: Database) -> None:
        for key in "abc":
            store.put(key, SOUND)
            name(database, key)
            used(database, key, 1_000)
        assert store.sweep() == 0
        store.check_room()
        with pytest.raises(NoSpace, match="no place for another sound among 3,500 bytes"):
            store.put("d", SOUND)
        assert keys(store) == "abc"
        with database.writing() as connection:
            connection.execute(jobs.delete())
        store.put("d", bytes(3_000))
        assert keys(store) == "d"

    def test_a_store_that_jobs_fill_says_so_beforehand(self, store: Sounds, database: Database) -> None:
        store.put("a", bytes(3_500))
        store.check_room()
        name(database, "a")
        with pytest.raises(NoSpace):
            store.check_room()

    def test_by_age(self, store: Sounds, database: Database) -> None:
        for key, ago_s in (("a", 101), ("b", 99)):
            store.put(key, SOUND)
            used(database, key, ago_s)
        assert store.sweep() == 1
        assert keys(store) == "b"

    def test_put_again_it_takes_its_own_place(self, store: Sounds) -> None:
        store.put("a", bytes(3_000))
        old = store.find("a")
        assert old is not None
        store.put("a", b"new" * 1_000)
        new = store.find("a")
        assert new is not None
        assert store.read(new) == b"new" * 1_000
        with pytest.raises(SoundGone):
            store.read(old)

    def test_one_whose_file_has_gone(self, store: Sounds) -> None:
        store.put("a", SOUND)
        file = store.find("a")
        assert file is not None
        store._delete([file])
        for read in (store.read, store.open):
            with pytest.raises(SoundGone):
                read(file)


class TestFaults:
    def test_a_full_disk_leaves_nothing(
        self, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = Sounds(database, str(tmp_path / "sounds"), StoreLimits(10_000, 100.0))

        def full(path: Path, *arguments: Any, **options: Any) -> IO[bytes]:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("audiorec.jobs.sounds.replacing", full)
            with pytest.raises(NoSpace):
                store.put("a", SOUND)
        assert keys(store) == ""
        assert not [path for path in (tmp_path / "sounds").rglob("*") if path.is_file()]
        store.put("a", SOUND)
        assert keys(store) == "a"

    def test_what_a_dead_process_left_unfinished_is_not_found_and_goes(
        self, database: Database, tmp_path: Path
    ) -> None:
        store = Sounds(database, str(tmp_path / "sounds"), StoreLimits(10_000, 100_000.0))
        store.put("a", SOUND)
        with database.writing() as connection:
            connection.execute(update(sounds).values(is_whole=False))
        assert store.find("a") is None
        assert store.sweep() == 0  # somebody may be writing it
        used(database, "a", 4_000)
        assert store.sweep() == 1
        assert not [path for path in (tmp_path / "sounds").rglob("*") if path.is_file()]

    def test_a_store_that_does_not_answer(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = Sounds(database, "memory://secret-bucket/sounds", StoreLimits(10_000, 100.0))
        store.put("a", SOUND)
        file = store.find("a")
        assert file is not None

        def fails(*arguments: Any, **options: Any) -> None:
            raise RuntimeError("secret-bucket")

        for name in ("cat_file", "pipe_file", "open", "size"):
            monkeypatch.setattr(type(store._files), name, fails)
        for ask in (store.read, store.open, store.size):
            with pytest.raises(JobsUnavailable) as refused:
                ask(file)
            assert "secret" not in refused.value.message
        with pytest.raises(JobsUnavailable):
            store.put("b", SOUND)
        assert keys(store) == "a"
        assert "secret" not in caplog.text

    def test_a_store_that_is_none(self, database: Database) -> None:
        with pytest.raises(BadSetting, match="expected a directory or a store that fsspec can open here"):
            Sounds(database, "nothing://x", StoreLimits(1, 1.0))


class TestPlaces:
    def test_are_in_the_model_directory_unless_said(self, tmp_path: Path) -> None:
        settings = Settings.load(model_dir=tmp_path, generator_model="x")
        assert urls(settings) == (f"sqlite:///{tmp_path}/generated/jobs.db", f"{tmp_path}/generated/sounds")
        said = Settings.load(model_dir=tmp_path, generator_jobs_url="a", generator_sounds_url="b")
        assert urls(said) == ("a", "b")

    def test_are_never_in_a_release(self, tmp_path: Path) -> None:
        (tmp_path / "manifest.json").write_text("{}")
        with pytest.raises(BadSetting, match="nothing for AUDIOREC_GENERATOR_SOUNDS_URL, expected places"):
            urls(Settings.load(model_dir=tmp_path, generator_jobs_url="a"))
