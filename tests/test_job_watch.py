"""Those who wait for jobs, and what they are told while the table cannot be read."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from audiorec.api.generation import watch
from audiorec.api.generation.watch import JobWatch, Seen
from audiorec.errors import JobsUnavailable


@pytest.mark.parametrize("error", [JobsUnavailable("got no database, expected one"), ValueError("an odd row")])
def test_who_waits_is_told_that_nothing_is_known_and_then_what_is(
    monkeypatch: pytest.MonkeyPatch, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.0)
    job: Any = "the job"
    paces: Any = "how fast jobs go"
    answers: list[Seen | Exception] = [error, ({"1": job}, paces)]

    async def look(ids: list[str]) -> Seen:
        assert ids == ["1"]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def follow() -> list[Any]:
        async with aclosing(JobWatch(look).follow("1")) as seen:
            return [await anext(seen), await anext(seen)]

    assert asyncio.run(asyncio.wait_for(follow(), 30)) == [None, (job, paces)]
    assert "cannot look at jobs" in caplog.text
    assert ("ValueError: an odd row" in caplog.text) == isinstance(error, ValueError)
