"""Sirens and horns of the street."""

from functools import partial

import numpy as np

from audiorec.samples.synth import Signal, cycles, resonance, saw, shape, wrap
from audiorec.samples.take import Take


def rise_and_fall(turn: Signal) -> Signal:
    """An electric motor's siren: it speeds up and slows down exponentially, half a cycle each."""
    return np.where(turn < 0.5, 1 - np.exp(-8 * turn), np.exp(-8 * (turn - 0.5)))


def two_tone(turn: Signal) -> Signal:
    """High for half a cycle, low for the other."""
    return np.where(turn < 0.5, 1.0, 0.0)


def triangle(turn: Signal) -> Signal:
    """Up and down in straight lines."""
    return 1 - np.abs(2 * turn - 1)


SWEEPS = {"motor": rise_and_fall, "two-tone": two_tone, "triangle": triangle}


def sirens(take: Take, *, sweep: str, low_hz: float, high_hz: float, period_s: float, horn_hz: float) -> Signal:
    """A driven horn that sweeps from `low_hz` to `high_hz` every `period_s` and drives past, `(2, n_samples)`."""
    time_s = take.time_s()
    period_s *= float(take.riff.uniform(0.85, 1.15))
    pitch = float(take.riff.uniform(0.92, 1.08))
    position = SWEEPS[sweep](wrap(time_s / period_s + take.riff.random()))
    # Passing at 14 m/s, 12 m from the road's edge: Doppler's shift, distance and direction all follow from `along_m`.
    along_m = 14 * (time_s - float(take.touch.uniform(0.3, 0.9)) * take.duration_s)
    distance_m = np.hypot(along_m, 12)
    doppler = 343 / (343 + 14 * along_m / distance_m)
    frequency_hz = pitch * low_hz * (high_hz / low_hz) ** position * doppler
    drive = saw(cycles(frequency_hz, take.n_samples, take.rate_hz))
    horn = shape(drive, take.rate_hz, lambda hz: resonance(hz, horn_hz, 1.4) + 0.4 * resonance(hz, 2.6 * horn_hz, 2.0))
    horn *= 12 / distance_m
    side = 0.8 * along_m / distance_m
    return np.stack([horn * np.sqrt(1 - side), horn * np.sqrt(1 + side)])


KINDS = {
    "Wailing siren": partial(sirens, sweep="motor", low_hz=550, high_hz=1450, period_s=4.2, horn_hz=1100),
    "Yelping siren": partial(sirens, sweep="triangle", low_hz=650, high_hz=1500, period_s=0.33, horn_hz=1200),
    "Two-tone horn": partial(sirens, sweep="two-tone", low_hz=435, high_hz=580, period_s=1.1, horn_hz=800),
    "Harbour alarm": partial(sirens, sweep="motor", low_hz=230, high_hz=520, period_s=6.0, horn_hz=600),
}
