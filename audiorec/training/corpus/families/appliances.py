"""Tools, household machines and bells."""

import numpy as np

from audiorec.samples.synth import Signal, wrap
from audiorec.training.corpus.families.instruments import bell
from audiorec.training.corpus.families.objects import struck
from audiorec.training.corpus.families.vehicles import firing
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    RATE_HZ,
    band,
    curve,
    driven,
    harmonics,
    hold,
    place,
    ring,
    scattered,
    swept,
    tilted,
    time_s,
    unit,
    wander,
)


def drill(patch: Patch) -> Signal:
    """Electric tools: a whining motor under load."""
    n, hz = patch.n_samples(0.8, 4), patch.ratio(120, 700)
    load = np.clip(1 + 0.25 * wander(patch, n, patch.ratio(0.2, 0.8)), 0.5, 1.5)
    spin = hz * load * curve(n, (0.4, 1, 1, 1, 0.5), (0, patch.knob(0.05, 0.2), 0.5, 0.9, 1))
    gears = harmonics(spin, n, patch.riff.random(24) / np.arange(1, 25) ** 0.5)
    grind = band(patch.noise(n), 1200) * (1 + 0.6 * np.sin(2 * np.pi * np.cumsum(spin) / RATE_HZ))
    bites = band((load < 1.05).astype(float), high_hz=12)
    return unit(gears) + patch.knob(0.1, 1.2) * unit(grind) * bites


def jackhammer(patch: Patch) -> Signal:
    n, per_s = patch.n_samples(0.8, 4), patch.ratio(8, 32)
    blow = struck(patch, "metal")(1.0)[:2500]
    at = np.cumsum(RATE_HZ / per_s * (1 + 0.03 * patch.touch.standard_normal(int(n / RATE_HZ * per_s) + 2)))
    blows = scattered(n, at, 0.7 + 0.3 * patch.touch.random(len(at)), blow)
    dust = band(patch.noise(n), 200, 4000) * np.exp(-wrap(time_s(n) * per_s) * 4)
    return unit(blows) + patch.knob(0.2, 1) * unit(dust)


def chainsaw(patch: Patch) -> Signal:
    n = patch.n_samples(1, 5)
    per_s = patch.ratio(60, 170) * 2 ** (0.5 * wander(patch, n, patch.ratio(0.2, 0.9)))
    return driven(
        ring(firing(patch, per_s, 1), patch.riff.uniform(300, 3500, 4), 1.5, floor=0.2), patch.ratio(2, 8)
    ) * hold(n, 0.1, 0.2)


def fan(patch: Patch) -> Signal:
    """Vacuum cleaners, hair driers, air conditioners: steady wind and a motor's hum."""
    n = patch.n_samples(1, 5)
    wind = tilted(ring(patch.noise(n), patch.riff.uniform(200, 4000, 3), 1.2, floor=0.3), patch.knob(-5, 0))
    hz = patch.ratio(45, 900)
    spin_up = curve(n, (0.5, 1, 1), (0, 0.15, 1)) if patch.chance(0.3) else np.ones(n)
    hum = harmonics(hz * spin_up, n, patch.riff.random(12) / np.arange(1, 13))
    return (unit(wind) + patch.knob(0.05, 1) * unit(hum)) * spin_up * hold(n, 0.05, 0.1)


def washing(patch: Patch) -> Signal:
    """Machines that turn something over and over."""
    n, period_s = patch.n_samples(1.5, 6), patch.ratio(0.3, 1.5)
    turn = 0.5 - 0.5 * np.cos(2 * np.pi * time_s(n) / period_s)
    slosh = unit(swept(patch.noise(n), patch.ratio(200, 700) * (1 + 2 * turn), window_samples=1024)) * (0.2 + turn)
    hum = unit(harmonics(patch.pick((50.0, 60.0, 100.0, 120.0)), n, patch.riff.random(8) / np.arange(1, 9)))
    thud = band(struck(patch, "wood")(0.1), 30, 600)
    track, level = slosh + patch.knob(0.1, 0.8) * hum, patch.knob(0, 0.8)
    for at_s in np.arange(0, n / RATE_HZ, period_s):
        place(track, thud, float(at_s), level)
    return track


def hum(patch: Patch) -> Signal:
    """Transformers, neon tubes, refrigerators."""
    n = patch.n_samples(1, 5)
    mains = harmonics(patch.pick((50.0, 60.0, 100.0, 120.0)) * patch.ratio(0.98, 1.02), n, patch.riff.random(20) ** 2)
    return unit(mains) * (1 + patch.knob(0, 0.3) * wander(patch, n, 0.4)) + patch.knob(0.01, 0.3) * unit(
        tilted(patch.noise(n), -4)
    )


def mechanism(patch: Patch) -> Signal:
    """Printers, sewing machines, projectors, looms: a cycle of small blows."""
    things = [struck(patch, patch.pick(("metal", "plastic", "wood"))) for _ in range(3)]
    cycle_s, n = patch.ratio(0.06, 0.5), patch.n_samples(1, 4)
    track = np.zeros(n)
    steps = [
        (float(patch.riff.random()), int(patch.riff.integers(3)), float(patch.riff.uniform(0.3, 1)))
        for _ in range(patch.whole(2, 5))
    ]
    sounds = [thing(0.8)[:3000] for thing in things]
    for start_s in np.arange(0, n / RATE_HZ, cycle_s):
        for share, thing, level in steps:
            place(track, sounds[thing], float(start_s) + share * cycle_s + float(patch.touch.normal(0, 0.002)), level)
    motor = harmonics(patch.ratio(60, 300), n, patch.riff.random(10) / np.arange(1, 11))
    return unit(track) + patch.knob(0, 0.3) * unit(motor)


def gong_of_church(patch: Patch) -> Signal:
    """Church bells that are rung one after another."""
    n_bells, gap_s = patch.whole(1, 4), patch.ratio(0.4, 1.6)
    hz = patch.ratio(150, 600)
    parts = [patch.part() for _ in range(n_bells)]
    notes = [hz * 2 ** (float(step) / 12) for step in patch.steps((0, 2, 4, 5, 7, 9), n_bells)]
    track = np.zeros(patch.samples(patch.ratio(2, 6)))
    for number in range(int(len(track) / RATE_HZ / gap_s) + 1):
        which = number % n_bells
        place(
            track,
            bell(parts[which](), notes[which], patch.samples(3.0)),
            number * gap_s,
            float(patch.touch.uniform(0.6, 1)),
        )
    return track


FAMILIES = {
    "drill": (drill,),
    "jackhammer": (jackhammer,),
    "chainsaw": (chainsaw,),
    "fan": (fan,),
    "washing machine": (washing,),
    "hum": (hum,),
    "mechanism": (mechanism,),
    "church bells": (gong_of_church,),
}
