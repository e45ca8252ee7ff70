"""The database that jobs are kept in: SQLite for one host, PostgreSQL for several."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from audiorec.errors import BadSetting, JobsUnavailable, NoSpace
from audiorec.files import writing_to_disk
from audiorec.jobs.tables import metadata

WAIT_S = 10  # for whoever else writes
LOCK = 0x617564696F726563  # PostgreSQL's word for "one at a time": a number that others hardly use
FULL = ("database or disk is full", "disk I/O error", "readonly database", "No space left on device", "DiskFull")
READING = {"audiorec_reading": True}


class Database:
    """The tables are there once it is open. For any thread."""

    def __init__(self, url: str) -> None:
        """url: sqlite:////PATH or postgresql://... Raises BadSetting, NoSpace, JobsUnavailable."""
        self._url = _parsed(url)
        self.is_shared = self._url.get_backend_name() == "postgresql"  # between hosts
        if not self.is_shared:
            with writing_to_disk("the table of jobs"):
                Path(self._url.database or "").parent.mkdir(parents=True, exist_ok=True)
        self.engine = _postgresql(self._url) if self.is_shared else _sqlite(self._url)
        with self.writing() as connection:
            self.lock(connection)
            metadata.create_all(connection)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: all of the block, or nothing. Raises NoSpace, JobsUnavailable; IntegrityError as it is."""
        with _translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """What it shows is of one moment on SQLite. Raises JobsUnavailable."""
        with _translated(), self.engine.connect().execution_options(**READING) as connection:
            yield connection

    def lock(self, connection: Connection) -> None:
        """Until the end of the transaction, others who want the lock wait. SQLite lets only one write anyway."""
        if self.is_shared:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})

    def close(self) -> None:
        self.engine.dispose()


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    kinds = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgresql+psycopg": "postgresql+psycopg"}
    if parsed is None or parsed.drivername not in kinds or not parsed.database:
        kind = url.partition(":")[0][:20] if parsed is not None else "no URL"
        raise BadSetting(
            f"got {kind!r} for the table of jobs, expected sqlite:////PATH or postgresql://USER:PASSWORD@HOST/NAME"
        )
    return parsed.set(drivername=kinds[parsed.drivername])


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": WAIT_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # its own guesses when a transaction begins are wrong: see `begin`
        connection.execute("PRAGMA journal_mode=WAL")  # who reads waits for nobody
        connection.execute("PRAGMA synchronous=NORMAL")  # safe from all but a power cut

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("audiorec_reading")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url,
            pool_pre_ping=True,  # it may have been started anew
            pool_size=2,
            max_overflow=8,
            connect_args={
                "connect_timeout": WAIT_S,
                "application_name": "audiorec",
                "options": f"-c statement_timeout={WAIT_S}s -c lock_timeout={WAIT_S}s",
            },
        )
    except ImportError:
        raise BadSetting(
            "got a PostgreSQL URL for the table of jobs, expected psycopg to be installed: "
            "pip install 'audiorec[postgres]'"
        ) from None


@contextmanager
def _translated() -> Iterator[None]:
    """Never with an address or a statement in it, which may hold a password, or somebody's words."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        told = f"{type(error.orig).__name__}: {error.orig}"
        if any(word in told for word in FULL):
            raise NoSpace("got a full or read-only disk for the table of jobs, expected room: make some") from error
        raise JobsUnavailable("got no answer from the table of jobs, expected one: try again in a moment") from error
