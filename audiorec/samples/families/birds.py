"""Birds: whistles that bend."""

from functools import partial

import numpy as np

from audiorec.samples.synth import Signal, cycles, resonance, shape, sine, swell
from audiorec.samples.take import Take


def syllable(take: Take, start_hz: float, bend: float, length_s: float, warble: float) -> Signal:
    """One whistle that glides by `bend` octaves with a fast `warble`: the syrinx is nearly a sine with moving
    frequency and pressure (Kahrs & Avanzini 2001, Computer synthesis of bird songs and calls)."""
    n_samples = take.samples(length_s)
    position = np.linspace(0, 1, n_samples)
    frequency_hz = start_hz * 2 ** (bend * position + warble * np.sin(2 * np.pi * 28 * position * length_s))
    phase = cycles(frequency_hz, n_samples, take.rate_hz)
    return (sine(phase) + 0.12 * sine(2 * phase)) * swell(n_samples, take.rate_hz, 0.3 * length_s, 0.5 * length_s)


def birds(
    take: Take,
    *,
    range_hz: tuple[float, float],
    length_s: float,
    repeats: int,
    bend: float,
    warble: float,
    pause_s: float,
) -> Signal:
    """A song of phrases, each a syllable said `repeats` times, over a quiet garden, `(2, n_samples)`."""
    track = take.track()
    at_s, pan = 0.05, float(take.riff.uniform(-0.5, 0.5))
    pitches, bends, stretches = take.riff.random(4), take.riff.uniform(-1, 1, 4), take.riff.uniform(0.6, 1.4, 4)
    low_hz, high_hz = range_hz
    while at_s < take.duration_s:
        word = take.riff.integers(4)
        start_hz, glide = low_hz * (high_hz / low_hz) ** pitches[word], bend * bends[word]
        syllable_s = length_s * stretches[word]
        for _ in range(int(take.riff.integers(max(repeats // 2, 1), repeats + 1))):
            loudness = float(take.touch.uniform(0.7, 1))
            track.add(syllable(take, start_hz, glide, syllable_s, warble), at_s, loudness, pan)
            at_s += 1.35 * syllable_s
        at_s += pause_s * float(take.touch.uniform(0.5, 1.5))
    garden = shape(take.noise(), take.rate_hz, lambda hz: resonance(hz, 900, 0.4))
    track.add(garden, gain=0.006)
    return track.samples


KINDS = {
    "Blackbird": partial(birds, range_hz=(1700, 3200), length_s=0.16, repeats=2, bend=0.5, warble=0.06, pause_s=0.25),
    "Canary": partial(birds, range_hz=(2600, 4800), length_s=0.05, repeats=14, bend=0.6, warble=0.0, pause_s=0.2),
    "Chiffchaff": partial(birds, range_hz=(3300, 4600), length_s=0.1, repeats=1, bend=-0.35, warble=0.0, pause_s=0.15),
    "Wren": partial(birds, range_hz=(3600, 6200), length_s=0.035, repeats=18, bend=0.5, warble=0.1, pause_s=0.08),
    "Nightingale": partial(birds, range_hz=(1500, 4500), length_s=0.11, repeats=6, bend=0.9, warble=0.04, pause_s=0.45),
}
