"""What is counted for good, in the database: jobs are forgotten after a while, and who counts may die."""

from collections.abc import Mapping

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite

from audiorec.jobs.database import Database
from audiorec.jobs.tables import tallies

ENDED, FAILED, SECONDS = "ended", "failed", "seconds"  # jobs by state, failed jobs by reason, seconds by stage


def count(connection: Connection, name: str, amounts: Mapping[str, float]) -> None:
    """Adds to each label's tally, in the caller's transaction."""
    insert = insert_sqlite if connection.dialect.name == "sqlite" else insert_postgresql
    for label in sorted(amounts):  # in one order, so that two transactions never wait for each other
        connection.execute(
            insert(tallies).values(name=name, label=label, value=0.0).on_conflict_do_nothing(),
        )
        where = (tallies.c.name == name) & (tallies.c.label == label)
        connection.execute(update(tallies).where(where).values(value=tallies.c.value + amounts[label]))


def read_tallies(database: Database) -> dict[str, dict[str, float]]:
    """By name and label. Raises JobsUnavailable."""
    found: dict[str, dict[str, float]] = {ENDED: {}, FAILED: {}, SECONDS: {}}
    with database.reading() as connection:
        for name, label, value in connection.execute(select(tallies.c.name, tallies.c.label, tallies.c.value)):
            found.setdefault(name, {})[label] = value
    return found
