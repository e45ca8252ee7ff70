"""Calls of no animal in particular: any throat, any melody, any rhythm."""

import numpy as np

from audiorec.samples.synth import Signal
from audiorec.training.corpus.families.throats import repeated, throat
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import band, crushed, curve, hold, time_s, unit, wave


def call(patch: Patch) -> Signal:
    """Up to eight calls, of a pitch anywhere between a lion's and a bird's."""
    hz, length_s = patch.ratio(60, 3000), patch.ratio(0.05, 1.8)
    arc = patch.riff.uniform(-1, 1, patch.whole(2, 6)) * patch.ratio(0.05, 0.7)
    lowest = max(float(patch.riff.uniform(300, 1000)), 0.8 * hz)
    mouths = lowest * np.array([1.0, 2.1, 3.4])[:, None] * np.exp(patch.riff.uniform(-0.35, 0.35, (3, 4)))
    breath, rough, q, tilt = patch.ratio(0.02, 3), patch.ratio(0.004, 0.5), patch.ratio(2, 12), patch.knob(-14, -3)
    tremolo_hz, depth = patch.ratio(4, 60), patch.knob(-0.7, 0.8)
    attack_s, release_s = length_s * patch.ratio(0.02, 0.5), length_s * patch.ratio(0.05, 0.6)

    def one() -> Signal:
        n = patch.samples(length_s * float(patch.touch.uniform(0.8, 1.25)))
        moving_hz = hz * 2 ** (curve(n, arc) + float(patch.touch.normal(0, 0.03)))
        mouth = np.stack([np.minimum(curve(n, points), 7000) for points in mouths], axis=1)
        sound = unit(throat(patch, moving_hz, mouth, breath=breath, rough=rough, q=q, tilt=tilt))
        shaken = 1 + max(depth, 0.0) * np.sin(2 * np.pi * tremolo_hz * time_s(n))
        return sound * shaken * hold(n, attack_s, release_s)

    return repeated(patch, one, 1, patch.pick((1, 2, 4, 8)), (0.03, 0.8))


def toy(patch: Patch) -> Signal:
    """The same from a cheap loudspeaker: electronic pets, talking dolls."""
    hz, length_s = patch.ratio(300, 2500), patch.ratio(0.05, 0.4)
    arc = patch.riff.uniform(-0.8, 0.8, patch.whole(2, 5))
    waveform = patch.pick(("square", "saw", "triangle"))

    def one() -> Signal:
        n = patch.samples(length_s)
        moving_hz = np.clip(hz * 2 ** (curve(n, arc) + float(patch.touch.normal(0, 0.02))), 60, 6000)
        return wave(waveform, moving_hz, n) * hold(n, 0.003, 0.02)

    return crushed(band(repeated(patch, one, 1, 8, (0.01, 0.2)), 400, 5000), patch.knob(4, 9), patch.whole(1, 3))


FAMILIES = {"call": (call,), "toy": (toy,)}
