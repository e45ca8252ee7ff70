"""Things that are rubbed, torn, rolled and walked on."""

import numpy as np

from audiorec.samples.synth import Signal, decay, wrap
from audiorec.training.corpus.families.objects import struck
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    RATE_HZ,
    band,
    curve,
    hold,
    place,
    poisson,
    ring,
    scattered,
    strike,
    swept,
    tilted,
    time_s,
    unit,
    wander,
    wave,
)


def creak(patch: Patch) -> Signal:
    """Stick and slip: a train of clicks of changing rate through the body of a door."""
    n = patch.n_samples(0.4, 2.5)
    per_s = patch.ratio(25, 250) * 2 ** (1.5 * wander(patch, n, patch.ratio(0.15, 0.6)))
    pulses = np.diff(np.floor(np.cumsum(per_s) / RATE_HZ), prepend=0.0) * (0.6 + 0.4 * patch.touch.random(n))
    body = np.sort(patch.riff.uniform(300, 4000, 6))
    return ring(pulses, body, patch.ratio(5, 20), floor=0.02) * hold(n, 0.1, 0.2)


def footsteps(patch: Patch) -> Signal:
    """Shoes on a floor, gravel or snow."""
    ground = patch.pick(("floor", "floor", "gravel", "snow", "leaves"))
    gap_s = patch.ratio(0.25, 0.8)
    n_steps = patch.whole(2, 8)
    track = np.zeros(patch.samples(n_steps * gap_s + 0.3))
    heel, toe_s = patch.ratio(120, 500), patch.ratio(0.03, 0.14)
    for number in range(n_steps):
        n = patch.samples(0.25)
        if ground == "floor":
            step = unit(band(patch.noise(n), heel / 2, 4 * heel) * strike(n, 0.002, patch.ratio(0.03, 0.1)))
            place(step, 0.5 * unit(band(patch.noise(1600), heel, 8 * heel) * strike(1600, 0.003, 0.05)), toe_s)
        else:
            at = poisson(patch, n, {"gravel": 400, "snow": 1500, "leaves": 250}[ground])
            grain = band(
                patch.noise(200), *{"gravel": (900, 6000), "snow": (400, 3000), "leaves": (2000, 8000)}[ground]
            )
            step = scattered(n, at, patch.touch.exponential(1, len(at)), grain * strike(200, 0, 0.008)) * hold(
                n, 0.04, 0.12
            )
        place(
            track,
            unit(step),
            number * gap_s * float(patch.touch.uniform(0.96, 1.04)),
            float(patch.touch.uniform(0.6, 1)),
        )
    return track


def hooves(patch: Patch) -> Signal:
    """A horse: clops in the rhythm of a walk, trot or gallop."""
    rhythm = patch.pick(((0, 0.25, 0.5, 0.75), (0, 0.5), (0, 0.18, 0.36)))
    clops = [struck(patch, patch.pick(("wood", "plastic"))) for _ in range(2)]
    stride_s = patch.ratio(0.35, 1.1)
    track = np.zeros(patch.samples(patch.ratio(1, 4)))
    for stride in range(int(len(track) / RATE_HZ / stride_s) + 1):
        for foot, share in enumerate(rhythm):
            at_s = (stride + share + float(patch.touch.normal(0, 0.01))) * stride_s
            place(track, clops[foot % 2](0.3), at_s, float(patch.touch.uniform(0.5, 1)))
    return track


def rustle(patch: Patch) -> Signal:
    """Paper, bags, cloth, leaves."""
    n = patch.n_samples(0.4, 3)
    at = poisson(patch, n, patch.ratio(40, 600))
    grain = band(patch.noise(240), patch.ratio(800, 3500)) * strike(240, 0, patch.ratio(0.003, 0.014))
    grains = scattered(n, at, patch.touch.exponential(1, len(at)) ** 2, grain)
    hand = 0.5 + 0.5 * wander(patch, n, patch.ratio(0.08, 0.5))
    return (unit(grains) + 0.1 * band(patch.noise(n), 1500)) * hand * hold(n, 0.05, 0.1)


def tear(patch: Patch) -> Signal:
    """Paper torn, a zip, tape pulled off: clicks that come faster."""
    n = patch.n_samples(0.2, 1.3)
    per_s = patch.ratio(60, 500) * curve(n, (0.6, patch.knob(0.8, 3)))
    pulses = np.diff(np.floor(np.cumsum(per_s) / RATE_HZ), prepend=0.0) * patch.touch.random(n)
    return ring(
        pulses + 0.03 * patch.noise(n), (patch.ratio(1500, 3500), patch.ratio(3500, 6500)), 1.5, floor=0.1
    ) * hold(n, 0.03, 0.04)


def scrape(patch: Patch) -> Signal:
    """Sawing, brushing, sanding: strokes of noise to and fro."""
    n, stroke_s = patch.n_samples(0.8, 4), patch.ratio(0.12, 0.6)
    phase = wrap(time_s(n) / stroke_s)
    push = np.abs(np.sin(2 * np.pi * phase)) ** patch.knob(0.5, 2)
    teeth = 1 + patch.knob(0, 0.9) * np.sign(np.sin(2 * np.pi * np.cumsum(patch.ratio(60, 400) * push) / RATE_HZ))
    centre = patch.ratio(1200, 5000) * np.where(phase < 0.5, 1.0, patch.knob(0.7, 1.0))
    return unit(swept(patch.noise(n), centre, kind="band", q=patch.ratio(0.5, 2))) * push * teeth


def squeak(patch: Patch) -> Signal:
    """Rubber, a wet window, a hinge, a toy."""
    n, hz = patch.n_samples(0.1, 0.8), patch.ratio(500, 3000)
    arc = hz * curve(n, patch.riff.uniform(0.7, 1.4, 4)) * (1 + 0.02 * wander(patch, n, 0.01))
    return unit(band(wave(patch.pick(("saw", "triangle", "sine")), arc, n), 400, 7000)) * hold(
        n, 0.01, 0.04
    ) + 0.05 * patch.noise(n)


def roll(patch: Patch) -> Signal:
    """Wheels, marbles, skateboards: rumble and the knocks of an uneven way."""
    n = patch.n_samples(0.8, 4)
    thing = struck(patch, patch.pick(("wood", "metal", "plastic", "glass")))(0.6)
    speed = 0.6 + 0.4 * wander(patch, n, 0.5)
    at = poisson(patch, n, patch.ratio(30, 250))
    knocks = scattered(n, at, patch.touch.exponential(1, len(at)), thing[:3000])
    return (unit(knocks) + patch.knob(0.1, 1) * unit(tilted(patch.noise(n), -6))) * speed * hold(n, 0.1, 0.3)


def spray(patch: Patch) -> Signal:
    """Spray cans, valves, brakes, lighters."""
    n = patch.n_samples(0.1, 1.5)
    gas = band(patch.noise(n), patch.ratio(1200, 4500), patch.ratio(6000, 9000))
    burst = struck(patch, "plastic")(1.0)
    track = (
        unit(gas) * hold(n, patch.ratio(0.004, 0.1), patch.ratio(0.02, 0.3)) * decay(n, RATE_HZ, patch.ratio(0.3, 4))
    )
    place(track, burst, 0, patch.knob(0, 0.8))
    return track


FAMILIES = {
    "creak": (creak,),
    "footsteps": (footsteps,),
    "hooves": (hooves,),
    "rustle": (rustle,),
    "tear": (tear,),
    "scrape": (scrape,),
    "squeak": (squeak,),
    "rolling": (roll,),
    "spray": (spray,),
}
