"""Databases for tests: an SQLite file, and a PostgreSQL that is started here where Debian's package is installed."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

NOBODY = 65534
START_S = 60
_NUMBERS = count()


def postgresql_bin() -> Path | None:
    """The folder of its programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a server's first database. It listens on a socket in a folder, and keeps nothing."""
    programs = postgresql_bin()
    if programs is None:
        pytest.skip("no PostgreSQL is installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="audiorec-pg-"))
    as_whom = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}  # it refuses to run as root
    if as_whom:
        os.chown(folder, NOBODY, NOBODY)
    data = folder / "data"
    make = [programs / "initdb", "-D", data, "-A", "trust", "-U", "audiorec", "--no-sync", "--no-locale", "-E", "UTF8"]
    subprocess.run(make, check=True, capture_output=True, cwd=folder, **as_whom)  # type: ignore[call-overload]
    listen = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=100"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(  # type: ignore[call-overload]
            [programs / "postgres", "-D", data, *listen], stdout=log, stderr=log, cwd=folder, **as_whom
        )
    try:
        ready = [programs / "pg_isready", "-q", "-h", folder]
        deadline = time.monotonic() + START_S
        while subprocess.run(ready, check=False).returncode:
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"postgresql://audiorec@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder)


def new_database(server_url: str) -> str:
    """The URL of an empty database of a server."""
    import psycopg

    name = f"test_{next(_NUMBERS)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    return server_url.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    return new_database(request.getfixturevalue("postgresql"))
