"""What a request for a sound may say: limits, defaults, and the address of its result."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from audiorec.errors import BadQuery
from audiorec.generate import Facts, Limits, Prompt, check, result_key, with_seed
from audiorec.generate.prompt import MAX_SEED

FACTS = Facts(
    name="tiny",
    kind="AudioLDMPipeline",
    licence="CC-BY-NC-SA-4.0",
    sample_rate_hz=16_000,
    n_channels=1,
    min_s=0.5,
    max_s=30.0,
    default_s=5.12,
    default_steps=200,
    max_steps=1000,
    default_guidance=2.5,
    takes_negative=True,
    presets={"fast": 20},
    adapters={"salsa": "1" * 64},
    fingerprint="f" * 64,
)
MUSICGEN = FACTS.model_copy(
    update={
        "kind": "MusicgenForConditionalGeneration",
        "default_steps": None,
        "max_steps": None,
        "takes_negative": False,
        "presets": {},
        "adapters": {},
    }
)


def asked(**fields: Any) -> Prompt:
    return Prompt(**{"prompt": "rain", **fields})


def refusal(prompt: Prompt, facts: Facts = FACTS, **limits: Any) -> str:
    with pytest.raises(BadQuery) as refused:
        check(prompt, facts, Limits(**limits))
    assert refused.value.status == 422
    return refused.value.message


def test_what_is_not_said_is_the_models_own() -> None:
    filled = check(asked(), FACTS)
    assert (filled.seconds, filled.steps, filled.guidance) == (5.12, 200, 2.5)
    assert (filled.negative_prompt, filled.seed, filled.adapter, filled.preset) == (None, None, None, None)
    assert check(filled, FACTS) == filled


def test_what_is_said_stays() -> None:
    said = asked(seconds=8.0, steps=50, guidance=3.5, negative_prompt="noise", seed=7, adapter="salsa", preset="fast")
    assert check(said, FACTS) == said
    assert check(asked(preset="fast"), FACTS).steps == 20


def test_white_space_is_one_blank() -> None:
    filled = check(asked(prompt="  fast\tbachata\r\n with  guitar\n", negative_prompt=" \n "), FACTS)
    assert (filled.prompt, filled.negative_prompt) == ("fast bachata with guitar", None)


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_prompt(text: str) -> None:
    assert refusal(asked(prompt=text)).startswith("prompt: got a text with nothing in it")


@pytest.mark.parametrize("text", ["rain\x00", "\x1b[31mred", "ra\x7fin", "\ud800"])
@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_control_characters(field: str, text: str) -> None:
    assert refusal(asked().model_copy(update={field: text})).startswith(f"{field}: got a text with ")


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_ten_thousand_characters(field: str) -> None:
    message = refusal(asked(**{field: "x" * 10_000}))
    assert message.startswith(f"{field}: got a text of 10,000 characters, expected at most 1,000")
    assert check(asked(**{field: "x" * 10_000}), FACTS, Limits(max_characters=10_000))


@pytest.mark.parametrize("text", ["ünïcödé 名前 🎧", "100% \"quoted\" 'words' <b>", "a" * 1000])
def test_any_words(text: str) -> None:
    assert check(asked(prompt=text), FACTS).prompt == text


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.49, 30.01, 3600.0, math.inf, -math.inf, math.nan])
def test_lengths_that_the_model_has_not(seconds: float) -> None:
    assert refusal(asked(seconds=seconds)) == f"got seconds = {seconds:g}, expected 0.5 to 30 from this model"


def test_lengths_that_the_service_has_not() -> None:
    assert refusal(asked(seconds=9.0), max_s=8.0) == "got seconds = 9, expected 0.5 to 8 from this service"
    assert check(asked(seconds=8), FACTS, Limits(max_s=8.0)).seconds == 8


@pytest.mark.parametrize("steps", [0, -5, 1001, 10**6])
def test_steps(steps: int) -> None:
    assert refusal(asked(steps=steps)) == f"got steps = {steps:,}, expected 1 to 1,000"
    assert refusal(asked(steps=200), max_steps=100) == "got steps = 200, expected 1 to 100"


@pytest.mark.parametrize("guidance", [math.nan, math.inf, -math.inf, -0.1, 100.1, 1e308])
def test_guidance(guidance: float) -> None:
    message = refusal(asked(guidance=guidance))
    assert message == f"got guidance = {guidance:g}, expected 0 to 100; 2.5 is usual for this model"


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_seeds(seed: int) -> None:
    assert refusal(asked(seed=seed)) == f"got seed = {seed}, expected 0 to {MAX_SEED}"
    assert check(asked(seed=MAX_SEED), FACTS).seed == MAX_SEED


def test_an_unknown_adapter() -> None:
    assert refusal(asked(adapter="../../etc")) == "got adapter '../../etc', expected one of: salsa"
    assert refusal(asked(adapter="salsa"), MUSICGEN).endswith("none: this model was given no adapters")


def test_a_negative_prompt_that_would_not_be_read() -> None:
    assert "expected guidance above 1" in refusal(asked(negative_prompt="noise", guidance=1.0))
    assert refusal(asked(negative_prompt="noise"), MUSICGEN).startswith("got a negative prompt for Musicgen")


def test_a_model_without_steps_or_presets() -> None:
    assert check(asked(), MUSICGEN).steps is None
    assert "has none: leave them out" in refusal(asked(steps=50), MUSICGEN)
    assert refusal(asked(preset="fast"), MUSICGEN).endswith("none: this model has no presets")


@pytest.mark.parametrize(
    "fields",
    [{"seconds": "8"}, {"steps": 1.5}, {"steps": True}, {"seed": "7"}, {"guidance": None, "prompt": 5}, {"speed": 2}],
)
def test_types(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        asked(**fields)


def test_facts_travel_as_json() -> None:
    assert Facts.model_validate_json(FACTS.model_dump_json()) == FACTS


def test_equal_requests_have_one_address() -> None:
    key = result_key(asked(seed=7), FACTS)
    assert key is not None
    assert len(key) == 64
    assert result_key(asked(seed=7, prompt=" rain\n", steps=200, seconds=5.12), FACTS) == key
    assert result_key(check(asked(seed=7), FACTS), FACTS) == key
    assert result_key(asked(seed=7, seconds=8), FACTS) == result_key(asked(seed=7, seconds=8.0), FACTS)


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 8},
        {"prompt": "Rain"},
        {"steps": 199},
        {"seconds": 5.0},
        {"guidance": 2.6},
        {"negative_prompt": "wind"},
        {"adapter": "salsa"},
        {"preset": "fast"},
    ],
)
def test_other_requests_have_others(fields: dict[str, Any]) -> None:
    assert result_key(asked(**{"seed": 7, **fields}), FACTS) != result_key(asked(seed=7), FACTS)


@pytest.mark.parametrize(
    "changed", [{"fingerprint": "0" * 64}, {"arithmetic": "cuda float16"}, {"adapters": {"salsa": "2" * 64}}]
)
def test_other_models_have_others(changed: dict[str, Any]) -> None:
    said = asked(seed=7, adapter="salsa")
    assert result_key(said, FACTS.model_copy(update=changed)) != result_key(said, FACTS)
    assert result_key(said, FACTS.model_copy(update={"name": "elsewhere"})) == result_key(said, FACTS)


def test_without_a_seed_there_is_no_address() -> None:
    assert result_key(asked(), FACTS) is None
    seeded = [with_seed(asked()) for _ in range(3)]
    assert len({one.seed for one in seeded}) > 1
    assert result_key(seeded[0], FACTS) is not None
    assert with_seed(asked(seed=7)).seed == 7
