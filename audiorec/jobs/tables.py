"""The tables: what was asked for, who makes sounds, which are kept, and what was counted. On SQLite and PostgreSQL.

Times are Unix times by the database's own clock, since the clocks of several hosts disagree.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

PREFIX = "audiorec1_"  # another format of the tables gets another number: then nobody reads what he cannot understand
metadata = MetaData()


class now_s(FunctionElement[float]):  # noqa: N801  # as SQL has it: a function
    """The database's clock, Unix time."""

    type = Double()
    inherit_cache = True


@compiles(now_s, "sqlite")
def _now_of_sqlite(element: now_s, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now_s, "postgresql")
def _now_of_postgresql(element: now_s, compiler: Any, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


jobs = Table(
    f"{PREFIX}jobs",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),  # the order of the queue
    Column("id", String(32), nullable=False, unique=True),
    Column("owner", String(80), nullable=False),  # who may see it; empty: whoever knows its id
    Column("counted_as", String(80), nullable=False),  # whose it is where jobs are counted
    Column("state", String(10), nullable=False),
    Column("prompt", Text, nullable=False),  # JSON of a Prompt
    Column("wishes", Text, nullable=False),  # JSON of Wishes
    Column("sound", String(64)),  # the key of its sound, from when somebody makes it
    Column("asked_s", Double, nullable=False),
    Column("begun_s", Double),
    Column("ended_s", Double),
    Column("stage", String(20), nullable=False, default=""),
    Column("step", Integer, nullable=False, default=0),
    Column("n_steps", Integer, nullable=False, default=0),
    Column("attempt", Integer, nullable=False, default=0),  # how often somebody has begun it
    Column("maker", String(120)),  # who has the lease
    Column("lease_until_s", Double),
    Column("is_cancelled", Boolean, nullable=False, default=False),  # its maker is to stop
    Column("error_code", String(40)),
    Column("error_message", Text),
    Column("outcome", Text),  # JSON of an Outcome
)
Index(f"{PREFIX}jobs_by_state", jobs.c.state, jobs.c.number)
Index(f"{PREFIX}jobs_by_caller", jobs.c.counted_as, jobs.c.number)
Index(f"{PREFIX}jobs_by_end", jobs.c.state, jobs.c.ended_s)
_running = jobs.c.state == "running"
Index(  # two equal sounds are never made at the same time, whoever begins
    f"{PREFIX}jobs_one_maker_a_sound", jobs.c.sound, unique=True, sqlite_where=_running, postgresql_where=_running
)

sounds = Table(
    f"{PREFIX}sounds",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("file", String(100), nullable=False),  # its name in the store, without an ending; never used again
    Column("n_bytes", BigInteger, nullable=False),  # of all its formats
    Column("is_whole", Boolean, nullable=False),
    Column("made_s", Double, nullable=False),
    Column("used_s", Double, nullable=False),
)
Index(f"{PREFIX}sounds_by_use", sounds.c.used_s)

makers = Table(
    f"{PREFIX}makers",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("state", String(10), nullable=False),
    Column("facts", Text),  # JSON of Facts
    Column("trouble", Text),
    Column("seen_s", Double, nullable=False),
)

tallies = Table(
    f"{PREFIX}tallies",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("label", String(40), primary_key=True),
    Column("value", Double, nullable=False),
)
