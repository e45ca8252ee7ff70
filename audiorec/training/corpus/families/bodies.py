"""What people do but speak: coughs, breath, claps, steps of the heart."""

import numpy as np

from audiorec.samples.synth import Signal
from audiorec.training.corpus.families.throats import formants, repeated, spoken, throat
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
    unit,
    wander,
)


def cough(patch: Patch) -> Signal:
    hz, tract = patch.ratio(150, 450), patch.ratio(0.85, 1.25)

    def bark() -> Signal:
        n = patch.samples(float(patch.touch.uniform(0.15, 0.35)))
        mouth = spoken(n, "ao", tract)
        burst = throat(patch, hz * curve(n, (1.2, 0.9, 0.7)), mouth, breath=4.0, rough=0.4, q=3)
        return unit(burst) * strike(n, 0.004, 0.5, 0.05)

    return repeated(patch, bark, 1, 4, (0.05, 0.35))


def sneeze(patch: Patch) -> Signal:
    n, m = patch.n_samples(0.2, 0.6), patch.n_samples(0.2, 0.45)
    inhale = (
        0.25
        * unit(swept(patch.noise(n), patch.ratio(800, 2000) * curve(n, (0.6, 1.4)), kind="band", q=2))
        * curve(n, (0.2, 1))
    )
    blast = unit(ring(patch.noise(m), (patch.ratio(1200, 2500), patch.ratio(3500, 6000)), 1.2, floor=0.2)) * strike(
        m, 0.005, 0.6
    )
    voice = throat(patch, patch.ratio(150, 400) * curve(m, (1.3, 0.8)), spoken(m, "iu", 1.0), breath=0.3)
    return np.concatenate([inhale, blast + patch.knob(0, 0.7) * unit(voice) * hold(m, 0.02, 0.1)])


def breath(patch: Patch) -> Signal:
    centre, period_s = patch.ratio(500, 2500), patch.ratio(0.5, 2)

    def one() -> Signal:
        n = patch.samples(period_s)
        return unit(swept(patch.noise(n), centre * curve(n, (0.8, 1.2, 0.8)), kind="band", q=1)) * hold(
            n, 0.3 * period_s, 0.4 * period_s
        )

    return repeated(patch, one, 1, 4, (0.1, 0.6))


def snore(patch: Patch) -> Signal:
    per_s = patch.ratio(25, 70)

    def one() -> Signal:
        n = patch.samples(float(patch.touch.uniform(0.5, 1.2)))
        flutter = per_s * curve(n, (0.8, 1.2, 0.9))
        return throat(
            patch, flutter, formants(n, (300, 450, 350), (1000, 1300), (2300, 2400)), breath=1.5, rough=0.5, q=3
        ) * hold(n, 0.15, 0.3)

    return repeated(patch, one, 1, 3, (0.4, 1.2))


def applause(patch: Patch) -> Signal:
    n = patch.n_samples(1, 6)
    palms = [
        ring(patch.noise(900), (float(patch.touch.uniform(700, 2600)),), 1.3, floor=0.2) * strike(900, 0, 0.03)
        for _ in range(4)
    ]
    per_s = patch.ratio(6, 400)
    total = np.zeros(n)
    for palm in palms:
        at = poisson(patch, n, per_s)
        total += scattered(n, at, patch.touch.exponential(1, len(at)), palm)
    swelling = hold(n, patch.ratio(0.05, 1), patch.ratio(0.2, 2))
    return unit(total) * swelling + patch.knob(0, 0.2) * unit(band(patch.noise(n), 400, 3000)) * swelling


def slurp(patch: Patch) -> Signal:
    """Eating, drinking, kissing, gargling: small wet noises."""
    n = patch.n_samples(0.2, 2)
    at = poisson(patch, n, patch.ratio(8, 60))
    smack = ring(patch.noise(500), (patch.ratio(500, 1500), patch.ratio(1800, 4000)), 3) * strike(500, 0.001, 0.02)
    wet = scattered(n, at, patch.touch.exponential(1, len(at)), smack)
    air = swept(patch.noise(n), patch.ratio(600, 2500) * curve(n, (0.7, 1.5, 1)), kind="band", q=2) * (
        1 + wander(patch, n, 0.03)
    )
    return unit(wet) + patch.knob(0, 0.8) * unit(air) * hold(n, 0.1, 0.1)


def heartbeat(patch: Patch) -> Signal:
    period_s, split_s = patch.ratio(0.45, 1.1), patch.ratio(0.15, 0.3)
    track = np.zeros(patch.samples(patch.ratio(1, 4)))
    n = patch.samples(0.15)
    lub, dub = (
        (band(patch.noise(n), 30, hz) * strike(n, 0.01, 0.1)) for hz in (patch.ratio(60, 150), patch.ratio(90, 220))
    )
    for at_s in np.arange(0, len(track) / RATE_HZ, period_s):
        place(track, unit(lub), float(at_s))
        place(track, unit(dub), float(at_s) + split_s * period_s, 0.7)
    return track


FAMILIES = {
    "cough": (cough,),
    "sneeze": (sneeze,),
    "breath": (
        breath,
        breath,
        snore,
    ),
    "applause": (applause,),
    "eating": (slurp,),
    "heartbeat": (heartbeat,),
}
