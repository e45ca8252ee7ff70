"""Things that are struck, dropped, broken and opened."""

from collections.abc import Callable

import numpy as np

from audiorec.samples.synth import Signal
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import RATE_HZ, band, curve, hold, modes, place, poisson, strike, swept, unit

# lowest and highest of the first mode in hertz, of its fall in seconds, and how much faster high modes fall
MATERIALS = {
    "wood": ((120, 900), (0.03, 0.15), 0.9),
    "metal": ((250, 2500), (0.2, 2.0), 0.35),
    "glass": ((900, 3500), (0.08, 0.8), 0.5),
    "plastic": ((200, 1500), (0.015, 0.06), 0.7),
    "ceramic": ((600, 2500), (0.05, 0.3), 0.6),
}


def struck(patch: Patch, material: str) -> Callable[[float], Signal]:
    """A thing of a material, as a function that strikes it: hardness in [0, 1] -> sound."""
    hz_range, t60_range, slope = MATERIALS[material]
    hz, t60 = patch.ratio(*hz_range), patch.ratio(*t60_range)
    n_modes = patch.whole(5, 14)
    ratios = np.cumsum(np.concatenate([[1.0], 0.25 + 1.2 * patch.riff.random(n_modes - 1)]))
    levels = 0.2 + patch.riff.random(n_modes)
    n_samples = patch.samples(min(1.2 * t60, 1.5))

    def strike_it(hardness: float) -> Signal:
        bright = levels * patch.touch.uniform(0.6, 1, n_modes) * ratios ** (hardness - 1)
        body = modes(n_samples, hz * ratios, t60 / ratios**slope, bright) * hold(n_samples, 0.0004, 0.01)
        click = patch.noise(n_samples) * strike(n_samples, 0, 0.004 + 0.01 * (1 - hardness))
        return unit(body) + 0.25 * hardness * click

    return strike_it


def hit(patch: Patch) -> Signal:
    """One blow, or a few, on something."""
    thing = struck(patch, patch.pick(tuple(MATERIALS)))
    n_hits, gap_s = patch.pick((1, 1, 1, 2, 3)), patch.ratio(0.1, 0.5)
    track = np.zeros(patch.samples(0.4 + n_hits * gap_s + 0.8))
    for number in range(n_hits):
        place(track, thing(float(patch.touch.uniform(0.2, 1))), number * gap_s, float(patch.touch.uniform(0.6, 1)))
    return track


def knock(patch: Patch) -> Signal:
    door = struck(patch, "wood")
    n_knocks, gap_s = patch.whole(2, 6), patch.ratio(0.1, 0.35)
    track = np.zeros(patch.samples(n_knocks * gap_s + 0.4))
    for number in range(n_knocks):
        thud = door(float(patch.touch.uniform(0, 0.4)))
        place(track, band(thud, 60, patch.ratio(800, 4000)), number * gap_s * float(patch.touch.uniform(0.95, 1.05)))
    return track


def slam(patch: Patch) -> Signal:
    n = patch.n_samples(0.3, 1.2)
    thud = band(patch.noise(n), 40, patch.ratio(200, 900)) * strike(n, 0.002, patch.ratio(0.1, 0.5))
    latch = struck(patch, "metal")(0.8)
    track = unit(thud) + 0.3 * band(patch.noise(n), 300) * strike(n, 0, 0.05)
    place(track, band(latch, 800), float(patch.touch.uniform(0.01, 0.06)), patch.knob(0.05, 0.4))
    return track


def shatter(patch: Patch) -> Signal:
    """Glass: a crack, then splinters that ring and fall."""
    n = patch.n_samples(0.6, 2.2)
    track = np.zeros(n)
    place(track, unit(band(patch.noise(2400), 1200) * strike(2400, 0, patch.ratio(0.03, 0.12))), 0)
    splinters = [struck(patch, "glass") for _ in range(4)]
    fall_s = patch.ratio(0.15, 0.6)
    for number in range(patch.whole(12, 50)):
        at_s = float(patch.touch.exponential(fall_s))
        place(
            track, splinters[number % 4](0.9), at_s, float(patch.touch.uniform(0.05, 0.5)) * np.exp(-at_s / fall_s / 2)
        )
    return track


