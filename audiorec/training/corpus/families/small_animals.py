"""Frogs, insects and rattles."""

import numpy as np

from audiorec.samples.synth import Signal, wrap
from audiorec.training.corpus.families.throats import repeated, throat
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    RATE_HZ,
    band,
    curve,
    hold,
    scattered,
    strike,
    swept,
    time_s,
    tone,
    unit,
    wander,
)


def croak(patch: Patch) -> Signal:
    """Frogs: a train of pulses through a throat sac."""
    per_s, hz, length_s = patch.ratio(18, 110), patch.ratio(350, 2400), patch.ratio(0.1, 0.8)
    q, rise = patch.ratio(2, 9), patch.knob(0.8, 1.5)

    def call() -> Signal:
        n = patch.samples(length_s)
        phase = np.cumsum(per_s * curve(n, (1, rise))) / RATE_HZ
        pulses = np.exp(-wrap(phase) * patch.ratio(2, 9)) * patch.noise(n)
        carrier = tone(hz * curve(n, (0.9, 1.05, 1)), n) * np.exp(-wrap(phase) * 5)
        throat_sac = swept(pulses, np.full(n, hz), kind="band", q=q)
        return (unit(throat_sac) * 0.7 + carrier) * hold(n, 0.03, 0.06)

    return repeated(patch, call, 1, 6, (0.1, 0.6))


def insects(patch: Patch) -> Signal:
    """Crickets and cicadas: a carrier in chirps, or one that never stops."""
    n, hz = patch.n_samples(1, 5), patch.ratio(2500, 7200)
    pulse_per_s = patch.ratio(20, 120)
    pulses = (0.5 - 0.5 * np.cos(2 * np.pi * pulse_per_s * time_s(n))) ** 2
    chirps: Signal = np.ones(n)
    if patch.chance(0.6):
        chirps = (wrap(patch.ratio(0.8, 5) * time_s(n)) < patch.knob(0.2, 0.7)).astype(float)
    carrier = tone(hz * (1 + 0.003 * wander(patch, n, 0.05)), n) + patch.knob(0, 1) * swept(
        patch.noise(n), np.full(n, hz), kind="band", q=6
    )
    return carrier * pulses * band(chirps, high_hz=200) + 0.01 * patch.noise(n)


def fly(patch: Patch) -> Signal:
    """Flies, bees, mosquitoes that come near and go."""
    n = patch.n_samples(0.8, 4)
    hz = patch.ratio(110, 650) * (1 + 0.06 * wander(patch, n, patch.ratio(0.1, 0.5)))
    near = 0.5 + 0.5 * wander(patch, n, patch.ratio(0.3, 1.2))
    mouth = np.stack([np.full(n, c) for c in (900.0, 2400.0)], axis=1)
    return throat(patch, hz, mouth, breath=0.15, rough=0.04, q=1.5) * (0.15 + near) * hold(n, 0.1, 0.1)


def rattle(patch: Patch) -> Signal:
    n, per_s = patch.n_samples(0.3, 2.5), patch.ratio(12, 60)
    at = np.cumsum(RATE_HZ / per_s * (1 + 0.1 * patch.touch.standard_normal(int(n / RATE_HZ * per_s) + 2)))
    grain = band(patch.noise(250), patch.ratio(1200, 4500)) * strike(250, 0, 0.008)
    return scattered(n, at, 0.5 + 0.5 * patch.touch.random(len(at)), grain) * hold(n, 0.1, 0.2)


FAMILIES = {
    "croak": (croak,),
    "insects": (insects,),
    "fly": (fly,),
    "rattle": (rattle,),
}
