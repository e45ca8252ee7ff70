"""A take: what a family is asked to play, and the dice it may throw."""

from dataclasses import dataclass

import numpy as np

from audiorec.samples.music import Key
from audiorec.samples.synth import Signal, Track

NOISE_RATE_HZ = 44_100  # where noise has unit deviation


@dataclass(frozen=True, slots=True)
class Take:
    """One recording of one performance.

    `riff` falls the same for every take of a performance (notes, phrases, patterns); `touch` is this take's own
    (timing, loudness, noise).
    """

    rate_hz: int
    n_samples: int
    key: Key
    tempo_bpm: int
    riff: np.random.Generator
    touch: np.random.Generator

    @property
    def duration_s(self) -> float:
        return self.n_samples / self.rate_hz

    @property
    def beat_s(self) -> float:
        return 60 / self.tempo_bpm

    def track(self) -> Track:
        """An empty stereo track as long as the take."""
        return Track(self.n_samples, self.rate_hz)

    def samples(self, seconds: float) -> int:
        """`seconds` as a number of samples, at least two."""
        return max(round(seconds * self.rate_hz), 2)

    def noise(self, seconds: float | None = None) -> Signal:
        """White noise, as loud in each band at every rate, as long as the take unless `seconds` are given."""
        n_samples = self.n_samples if seconds is None else self.samples(seconds)
        return self.touch.standard_normal(n_samples) * float(np.sqrt(self.rate_hz / NOISE_RATE_HZ))

    def time_s(self) -> Signal:
        """The time of each sample, `(n_samples,)`."""
        return np.arange(self.n_samples) / self.rate_hz

    def sampled(self, curve: Signal, time_s: Signal) -> Signal:
        """The values of `curve`, one a sample, at `time_s`, held at its ends; the shape of `time_s`."""
        return curve[np.clip((time_s * self.rate_hz).astype(np.int64), 0, self.n_samples - 1)]

    def varied(self, value: float) -> float:
        """`value` as this performance has it: up to half an octave lower or higher."""
        return value * 2 ** float(self.riff.uniform(-0.5, 0.5))

    def jitter_s(self, spread_s: float) -> float:
        """A player's small error of timing, at most `spread_s` late."""
        return float(self.touch.uniform(0, spread_s))
