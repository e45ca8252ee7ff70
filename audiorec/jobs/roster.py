"""Which processes make sounds, by what model, and what keeps one from it."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError
from sqlalchemy import delete, select

from audiorec.generate.facts import Facts
from audiorec.jobs.database import Database
from audiorec.jobs.estimate import FRESH_S
from audiorec.jobs.tables import makers, now_s

MakerState = Literal["loading", "ready", "broken", "gone"]
BROKEN_S = 600.0  # a maker that was broken so long ago, and was not tried since, is nobody's trouble
KEPT_S = 86_400.0  # the facts of a maker that is gone: they tell what can be asked while another starts


@dataclass(frozen=True)
class Roster:
    """At a moment. facts: of the model that was ready last, of whichever process; trouble: why none is."""

    facts: Facts | None
    trouble: str | None
    n_ready: int


class Makers:
    """For any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tell(self, name: str, state: MakerState, *, facts: Facts | None = None, trouble: str | None = None) -> None:
        """How a maker is. It is to be told again before it would be taken for gone."""
        row = {"name": name, "state": state, "trouble": trouble, "facts": facts and facts.model_dump_json()}
        with self._database.writing() as connection:
            connection.execute(delete(makers).where(makers.c.name == name))
            connection.execute(delete(makers).where(makers.c.seen_s < now_s() - KEPT_S))
            connection.execute(makers.insert().values(**row, seen_s=now_s()))

    def read(self) -> Roster:
        """Raises JobsUnavailable."""
        age_s = (now_s() - makers.c.seen_s).label("age_s")
        with self._database.reading() as connection:
            rows = connection.execute(select(makers, age_s).order_by(makers.c.seen_s.desc())).mappings().all()
        ready = [row for row in rows if row["state"] == "ready" and row["age_s"] < FRESH_S]
        known = next((facts for row in [*ready, *rows] if (facts := _facts(row["facts"])) is not None), None)
        last = next((row for row in rows if row["state"] != "loading"), None)  # another try says nothing yet
        is_broken = not ready and last is not None and last["state"] == "broken" and last["age_s"] < BROKEN_S
        trouble = last["trouble"] if last is not None and is_broken else None
        return Roster(known, trouble, len(ready))


def _facts(told: str | None) -> Facts | None:
    """None for those of another version of audiorec, on a host that is not brought up to date yet."""
    with suppress(ValidationError):
        return Facts.model_validate_json(told or "")
    return None