def coins(patch: Patch) -> Signal:
    """Coins, keys, cutlery: several small pieces of metal that meet."""
    pieces = [struck(patch, patch.pick(("metal", "metal", "ceramic"))) for _ in range(patch.whole(2, 4))]
    n = patch.n_samples(0.4, 2.5)
    track = np.zeros(n)
    for at in poisson(patch, n, patch.ratio(4, 25))[:60]:
        one = pieces[int(patch.touch.integers(len(pieces)))](1.0)
        place(track, band(one, 900), at / RATE_HZ, float(patch.touch.exponential(0.5)))
    return track


def bounce(patch: Patch) -> Signal:
    """Something that falls and bounces, each time lower and sooner."""
    thing = struck(patch, patch.pick(("wood", "plastic", "metal", "glass", "ceramic")))
    gap_s, keep = patch.ratio(0.2, 0.6), patch.knob(0.55, 0.88)
    track = np.zeros(patch.samples(2.5))
    at_s, level = 0.0, 1.0
    while level > 0.03 and at_s < 2.3:
        place(track, thing(0.7), at_s, level * float(patch.touch.uniform(0.8, 1)))
        at_s, gap_s, level = at_s + gap_s, gap_s * keep, level * keep
        if gap_s < 0.012:
            break
    return track


def tick(patch: Patch) -> Signal:
    """A clock: tick and tock."""
    gap_s = patch.pick((0.25, 0.5, 0.5, 1.0)) * patch.ratio(0.9, 1.1)
    tick_sound, tock_sound = struck(patch, patch.pick(("plastic", "metal"))), struck(patch, "plastic")
    track, t60_s = np.zeros(patch.n_samples(1, 5)), patch.ratio(0.02, 0.1)
    for number in range(int(len(track) / RATE_HZ / gap_s) + 1):
        one = (tick_sound, tock_sound)[number % 2](1.0)[:1600]
        place(track, one * strike(len(one), 0, t60_s), number * gap_s, (1, 0.8)[number % 2])
    return track


def typing(patch: Patch) -> Signal:
    keys = [struck(patch, "plastic") for _ in range(4)]
    n = patch.n_samples(0.6, 4)
    track = np.zeros(n)
    for at in poisson(patch, n, patch.ratio(3, 11)):
        key = keys[int(patch.touch.integers(4))]
        place(track, key(0.9), at / RATE_HZ, float(patch.touch.uniform(0.4, 1)))
        place(track, key(0.4), at / RATE_HZ + float(patch.touch.uniform(0.05, 0.1)), 0.3)
    return track


def click(patch: Patch) -> Signal:
    """Switches, buttons, shutters: two clicks close together."""
    down, up = struck(patch, "plastic"), struck(patch, patch.pick(("plastic", "metal")))
    track = np.zeros(patch.samples(0.4))
    place(track, down(1.0), 0)
    place(track, up(0.8), patch.ratio(0.02, 0.25), patch.knob(0.2, 0.9))
    return track


def pop(patch: Patch) -> Signal:
    """A cork, a balloon, a lip."""
    n = patch.n_samples(0.04, 0.3)
    hz = patch.ratio(250, 1200) * curve(n, (1, patch.knob(0.6, 2.5)))
    burst = swept(patch.noise(n), hz, kind="band", q=patch.ratio(2, 8))
    return unit(burst) * strike(n, 0.001, patch.ratio(0.03, 0.2))


def can(patch: Patch) -> Signal:
    """A can is opened: a crack and a hiss."""
    n = patch.n_samples(0.3, 1.4)
    track = 0.5 * unit(band(patch.noise(n), 2000)) * strike(n, 0.02, patch.ratio(0.2, 1.2))
    place(track, struck(patch, "metal")(1.0), 0, patch.knob(0.5, 1))
    place(track, struck(patch, "metal")(1.0), patch.ratio(0.05, 0.3), patch.knob(0.1, 0.6))
    return track


FAMILIES = {
    "hit": (hit,),
    "door knock": (knock,),
    "door slam": (slam,),
    "breaking glass": (shatter,),
    "coins and keys": (coins,),
    "bounce": (bounce,),
    "clock tick": (tick,),
    "typing": (typing,),
    "click": (click,),
    "pop": (pop,),
    "can opening": (can,),
}
