"""Calls of mammals: a throat with glides, growls and gaps."""

import numpy as np

from audiorec.samples.synth import Signal
from audiorec.training.corpus.families.throats import formants, repeated, throat
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


def bark(patch: Patch) -> Signal:
    hz, tract, length_s = patch.ratio(150, 700), patch.ratio(0.7, 1.8), patch.ratio(0.07, 0.3)
    rough, breath = patch.knob(0.05, 0.4), patch.ratio(0.1, 1.5)

    def call() -> Signal:
        n = patch.samples(length_s * float(patch.touch.uniform(0.85, 1.2)))
        arc = hz * curve(n, (0.75, 1.3, 1.0, 0.6)) * float(patch.touch.uniform(0.92, 1.08))
        mouth = formants(n, (500, 900, 600), (1200, 1700, 1100), (2600, 2800, 2400), tract=tract)
        return throat(patch, arc, mouth, breath=breath, rough=rough) * strike(n, 0.01, 2.5 * length_s, 0.02)

    return repeated(patch, call, 1, 5, (0.08, 0.6))


def howl(patch: Patch) -> Signal:
    n, hz = patch.n_samples(1, 4), patch.ratio(250, 700)
    arc = hz * curve(n, (0.6, 1.1, 1.15, 1.0, 0.7)) * (1 + 0.02 * np.sin(2 * np.pi * 5 * time_s(n)))
    mouth = formants(n, (400, 700, 600), (900, 1100, 900), tract=patch.ratio(0.8, 1.3))
    return throat(patch, arc, mouth, breath=0.03, tilt=-12) * hold(n, 0.15, 0.4)


def whine(patch: Patch) -> Signal:
    hz, length_s = patch.ratio(500, 1600), patch.ratio(0.15, 0.9)

    def call() -> Signal:
        n = patch.samples(length_s)
        arc = hz * curve(n, (1.0, float(patch.touch.uniform(1.05, 1.4)), 0.8))
        return throat(patch, arc, formants(n, (1000, 1200), (2500, 2200)), breath=0.05) * hold(n, 0.03, 0.1)

    return repeated(patch, call, 1, 4, (0.05, 0.4))


def growl(patch: Patch) -> Signal:
    n, hz = patch.n_samples(0.5, 3.5), patch.ratio(35, 110)
    mouth = formants(n, (300, 500, 350), (800, 1200, 900), (2200, 2400), tract=patch.ratio(0.6, 1.3))
    arc = hz * curve(n, (0.8, 1.1, 0.9)) * (1 + 0.1 * wander(patch, n, 0.1))
    rough = throat(patch, arc, mouth, breath=patch.ratio(0.3, 2), rough=patch.knob(0.2, 0.6))
    flutter = 1 + patch.knob(0.2, 0.8) * np.sin(2 * np.pi * patch.ratio(15, 40) * time_s(n))
    return rough * flutter * hold(n, 0.15, 0.4)


def roar(patch: Patch) -> Signal:
    n, hz = patch.n_samples(0.8, 4), patch.ratio(60, 220)
    arc = hz * curve(n, (0.7, 1.2, 1.1, 0.6))
    mouth = formants(n, (350, 800, 700, 400), (900, 1400, 1200, 800), (2400, 2700, 2300), tract=patch.ratio(0.6, 1.0))
    sound = throat(patch, arc, mouth, breath=patch.ratio(0.8, 4), rough=patch.knob(0.25, 0.7))
    return np.tanh(2 * unit(sound)) * hold(n, 0.12, 0.5)


def meow(patch: Patch) -> Signal:
    hz, tract, length_s = patch.ratio(350, 900), patch.ratio(1.1, 1.7), patch.ratio(0.3, 1.4)
    top = patch.knob(1.1, 1.6)

    def call() -> Signal:
        n = patch.samples(length_s * float(patch.touch.uniform(0.85, 1.2)))
        arc = hz * curve(n, (0.8, top, 1.0, 0.75)) * (1 + 0.01 * wander(patch, n, 0.05))
        mouth = formants(n, (350, 850, 700, 350), (2300, 1600, 1300, 900), (3000, 2900), tract=tract)
        return throat(patch, arc, mouth, breath=0.04, q=8) * hold(n, 0.05, 0.15)

    return repeated(patch, call, 1, 3, (0.2, 0.8))


def purr(patch: Patch) -> Signal:
    n, per_s = patch.n_samples(1, 4), patch.ratio(20, 32)
    breath = 0.6 + 0.4 * np.sin(2 * np.pi * patch.ratio(0.4, 1.0) * time_s(n))
    at = np.cumsum(RATE_HZ / per_s * (1 + 0.05 * patch.touch.standard_normal(int(n / RATE_HZ * per_s) + 2)))
    grain = band(patch.noise(700), 60, patch.ratio(400, 1500)) * strike(700, 0.002, 0.04)
    return scattered(n, at, 0.7 + 0.3 * patch.touch.random(len(at)), grain) * breath


def hiss(patch: Patch) -> Signal:
    n = patch.n_samples(0.3, 2)
    return swept(
        patch.noise(n), patch.ratio(2000, 5500) * curve(n, (0.8, 1.1, 0.9)), kind="band", q=patch.ratio(0.6, 2)
    ) * hold(n, 0.05, 0.2)


