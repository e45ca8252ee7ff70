"""Pads: slow chords of detuned saws."""

from functools import partial

import numpy as np

from audiorec.samples.music import progression
from audiorec.samples.synth import Signal, cycles, low_pass, saw, shape_over_time, swell
from audiorec.samples.take import Take

AIR = 0.05


def pads(take: Take, *, octave: int, detune_cents: float, cutoff_hz: float, sweep: float, beats: int) -> Signal:
    """Chords that fade into each other under a filter that opens and closes by `sweep` octaves, `(2, n_samples)`."""
    track = take.track()
    cutoff_hz = take.varied(cutoff_hz)
    chord_s, fade_s = beats * take.beat_s, 0.35 * beats * take.beat_s
    roots = progression(take.riff)
    spread = take.riff.permutation([0, 2, 4, 7, 8])[:3]
    for bar in range(int(take.duration_s / chord_s) + 1):
        n_samples = min(take.samples(chord_s + fade_s), take.n_samples - int(bar * chord_s * take.rate_hz))
        if n_samples < take.rate_hz // 20:
            break
        gate = swell(n_samples, take.rate_hz, fade_s if bar else min(fade_s, 0.3), fade_s)
        for degree in (-7, *spread):
            hz = take.key.hz(roots[bar % 4] + int(degree), octave)
            for side in (-1, 1):
                detuned_hz = hz * 2 ** (side * detune_cents * float(take.touch.uniform(0.5, 1)) / 1200)
                voice = saw(cycles(detuned_hz, n_samples, take.rate_hz, float(take.touch.random())))
                track.add(voice * gate, bar * chord_s, pan=0.7 * side)
    for side in (-1, 1):
        track.add(take.noise(), gain=AIR, pan=0.7 * side)
    period_s, start = float(take.riff.uniform(5, 9)), float(take.riff.random())

    def gain(time_s: Signal, frequency_hz: Signal) -> Signal:
        octaves = sweep * np.sin(2 * np.pi * (time_s / period_s + start))
        return low_pass(frequency_hz, cutoff_hz * 2**octaves, 2)

    return np.stack([shape_over_time(channel, take.rate_hz, gain) for channel in track.samples])


KINDS = {
    "Warm pad": partial(pads, octave=4, detune_cents=9, cutoff_hz=1100, sweep=0.6, beats=4),
    "String machine": partial(pads, octave=4, detune_cents=14, cutoff_hz=2000, sweep=0.3, beats=4),
    "Dark pad": partial(pads, octave=4, detune_cents=7, cutoff_hz=700, sweep=0.8, beats=8),
    "Sweeping pad": partial(pads, octave=4, detune_cents=12, cutoff_hz=1300, sweep=1.1, beats=8),
}
