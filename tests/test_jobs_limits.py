"""What is asked for and what is allowed: the model's own values bow to the limits, a person's are refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from generators import FACTS

from audiorec.errors import BadQuery
from audiorec.generate.prompt import Limits, Prompt
from audiorec.jobs.limits import any_facts, granted, limits_of
from audiorec.settings import Settings

LIMITS = Limits(max_characters=100, max_s=5.0, max_steps=3)


def test_limits_are_the_settings() -> None:
    settings = Settings.load(model_dir=Path("x"), generator_max_s=5, generator_max_steps=3)
    assert limits_of(settings) == replace(LIMITS, max_characters=1_000)


def test_what_was_not_said_is_what_the_model_does_as_far_as_it_may() -> None:
    long = FACTS.model_copy(update={"default_s": 10.0})
    filled = granted(Prompt(prompt=" rain  on \n tin"), long, LIMITS)
    assert (filled.seconds, filled.steps, filled.guidance) == (5.0, 3, FACTS.default_guidance)
    assert filled.prompt == "rain on tin"
    assert granted(Prompt(prompt="rain", preset="fast"), FACTS, LIMITS).steps == 2
    assert granted(filled, long, LIMITS) == filled


@pytest.mark.parametrize("fields", [{"seconds": 6.0}, {"steps": 4}, {"prompt": "x" * 101}, {"guidance": float("nan")}])
def test_what_was_said_is_refused(fields: dict[str, object]) -> None:
    asked = Prompt.model_validate({"prompt": "rain", **fields})
    for facts in (FACTS, any_facts(asked)):
        with pytest.raises(BadQuery):
            granted(asked, facts, LIMITS)


def test_a_model_that_nobody_knows_yet_may_grant_it() -> None:
    asked = Prompt(prompt="rain", adapter="x", preset="fast", negative_prompt="noise", seconds=0.01, steps=2)
    assert granted(asked, any_facts(asked), LIMITS).adapter == "x"
    assert granted(Prompt(prompt="rain"), any_facts(Prompt(prompt="rain")), LIMITS).prompt == "rain"
