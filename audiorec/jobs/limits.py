"""What whoever runs the service allows to be asked for."""

from audiorec.generate.facts import Facts
from audiorec.generate.prompt import Limits, Prompt, check, with_defaults
from audiorec.settings import Settings


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.generator_max_prompt_characters, settings.generator_max_s, settings.generator_max_steps)


def granted(prompt: Prompt, facts: Facts, limits: Limits) -> Prompt:
    """The request with the model's own values filled in, as far as they are allowed. Raises BadQuery."""
    filled = with_defaults(prompt, facts)
    allowed: dict[str, float] = {}
    if prompt.seconds is None:
        allowed["seconds"] = min(facts.default_s, limits.max_s)
    if prompt.steps is None and filled.steps is not None:
        allowed["steps"] = min(filled.steps, limits.max_steps)
    return check(prompt.model_copy(update=allowed), facts, limits)


def any_facts(prompt: Prompt) -> Facts:
    """Of a model that could grant the request, as long as nobody knows which model it will be."""
    return Facts(
        name="",
        kind="",
        licence="",
        sample_rate_hz=0,
        n_channels=1,
        min_s=1e-3,
        max_s=1e9,
        default_s=1e-3,
        default_steps=1,
        max_steps=10**9,
        default_guidance=2.0,
        takes_negative=True,
        presets={prompt.preset: 1} if prompt.preset else {},
        adapters={prompt.adapter: ""} if prompt.adapter else {},
        fingerprint="",
    )