def moo(patch: Patch) -> Signal:
    n, hz = patch.n_samples(0.8, 3), patch.ratio(90, 260)
    arc = hz * curve(n, (0.8, 1.0, 1.15, 1.1, 0.8)) * (1 + 0.01 * wander(patch, n, 0.1))
    mouth = formants(
        n, (250, 300, 600, 650, 450), (700, 750, 1100, 1150, 900), (2100, 2300), tract=patch.ratio(0.75, 1.1)
    )
    return throat(patch, arc, mouth, breath=0.15, rough=patch.knob(0, 0.12)) * hold(n, 0.15, 0.3)


def bleat(patch: Patch) -> Signal:
    """Sheep and goats: a tremulous vowel."""
    hz, tract, length_s = patch.ratio(180, 550), patch.ratio(0.95, 1.4), patch.ratio(0.4, 1.4)
    per_s, depth = patch.ratio(6, 14), patch.knob(0.03, 0.12)

    def call() -> Signal:
        n = patch.samples(length_s)
        shake = np.sin(2 * np.pi * per_s * time_s(n))
        arc = hz * curve(n, (0.9, 1.05, 1.0, 0.85)) * (1 + depth * shake)
        mouth = formants(n, (600, 750, 700), (1500, 1700, 1600), (2600, 2700), tract=tract)
        return throat(patch, arc, mouth, breath=0.2, rough=0.1) * (1 + 0.5 * shake) * hold(n, 0.04, 0.12)

    return repeated(patch, call, 1, 3, (0.2, 0.8))


def bray(patch: Patch) -> Signal:
    """A donkey: in through a squeak, out through a bellow."""
    high, low, tract = patch.ratio(500, 1100), patch.ratio(180, 380), patch.ratio(0.75, 1.1)

    def call() -> Signal:
        n, m = patch.samples(float(patch.touch.uniform(0.3, 0.6))), patch.samples(float(patch.touch.uniform(0.35, 0.7)))
        squeak = throat(
            patch,
            high * curve(n, (0.7, 1, 1.1)),
            formants(n, (900, 1200), (2400, 2600), tract=tract),
            breath=0.6,
            rough=0.2,
        )
        bellow = throat(
            patch,
            low * curve(m, (1.2, 1, 0.8)),
            formants(m, (600, 800), (1200, 1300), (2500, 2400), tract=tract),
            breath=0.3,
            rough=0.25,
        )
        return np.concatenate([0.6 * unit(squeak) * hold(n, 0.05, 0.03), unit(bellow) * hold(m, 0.03, 0.08)])

    return repeated(patch, call, 1, 4, (0.02, 0.15))


def grunt(patch: Patch) -> Signal:
    hz, tract, length_s = patch.ratio(50, 160), patch.ratio(0.7, 1.3), patch.ratio(0.08, 0.35)

    def call() -> Signal:
        n = patch.samples(length_s)
        mouth = formants(n, (400, 550), (1100, 1300), (2400, 2500), tract=tract)
        return throat(patch, hz * curve(n, (0.9, 1.2, 0.8)), mouth, breath=1.0, rough=0.5) * hold(n, 0.01, 0.08)

    return repeated(patch, call, 1, 6, (0.08, 0.5))


def neigh(patch: Patch) -> Signal:
    n, hz = patch.n_samples(0.8, 2.2), patch.ratio(500, 1300)
    shake = np.sin(2 * np.pi * patch.ratio(8, 16) * time_s(n))
    arc = hz * curve(n, (0.7, 1.3, 1.0, 0.6, 0.4)) * (1 + 0.08 * shake)
    mouth = formants(n, (800, 1000, 700), (1800, 2000, 1500), (3000, 2800))
    return throat(patch, arc, mouth, breath=0.3, rough=0.15) * (1 + 0.4 * shake) * hold(n, 0.05, 0.3)


def whoop(patch: Patch) -> Signal:
    """Apes: hoots that climb, with breath between them."""
    hz, n_calls = patch.ratio(200, 500), patch.whole(3, 9)
    climb = patch.knob(1.0, 1.15)
    tract = patch.ratio(0.9, 1.3)
    number = iter(range(99))

    def call() -> Signal:
        n = patch.samples(float(patch.touch.uniform(0.12, 0.3)))
        arc = hz * climb ** next(number) * curve(n, (0.8, 1.3, 1.1))
        voice = throat(
            patch, np.minimum(arc, 2500), formants(n, (400, 700), (900, 1100), tract=tract), breath=0.15
        ) * hold(n, 0.02, 0.05)
        m = patch.samples(0.12)
        return np.concatenate([voice, 0.15 * band(patch.noise(m), 500, 4000) * hold(m, 0.03, 0.05)])

    return repeated(patch, call, n_calls, n_calls, (0.02, 0.1))


def whale(patch: Patch) -> Signal:
    n, hz = patch.n_samples(1.5, 5), patch.ratio(120, 900)
    arc = hz * 2 ** (patch.knob(0.2, 1.2) * wander(patch, n, patch.ratio(0.3, 1)))
    body = tone(arc, n) + 0.4 * tone(2 * arc, n) + 0.2 * tone(3 * arc, n)
    return band(body, 60, 3500) * (0.6 + 0.4 * wander(patch, n, 0.3)) * hold(n, 0.2, 0.5)


FAMILIES = {
    "dog bark": (
        bark,
        bark,
        whine,
    ),
    "howl": (howl,),
    "growl": (growl,),
    "roar": (roar,),
    "meow": (
        meow,
        meow,
        purr,
    ),
    "hiss": (hiss,),
    "moo": (moo,),
    "bleat": (bleat,),
    "bray": (bray,),
    "grunt": (grunt,),
    "neigh": (neigh,),
    "whoop": (whoop,),
    "whale": (whale,),
}
