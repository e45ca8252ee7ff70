"""Where finished sounds are kept: a directory or an object store, with a size cap and an age limit.

A sound has an address, the key of its job; whoever asks for the same gets the same file. Its row in the database is
made before its file and deleted before it, so that no file is ever forgotten.
"""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import fsspec  # type: ignore[import-untyped,unused-ignore]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped,unused-ignore]
from sqlalchemy import Connection, delete, func, insert, select, update

from audiorec.errors import BadSetting, JobsUnavailable, NoSpace, SoundGone
from audiorec.files import replacing, writing_to_disk
from audiorec.jobs.database import Database
from audiorec.jobs.tables import jobs, now_s, sounds

LOG = logging.getLogger("audiorec")
FORMATS = ("wav", "flac", "mp3", "opus")
USE_S = 10.0  # a player asks for a file in many parts: one use
UNFINISHED_S = 3_600.0  # a file whose writer has died by then
UNDER_WAY = ("queued", "running", "finished")  # jobs that name a sound


@dataclass(frozen=True)
class StoreLimits:
    """max_bytes: of all files. max_age_s: how long a sound that nobody uses is kept."""

    max_bytes: int
    max_age_s: float


class Sounds:
    """For any thread, in any number of processes and hosts that reach the same database and store."""

    def __init__(self, database: Database, url: str, limits: StoreLimits) -> None:
        """url: a directory, or a store that fsspec knows. Raises BadSetting, NoSpace."""
        self._database = database
        self._limits = limits
        try:
            self._files, self._root = fsspec.core.url_to_fs(
                url, use_listings_cache=False
            )  # other hosts write there too
        except (ImportError, ValueError) as error:
            kind = url.partition(":")[0][:20]
            raise BadSetting(
                f"got {kind!r} for the store of sounds, expected a directory or a store that fsspec can open here "
                f"({type(error).__name__}): install what it needs"
            ) from None
        self._is_local = isinstance(self._files, LocalFileSystem)
        if self._is_local:
            with writing_to_disk("the folder of sounds"):
                Path(self._root).mkdir(parents=True, exist_ok=True)

    def find(self, key: str) -> str | None:
        """The file of a sound that is there, for `read` and `open`; it counts as used. Raises JobsUnavailable."""
        is_it = (sounds.c.key == key) & sounds.c.is_whole
        unused_s = now_s() - sounds.c.used_s
        with self._database.reading() as connection:
            found = connection.execute(select(sounds.c.file, unused_s).where(is_it)).first()
        if found is None:
            return None
        if found[1] > USE_S:
            with suppress(NoSpace, JobsUnavailable), self._database.writing() as connection:
                connection.execute(update(sounds).where(is_it).values(used_s=now_s()))
        return str(found[0])

    def put(self, key: str, wav: bytes) -> None:
        """Keeps a sound, and lets go of others for it. Raises NoSpace where its place cannot be made."""
        file = f"{key[:2]}/{key}-{secrets.token_hex(4)}"
        with self._database.writing() as connection:
            self._database.lock(connection)
            gone = [self._forget(connection, sounds.c.key == key)]
            gone.append(self._make_room(connection, len(wav)))
            row = {"key": key, "file": file, "n_bytes": len(wav), "is_whole": False, "made_s": now_s()}
            connection.execute(insert(sounds).values(**row, used_s=now_s()))
        self._delete([name for names in gone for name in names])
        try:
            self._write(f"{file}.wav", wav)
        except BaseException:
            with suppress(NoSpace, JobsUnavailable), self._database.writing() as connection:
                self._forget(connection, sounds.c.file == file)
            raise
        with self._database.writing() as connection:
            connection.execute(update(sounds).where(sounds.c.file == file).values(is_whole=True))

    def add(self, file: str, kind: str, content: bytes) -> None:
        """Keeps the same sound in another format, if there is room; it is no loss if not."""
        with suppress(NoSpace, JobsUnavailable):
            with self._database.writing() as connection:
                self._database.lock(connection)
                n_bytes = _n_bytes(connection)
                if n_bytes + len(content) > self._limits.max_bytes:
                    return
                larger = update(sounds).where(sounds.c.file == file).values(n_bytes=sounds.c.n_bytes + len(content))
                if not connection.execute(larger).rowcount:
                    return
            self._write(f"{file}.{kind}", content)

    def size(self, file: str, kind: str = "wav") -> int | None:
        """In bytes; None where the sound is not there in that format. Raises JobsUnavailable."""
        with _store():
            path = self._path(f"{file}.{kind}")
            try:
                return int(self._files.size(path))
            except FileNotFoundError:
                return None

    def read(self, file: str, kind: str = "wav") -> bytes:
        """Raises SoundGone, JobsUnavailable."""
        with _store():
            return cast(bytes, self._files.cat_file(self._path(f"{file}.{kind}")))

    def open(self, file: str, kind: str = "wav") -> Any:
        """A binary file that can be sought in. Raises SoundGone, JobsUnavailable."""
        with _store():
            return self._files.open(self._path(f"{file}.{kind}"), "rb")

    def sweep(self) -> int:
        """Deletes what nobody has used for too long, and what a dead process left. Never what a job names. How many."""
        too_old = sounds.c.used_s < now_s() - self._limits.max_age_s
        unfinished = ~sounds.c.is_whole & (sounds.c.made_s < now_s() - UNFINISHED_S)
        with self._database.writing() as connection:
            files = self._forget(connection, (too_old & ~_is_named()) | unfinished)
            with suppress(NoSpace):  # all that is over the cap is named: it goes with its jobs
                files += self._make_room(connection, 0)
        self._delete(files)
        return len(files)

    def n_bytes(self) -> int:
        """Of all sounds."""
        with self._database.reading() as connection:
            return _n_bytes(connection)

    def check_room(self) -> None:
        """Raises NoSpace where another sound could not be kept: all that are here are named by jobs."""
        with self._database.reading() as connection:
            named = select(func.coalesce(func.sum(sounds.c.n_bytes), 0)).where(_is_named())
            if connection.execute(named).scalar_one() >= self._limits.max_bytes:
                raise self._no_room()

    def _make_room(self, connection: Connection, n_new: int) -> list[str]:
        n_over = _n_bytes(connection) + n_new - self._limits.max_bytes
        if n_over <= 0:
            return []
        unnamed = select(sounds.c.file, sounds.c.n_bytes).where(~_is_named()).order_by(sounds.c.used_s)
        files = []
        for file, n_bytes in connection.execute(unnamed).all():
            files.append(file)
            n_over -= n_bytes
            if n_over <= 0:
                break
        if n_over > 0 and n_new:
            raise self._no_room()
        return self._forget(connection, sounds.c.file.in_(files))

    def _no_room(self) -> NoSpace:
        return NoSpace(
            f"got no place for another sound among {self._limits.max_bytes:,} bytes of sounds that jobs name, expected "
            "some: it comes when older jobs are forgotten, or the operator allows more"
        )

    @staticmethod
    def _forget(connection: Connection, which: Any) -> list[str]:
        files = list(connection.execute(select(sounds.c.file).where(which)).scalars())
        connection.execute(delete(sounds).where(sounds.c.file.in_(files)))
        return files

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _write(self, name: str, content: bytes) -> None:
        path = self._path(name)
        if self._is_local:
            with writing_to_disk("a sound"):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                with replacing(Path(path)) as file:
                    file.write(content)
            return
        with _store():
            self._files.pipe_file(path, content)

    def _delete(self, files: list[str]) -> None:
        """What cannot be deleted is told to the operator and left."""
        for file in files:
            for kind in FORMATS:
                path = self._path(f"{file}.{kind}")
                try:
                    if self._files.exists(path):
                        self._files.rm_file(path)
                except Exception as error:  # each store has its own
                    LOG.warning(
                        "a sound cannot be deleted from the store (%s): %s.%s", type(error).__name__, file, kind
                    )


def _n_bytes(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.sum(sounds.c.n_bytes), 0))).scalar_one())


def _is_named() -> Any:
    """Whether a job holds a sound that may be asked for."""
    return select(jobs.c.number).where(jobs.c.sound == sounds.c.key, jobs.c.state.in_(UNDER_WAY)).exists()


@contextmanager
def _store() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise SoundGone("got a sound that is not kept any more, expected one: ask for it again") from None
    except OSError as error:
        LOG.warning("the store of sounds does not answer: %s", type(error).__name__)
        raise JobsUnavailable("got no answer from the store of sounds, expected one: try again in a moment") from error
    except Exception as error:  # each store has its own
        LOG.warning("the store of sounds does not answer: %s", type(error).__name__)
        raise JobsUnavailable("got no answer from the store of sounds, expected one: try again in a moment") from error
