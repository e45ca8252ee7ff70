"""A generator with the signature of a real one, which does what a test tells it: for what is not about a model."""

import threading
from collections.abc import Callable

import numpy as np

from audiorec.errors import GenerationFailed
from audiorec.generate.facts import Facts
from audiorec.generate.generator import Generator
from audiorec.generate.prompt import Prompt
from audiorec.generate.sound import Sound

FACTS = Facts(
    name="pretender",
    kind="AudioLDMPipeline",
    licence="CC-BY-NC-SA-4.0",
    sample_rate_hz=16_000,
    n_channels=1,
    min_s=0.5,
    max_s=20.0,
    default_s=1.0,
    default_steps=4,
    max_steps=1_000,
    default_guidance=2.5,
    takes_negative=True,
    presets={"fast": 2},
    adapters={"bachata": "1" * 64},
    fingerprint="0" * 64,
)


class Pretender(Generator):
    """Noise by the seed; a prompt can say what goes wrong. It waits before each step for `may_step`."""

    def __init__(self) -> None:
        self.may_step = threading.Event()
        self.may_step.set()
        self.asked: list[Prompt] = []
        self.on_each: Callable[[int], None] = lambda step: None

    @property
    def facts(self) -> Facts:
        return FACTS

    def generate(self, prompt: Prompt, on_step: Callable[[int, int], None]) -> Sound:
        self.asked.append(prompt)
        assert prompt.steps is not None
        assert prompt.seconds is not None
        for step in range(prompt.steps + 1):
            on_step(step, prompt.steps)
            assert self.may_step.wait(30)
            self.on_each(step)
        if "silence" in prompt.prompt:
            raise GenerationFailed("got silence from the model, expected sound", code="silent")
        if "memory" in prompt.prompt:
            raise MemoryError
        if "fault" in prompt.prompt:
            raise ZeroDivisionError("a secret of /srv")
        rng = np.random.default_rng(prompt.seed)
        samples = rng.uniform(-0.5, 0.5, round(prompt.seconds * FACTS.sample_rate_hz)).astype(np.float32)
        return Sound(samples, FACTS.sample_rate_hz)
