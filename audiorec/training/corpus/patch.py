"""A patch: random settings of a synthesiser, and the takes that vary them.

Two takes of one patch are doppelgangers (Cherep & Singh 2025, arXiv 2406.05923): the same recipe with every setting
moved a little, which is what a contrastive loss is told to hear as the same sound.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.samples.synth import Signal

T = TypeVar("T")

N_PARAMETERS = 24  # as many settings of a patch as are kept; recipes seldom have more


class Patch:
    """The dice of one take of one patch.

    `riff` falls the same for every take (which waveform, which rhythm), `touch` is this take's own (noise, timing).
    Settings are asked for in a fixed order: each is the patch's own value in [0, 1], moved by `spread` standard
    deviations and reflected at the ends, then scaled to what was asked for. `parameters` keeps the values in [0, 1].
    """

    rate_hz = SAMPLE_RATE_HZ

    def __init__(self, patch_seed: Sequence[int], take_seed: Sequence[int], spread: float) -> None:
        self.riff = np.random.Generator(np.random.PCG64(patch_seed))
        self.touch = np.random.Generator(np.random.PCG64(take_seed))
        self.spread = spread
        self.parameters: list[float] = []

    def knob(self, low: float, high: float) -> float:
        """A setting in [low, high], drawn evenly."""
        value = self.riff.random() + self.spread * self.touch.standard_normal()
        value = abs(value) % 2
        value = 2 - value if value > 1 else value
        self.parameters.append(float(value))
        return low + (high - low) * float(value)

    def ratio(self, low: float, high: float) -> float:
        """A setting in [low, high] whose logarithm is drawn evenly: frequencies and times."""
        return float(low * (high / low) ** self.knob(0, 1))

    def pick(self, options: Sequence[T]) -> T:
        """One of some, the same in every take."""
        return options[int(self.riff.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        """Whether the patch has something, the same in every take."""
        return bool(self.riff.random() < probability)

    def whole(self, low: int, high: int) -> int:
        """A whole number in low..high, the same in every take."""
        return int(self.riff.integers(low, high + 1))

    def n_samples(self, low_s: float, high_s: float) -> int:
        """A length, much the same in every take."""
        return self.samples(self.ratio(low_s, high_s))

    def samples(self, seconds: float) -> int:
        """`seconds` as a number of samples, at least 64."""
        return max(round(seconds * self.rate_hz), 64)

    def noise(self, n_samples: int) -> Signal:
        """White noise of unit deviation, the take's own."""
        return self.touch.standard_normal(n_samples, dtype=np.float32)

    def steps(self, values: Sequence[float], n_steps: int) -> Signal:
        """`n_steps` picks among `values`, the same in every take."""
        return np.asarray(values, np.float64)[self.riff.integers(len(values), size=n_steps)]

    def part(self) -> "Callable[[], Patch]":
        """A part with settings of its own; every call gives its dice anew, so that all its notes sound alike."""
        patch_seed, take_seed = int(self.riff.integers(2**62)), int(self.touch.integers(2**62))
        return lambda: Patch((patch_seed,), (take_seed,), self.spread)
