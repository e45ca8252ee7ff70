"""Engines and vehicles."""

import numpy as np

from audiorec.samples.synth import Signal, wrap
from audiorec.training.corpus.families.objects import struck
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    RATE_HZ,
    band,
    curve,
    harmonics,
    hold,
    place,
    ring,
    swept,
    tilted,
    time_s,
    unit,
    wander,
    wave,
)


def firing(patch: Patch, per_s: Signal, n_cylinders: int) -> Signal:
    """Explosions in turn, each cylinder a little different, through an exhaust."""
    count = np.cumsum(per_s) / RATE_HZ
    cylinder = 0.7 + 0.3 * patch.riff.random(n_cylinders)
    burst = np.exp(-wrap(count) * patch.ratio(3, 12)) * cylinder[np.floor(count).astype(int) % n_cylinders]
    return burst * (0.4 + patch.noise(len(per_s)))


def engine(patch: Patch) -> Signal:
    n = patch.n_samples(1, 5)
    idle = patch.ratio(12, 70)
    kind = patch.pick(("idle", "revs", "goes by", "starts"))
    if kind == "revs":
        per_s = idle * 2 ** (1.4 * np.clip(wander(patch, n, patch.ratio(0.3, 1)), 0, 1))
    elif kind == "goes by":
        per_s = 2 * idle * curve(n, (1.1, 1.1, 0.9, 0.9), (0, 0.4, 0.6, 1))
    elif kind == "starts":
        per_s = idle * curve(n, (0.5, 0.5, 1.6, 1.0), (0, 0.25, 0.45, 1))
    else:
        per_s = idle * (1 + 0.03 * wander(patch, n, 0.2))
    exhaust = ring(firing(patch, per_s, patch.pick((1, 2, 4, 4, 6))), patch.riff.uniform(80, 900, 4), 2, floor=0.1)
    hum = harmonics(per_s * 2, n, patch.riff.random(10) / np.arange(1, 11))
    rattle = band(firing(patch, per_s * 2, 3), 1500) * patch.knob(0, 0.4)
    sound = unit(exhaust) + patch.knob(0, 0.6) * unit(hum) + rattle
    near = curve(n, (0.15, 1, 0.15)) ** 1.5 if kind == "goes by" else np.ones(n)
    return sound * near * hold(n, 0.1, 0.2)


def jet(patch: Patch) -> Signal:
    n = patch.n_samples(2, 6)
    arc = curve(n, (0.3, 1, 0.35))
    rush = swept(tilted(patch.noise(n), -4), patch.ratio(600, 2500) * (0.4 + arc), window_samples=1024)
    whine = wave("sine", patch.ratio(900, 3500) * curve(n, (1.08, 1.04, 0.9, 0.85)), n) * patch.knob(0, 0.25)
    return (unit(rush) + whine) * arc * hold(n, 0.3, 0.5)


def helicopter(patch: Patch) -> Signal:
    n, per_s = patch.n_samples(1.5, 5), patch.ratio(8, 24)
    phase = wrap(time_s(n) * per_s)
    blade = np.exp(-phase * patch.ratio(3, 9))
    chop = unit(swept(patch.noise(n), patch.ratio(200, 900) * (0.5 + 2 * blade))) * (0.1 + blade)
    motor = harmonics(patch.ratio(60, 180), n, patch.riff.random(12) / np.arange(1, 13))
    return chop + patch.knob(0, 0.3) * unit(motor) + 0.1 * unit(tilted(patch.noise(n), -5))


def train(patch: Patch) -> Signal:
    """Wheels over the joints of rails, and perhaps a horn."""
    n = patch.n_samples(2, 6)
    gap_s = patch.ratio(0.3, 1.0)
    clack = band(struck(patch, "metal")(0.6), 80, 2500)
    track = 0.3 * unit(tilted(patch.noise(n), -5)) * (1 + 0.3 * wander(patch, n, 0.3))
    for start_s in np.arange(0, n / RATE_HZ, gap_s):
        for offset_s in (0.0, 0.12 * gap_s / 0.5):
            place(track, clack, float(start_s) + offset_s, float(patch.touch.uniform(0.4, 0.8)))
    if patch.chance(0.4):
        place(track, unit(_horn(patch, n // 2)), 0.2, patch.knob(0.5, 1.5))
    return track


def _horn(patch: Patch, n: int) -> Signal:
    hz = patch.ratio(150, 600)
    notes = patch.pick(((1, 1.26), (1, 1.19, 1.5), (1,), (1, 1.33), (1, 1.25, 1.5, 1.78)))
    reeds = sum(wave(patch.pick(("saw", "square")), hz * note, n) for note in notes)
    return swept(np.asarray(reeds), patch.ratio(900, 4000) * curve(n, (0.6, 1, 1, 0.8)), peak=0.5) * hold(n, 0.03, 0.08)


def horn(patch: Patch) -> Signal:
    """Cars, trucks, ships: one long, or some short."""
    if patch.chance(0.5):
        return _horn(patch, patch.n_samples(0.4, 3))
    part, gap_s = patch.part(), patch.ratio(0.2, 0.5)
    track = np.zeros(patch.samples(2.2))
    for number in range(patch.whole(2, 4)):
        place(track, _horn(part(), patch.samples(0.6 * gap_s)), number * gap_s)
    return track


def whistle_of_steam(patch: Patch) -> Signal:
    n, hz = patch.n_samples(0.5, 3), patch.ratio(400, 2500)
    pipes = sum(
        wave("triangle", hz * r * curve(n, (0.94, 1, 1, 0.93)), n) for r in patch.pick(((1,), (1, 1.2, 1.5), (1, 1.26)))
    )
    steam = band(patch.noise(n), hz)
    return (unit(np.asarray(pipes)) + patch.knob(0.1, 1) * unit(steam)) * hold(n, 0.08, 0.2)


FAMILIES = {
    "engine": (engine,),
    "jet": (jet,),
    "helicopter": (helicopter,),
    "train": (train,),
    "horn": (horn,),
    "steam whistle": (whistle_of_steam,),
}
