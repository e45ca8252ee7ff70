"""Throats: a buzz and breath through formants that move, and calls that are repeated."""

from collections.abc import Callable

import numpy as np

from audiorec.samples.families.voices import FORMANTS_HZ
from audiorec.samples.synth import Signal, cycles, resonance, saw, shape_over_time
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import RATE_HZ, curve, wander

VOWELS = tuple(FORMANTS_HZ)


def throat(
    patch: Patch, hz: Signal, formants_hz: Signal, *, breath: float = 0.05, rough: float = 0.0, q: float = 6.0,
    tilt: float = -6.0,
) -> Signal:  # fmt: skip
    """A voice: a buzz of pitch `hz` (n,) and breath through formants `(n, n_formants)` that move.

    rough: how much the pitch shivers from period to period, as in growls.
    """
    n_samples = len(hz)
    shaken = hz * (1 + rough * wander(patch, n_samples, 0.012)) if rough else hz
    buzz = saw(cycles(np.clip(shaken, 20, 6000), n_samples, RATE_HZ)) + breath * patch.noise(n_samples)

    def gain(at_s: Signal, frequency_hz: Signal) -> Signal:
        at = np.clip((at_s[:, 0] * RATE_HZ).astype(np.int64), 0, n_samples - 1)
        total = np.full((len(at), len(frequency_hz)), 0.02)
        for number, centres_hz in enumerate(formants_hz[at].T):
            total += resonance(frequency_hz[np.newaxis], centres_hz[:, np.newaxis], q) * 0.75**number
        return total * (np.maximum(frequency_hz, 100) / 500) ** ((tilt + 6) / 6.02)

    return shape_over_time(buzz, RATE_HZ, gain, 512)


def spoken(n_samples: int, vowels: str, tract: float) -> Signal:
    """(n_samples, 3): a mouth that moves from vowel to vowel."""
    points = np.array([FORMANTS_HZ[vowel] for vowel in vowels])
    at = np.linspace(0, 1, len(vowels)) if len(vowels) > 1 else np.array([0.0])
    position = np.linspace(0, 1, n_samples)
    return np.stack([tract * np.interp(position, at, column) for column in points.T], axis=1)


def formants(n_samples: int, *tracks: tuple[float, ...], tract: float = 1.0) -> Signal:
    """(n_samples, n_formants): each formant a line through its own points."""
    return np.stack([tract * curve(n_samples, points) for points in tracks], axis=1)


def repeated(patch: Patch, call: Callable[[], Signal], low: int, high: int, gap: tuple[float, float]) -> Signal:
    """A call once or more, with gaps; every repetition a little different."""
    n_calls, gap_s = patch.whole(low, high), patch.ratio(*gap)
    calls = [call() * float(patch.touch.uniform(0.6, 1)) for _ in range(n_calls)]
    gaps = [patch.samples(gap_s * float(patch.touch.uniform(0.7, 1.4))) for _ in calls]
    track = np.zeros(sum(map(len, calls)) + sum(gaps[:-1]))
    at = 0
    for sound, pause in zip(calls, gaps, strict=True):
        track[at : at + len(sound)] += sound
        at += len(sound) + pause
    return track
