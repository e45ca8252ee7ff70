"""Sound without a name: clouds of grains, noise in motion, oscillators that modulate each other."""

import numpy as np

from audiorec.samples.synth import Signal, wrap
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    RATE_HZ,
    curve,
    hold,
    modes,
    poisson,
    ring,
    scattered,
    strike,
    swept,
    tilted,
    time_s,
    tone,
    unit,
    wander,
)


def grains(patch: Patch) -> Signal:
    """A cloud of one kind of grain, from a few a second to thousands."""
    n, m = patch.n_samples(0.3, 4), patch.samples(patch.ratio(0.005, 0.15))
    hz, t60 = patch.ratio(150, 6000), m / RATE_HZ
    kind = patch.pick(("noise", "mode", "glide", "pulse"))
    if kind == "noise":
        grain = ring(patch.noise(m), (hz,), patch.ratio(0.7, 8)) * strike(m, 0.001, t60)
    elif kind == "mode":
        ratios = np.cumsum(0.3 + patch.riff.random(5))
        grain = modes(m, hz * ratios, np.full(5, t60), patch.riff.random(5)) * hold(m, 0.001, 0.2 * t60)
    elif kind == "glide":
        grain = tone(np.clip(hz * 2 ** curve(m, patch.riff.uniform(-1.5, 1.5, 3)), 40, 7600), m) * hold(
            m, 0.002, 0.5 * t60
        )
    else:
        grain = np.sign(tone(hz, m)) * hold(m, 0.0005, 0.002)
    per_s = patch.ratio(3, 1500)
    at = poisson(patch, n, per_s)
    if patch.chance(0.3):
        at = np.arange(0, n, RATE_HZ / per_s)
    cloud = scattered(n, at, patch.touch.exponential(1, len(at)) ** patch.knob(0.2, 2), grain)
    return unit(cloud) * np.clip(0.6 + patch.knob(0, 0.8) * wander(patch, n, patch.ratio(0.05, 1)), 0, 2)


def noise_in_motion(patch: Patch) -> Signal:
    """Noise of any colour through a moving band, its level moving too."""
    n = patch.n_samples(0.2, 5)
    rate_hz = patch.ratio(0.3, 40)
    shapes = {
        "sine": np.sin(2 * np.pi * rate_hz * time_s(n)),
        "saw": 2 * wrap(rate_hz * time_s(n)) - 1,
        "random": wander(patch, n, 1 / rate_hz),
        "line": curve(n, patch.riff.uniform(-1, 1, 4)),
    }
    motion, other = shapes[patch.pick(tuple(shapes))], shapes[patch.pick(tuple(shapes))]
    centre = np.clip(patch.ratio(150, 5000) * 2 ** (patch.knob(0, 2.5) * motion), 40, 7800)
    sound = swept(patch.noise(n), centre, kind=patch.pick(("band", "band", "low", "high")), q=patch.ratio(0.5, 12))
    sound = tilted(unit(sound), patch.knob(-6, 3)) * (1 + patch.knob(0, 1) * other)
    return sound * hold(n, patch.ratio(0.003, 0.8), patch.ratio(0.01, 1))


def modulated(patch: Patch) -> Signal:
    """Oscillators that modulate each other's pitch and level: science fiction."""
    n, hz = patch.n_samples(0.2, 4), patch.ratio(40, 3000)
    slow, fast = patch.ratio(0.2, 20), hz * patch.ratio(0.1, 8)
    glide = 2 ** (curve(n, patch.riff.uniform(-1, 1, patch.whole(2, 5))) * patch.knob(0, 2))
    lfo = np.sin(2 * np.pi * slow * time_s(n)) if patch.chance(0.6) else np.sign(np.sin(2 * np.pi * slow * time_s(n)))
    moving_hz = np.clip(hz * glide * 2 ** (patch.knob(0, 1) * lfo), 20, 7000)
    index = patch.ratio(0.1, 10) * (1 + patch.knob(-1, 1) * lfo)
    phase = 2 * np.pi * np.cumsum(moving_hz) / RATE_HZ
    carrier = np.sin(phase + index * np.sin(2 * np.pi * np.cumsum(fast * glide) / RATE_HZ))
    if patch.chance(0.3):
        carrier = carrier * np.sin(2 * np.pi * patch.ratio(20, 900) * time_s(n))
    return carrier * hold(n, patch.ratio(0.002, 0.5), patch.ratio(0.01, 0.8))


FAMILIES = {
    "grains": (grains,),
    "moving noise": (noise_in_motion,),
    "science fiction": (modulated,),
}
