"""What a sound is asked for: the text and its settings, checked against what a model can do."""

import hashlib
import json
import math
import secrets
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from audiorec.errors import BadQuery
from audiorec.generate.facts import Facts
from audiorec.quoting import quoted
from audiorec.text import MAX_TEXT_CHARS, clean_text

MAX_GUIDANCE = 100.0  # published models are used at 2 to 15; what is beyond a hundred is a slip
MAX_SEED = 2**53 - 1  # what every reader of JSON keeps to the last digit


class Prompt(BaseModel):
    """The types of a request for a sound; whether its values can be is for `check`, which knows the model."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    prompt: str = Field(description="what the sound is to be, in words")
    negative_prompt: str | None = Field(None, description="what it is not to be; not with every model")
    seconds: float | None = Field(None, description="its length; the model's own unless said")
    steps: int | None = Field(None, description="of denoising: more take longer; not with MusicGen")
    guidance: float | None = Field(None, description="how closely it follows the words; 1 and below is not at all")
    seed: int | None = Field(None, description="the same gives the same sound; without one, each is another")
    adapter: str | None = Field(None, description="a fine-tuning of the model, by name")
    preset: Literal["fast"] | None = Field(None, description="fast: DPM-Solver++, 20 steps unless said")


@dataclass(frozen=True)
class Limits:
    """What whoever runs a model allows, beside what the model can do."""

    max_characters: int = MAX_TEXT_CHARS
    max_s: float = math.inf
    max_steps: int = 1000


DEFAULT = Limits()
UNLIMITED = Limits(max_characters=2**31, max_steps=2**31)


def check(prompt: Prompt, facts: Facts, limits: Limits = DEFAULT) -> Prompt:
    """The request with the model's own values where it says nothing, white space in its texts made one blank.

    Needs the facts alone, not the model. Raises BadQuery: what was got, what this model or these limits allow.
    """
    _check_text("prompt", prompt.prompt, limits)
    filled = with_defaults(prompt, facts)
    _check_length(filled, facts, limits)
    _check_guidance(filled, facts)
    _check_steps(filled, facts, limits)
    if filled.negative_prompt is not None:
        _check_negative(filled, facts, limits)
    if filled.seed is not None and not 0 <= filled.seed <= MAX_SEED:
        raise BadQuery(f"got seed = {filled.seed}, expected 0 to {MAX_SEED}")
    if filled.adapter is not None and filled.adapter not in facts.adapters:
        known = ", ".join(sorted(facts.adapters)) or "none: this model was given no adapters"
        raise BadQuery(f"got adapter {quoted(filled.adapter)}, expected one of: {known}")
    return filled


def with_defaults(prompt: Prompt, facts: Facts) -> Prompt:
    """The request as the model will see it, whether or not it can be granted."""
    default_steps = facts.presets.get(prompt.preset, facts.default_steps) if prompt.preset else facts.default_steps
    return prompt.model_copy(
        update={
            "prompt": " ".join(prompt.prompt.split()),
            "negative_prompt": " ".join((prompt.negative_prompt or "").split()) or None,
            "seconds": facts.default_s if prompt.seconds is None else float(prompt.seconds),
            "steps": default_steps if prompt.steps is None else prompt.steps,
            "guidance": facts.default_guidance if prompt.guidance is None else float(prompt.guidance),
        }
    )


def with_seed(prompt: Prompt) -> Prompt:
    """The request, with a random seed where it has none: whoever is told it can have the same sound again."""
    return prompt if prompt.seed is not None else prompt.model_copy(update={"seed": secrets.randbelow(2**31)})


def result_key(prompt: Prompt, facts: Facts) -> str | None:
    """The address of the sound by all that decides how it sounds, 64 hexadecimal digits; None without a seed."""
    if prompt.seed is None:
        return None
    asked = with_defaults(prompt, facts).model_dump()
    made_by = {
        "model": facts.fingerprint,
        "adapter": facts.adapters.get(prompt.adapter, "") if prompt.adapter else "",
        "arithmetic": facts.arithmetic,
    }
    return hashlib.sha256(json.dumps([asked, made_by], sort_keys=True).encode()).hexdigest()


def _check_text(name: str, text: str, limits: Limits) -> None:
    try:
        clean_text(text, limits.max_characters)
    except BadQuery as error:
        raise BadQuery(f"{name}: {error.message}") from None


def _check_length(filled: Prompt, facts: Facts, limits: Limits) -> None:
    assert filled.seconds is not None
    longest_s = min(facts.max_s, limits.max_s)
    if not facts.min_s <= filled.seconds <= longest_s:  # nor is NaN
        whose = "this model" if facts.max_s <= limits.max_s else "this service"
        raise BadQuery(f"got seconds = {filled.seconds:g}, expected {facts.min_s:g} to {longest_s:g} from {whose}")


def _check_guidance(filled: Prompt, facts: Facts) -> None:
    assert filled.guidance is not None
    if not 0 <= filled.guidance <= MAX_GUIDANCE:
        raise BadQuery(
            f"got guidance = {filled.guidance:g}, expected 0 to {MAX_GUIDANCE:g}; "
            f"{facts.default_guidance:g} is usual for this model"
        )


def _check_steps(filled: Prompt, facts: Facts, limits: Limits) -> None:
    if filled.preset is not None and filled.preset not in facts.presets:
        known = ", ".join(sorted(facts.presets)) or "none: this model has no presets"
        raise BadQuery(f"got preset '{filled.preset}', expected one of: {known}")
    if filled.steps is None:
        return
    if facts.max_steps is None:
        raise BadQuery(
            f"got steps = {filled.steps} for {facts.kind}, which makes a sound from start to end and has none: "
            "leave them out"
        )
    most = min(limits.max_steps, facts.max_steps)
    if not 1 <= filled.steps <= most:
        raise BadQuery(f"got steps = {filled.steps:,}, expected 1 to {most:,}")


def _check_negative(filled: Prompt, facts: Facts, limits: Limits) -> None:
    assert filled.negative_prompt is not None
    assert filled.guidance is not None
    _check_text("negative_prompt", filled.negative_prompt, limits)
    if not facts.takes_negative:
        raise BadQuery(f"got a negative prompt for {facts.kind}, which cannot take one: leave it out")
    if filled.guidance <= 1:
        raise BadQuery(
            f"got a negative prompt with guidance = {filled.guidance:g}, expected guidance above 1: "
            "without it the model does not read the negative prompt"
        )
