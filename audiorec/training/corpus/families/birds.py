"""Birds, tame and wild."""

import numpy as np

from audiorec.samples.synth import Signal
from audiorec.training.corpus.families.throats import formants, repeated, throat
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    RATE_HZ,
    band,
    curve,
    hold,
    place,
    poisson,
    scattered,
    strike,
    time_s,
    tone,
)


def cluck(patch: Patch) -> Signal:
    hz, length_s = patch.ratio(350, 900), patch.ratio(0.04, 0.12)
    cackle = patch.chance(0.4)

    def call() -> Signal:
        n = patch.samples(length_s * (float(patch.touch.uniform(2, 5)) if cackle and patch.touch.random() < 0.3 else 1))
        arc = hz * curve(n, (0.9, 1.3, 0.8)) * float(patch.touch.uniform(0.9, 1.15))
        return throat(patch, arc, formants(n, (900, 1200), (2300, 2600), (3800, 3600)), breath=0.25, rough=0.15) * hold(
            n, 0.008, 0.03
        )

    return repeated(patch, call, 2, 9, (0.06, 0.35))


def crow_of_cock(patch: Patch) -> Signal:
    hz, tract = patch.ratio(450, 900), patch.ratio(1.1, 1.5)
    parts = []
    for length_s, arc in (
        (0.15, (0.8, 1.0)),
        (0.15, (1.0, 1.1)),
        (0.25, (1.1, 1.25, 1.2)),
        (patch.ratio(0.5, 1.2), (1.2, 1.4, 1.3, 0.9, 0.7)),
    ):
        n = patch.samples(length_s * float(patch.touch.uniform(0.85, 1.15)))
        mouth = formants(n, (700, 900, 700), (1600, 1800, 1500), (3000, 3200), tract=tract)
        parts += [
            throat(patch, hz * curve(n, arc), mouth, breath=0.1, rough=0.1) * hold(n, 0.02, 0.05),
            np.zeros(patch.samples(0.03)),
        ]
    return np.concatenate(parts)


def quack(patch: Patch) -> Signal:
    hz, tract, length_s = patch.ratio(180, 420), patch.ratio(1.0, 1.4), patch.ratio(0.1, 0.35)

    def call() -> Signal:
        n = patch.samples(length_s)
        mouth = formants(n, (900, 1000), (1500, 1400), (2700, 2600), tract=tract)
        return throat(patch, hz * curve(n, (1.1, 1, 0.9)), mouth, breath=0.4, rough=0.2, q=4) * hold(n, 0.01, 0.05)

    return repeated(patch, call, 1, 7, (0.05, 0.3))


def caw(patch: Patch) -> Signal:
    hz, length_s = patch.ratio(280, 650), patch.ratio(0.2, 0.6)

    def call() -> Signal:
        n = patch.samples(length_s)
        mouth = formants(n, (1100, 1400, 1200), (2000, 2200, 1900), (3400, 3300))
        return throat(patch, hz * curve(n, (0.9, 1.1, 0.9)), mouth, breath=1.0, rough=0.4) * hold(n, 0.03, 0.1)

    return repeated(patch, call, 1, 5, (0.15, 0.7))


def hoot(patch: Patch) -> Signal:
    """Owls, doves, cuckoos: soft low notes in a rhythm."""
    hz = patch.ratio(250, 700)
    rhythm = patch.pick(((0.5,), (0.15, 0.15, 0.5), (0.2, 0.5), (0.3, 0.3), (0.12, 0.12, 0.12, 0.4), (0.25, 0.5, 0.25)))
    steps = patch.steps((0, 0, 0, -4, 2), len(rhythm))
    track = np.zeros(patch.samples(4))
    at_s = 0.0
    for length_s, step in zip(rhythm, steps, strict=True):
        n = patch.samples(length_s * float(patch.touch.uniform(0.9, 1.15)))
        arc = hz * 2 ** (step / 12) * curve(n, (0.95, 1.03, 0.95))
        note = (tone(arc, n) + 0.15 * tone(2 * arc, n) + 0.05 * band(patch.noise(n), 200, 1500)) * hold(n, 0.06, 0.1)
        place(track, note, at_s)
        at_s += length_s + patch.knob(0.05, 0.3)
    return track


def songbird(patch: Patch) -> Signal:
    """Syllables of glides, trills and warbles between 1.5 and 7.5 kHz, repeated in phrases."""
    centre = patch.ratio(1800, 6000)
    syllables = []
    for _ in range(patch.whole(1, 4)):
        length_s, points = float(patch.riff.uniform(0.03, 0.25)), patch.riff.uniform(-0.4, 0.4, patch.whole(2, 5))
        syllables.append((length_s, points, float(patch.riff.choice([0, 0, 20, 45])), patch.whole(1, 8)))
    track = np.zeros(patch.samples(patch.ratio(0.4, 4)))
    gap_s, at_s = patch.ratio(0.02, 0.2), 0.0
    while at_s < len(track) / RATE_HZ:
        for length_s, points, trill_hz, n_times in syllables:
            for _ in range(n_times):
                n = patch.samples(length_s * float(patch.touch.uniform(0.92, 1.08)))
                bend = curve(n, points) + (0.12 * np.sin(2 * np.pi * trill_hz * time_s(n)) if trill_hz else 0)
                hz = np.clip(centre * 2 ** (bend + patch.touch.normal(0, 0.01)), 800, 7700)
                place(track, tone(hz, n) * hold(n, 0.006, 0.012), at_s, float(patch.touch.uniform(0.5, 1)))
                at_s += n / RATE_HZ + gap_s
        at_s += 3 * gap_s
    return track


def chirp(patch: Patch) -> Signal:
    """A single bird that says one short thing."""
    hz, length_s = patch.ratio(2000, 6500), patch.ratio(0.04, 0.3)
    points = patch.riff.uniform(-0.5, 0.5, patch.whole(2, 4))
    buzz = patch.pick((0.0, 0.0, 60.0, 110.0))

    def call() -> Signal:
        n = patch.samples(length_s)
        arc = np.clip(hz * 2 ** (curve(n, points) * float(patch.touch.uniform(0.8, 1.2))), 500, 7700)
        sound = tone(arc, n) * hold(n, 0.005, 0.02)
        return sound * (1 + 0.8 * np.sin(2 * np.pi * buzz * time_s(n))) if buzz else sound

    return repeated(patch, call, 1, 6, (0.06, 0.5))


def screech(patch: Patch) -> Signal:
    """Monkeys, parrots, gulls: harsh and high."""
    hz, length_s, rough = patch.ratio(700, 2600), patch.ratio(0.1, 0.7), patch.knob(0.05, 0.35)
    points = patch.riff.uniform(0.6, 1.3, 4)

    def call() -> Signal:
        n = patch.samples(length_s * float(patch.touch.uniform(0.8, 1.2)))
        mouth = formants(n, (1500, 1900), (2900, 3200), (4500, 4600))
        return throat(patch, hz * curve(n, points), mouth, breath=0.4, rough=rough, q=3) * hold(n, 0.01, 0.05)

    return repeated(patch, call, 1, 7, (0.03, 0.3))


def dawn_chorus(patch: Patch) -> Signal:
    """Several birds at different distances."""
    birds = [songbird(patch) if patch.chance(0.5) else chirp(patch) for _ in range(patch.whole(2, 4))]
    track = np.zeros(patch.samples(patch.ratio(2, 5)))
    for bird in birds:
        at_s = float(patch.touch.uniform(0, len(track) / RATE_HZ / 2))
        place(track, bird, at_s, float(patch.touch.uniform(0.3, 1)))
    return track + 0.01 * poisson_leaves(patch, len(track))


def poisson_leaves(patch: Patch, n: int) -> Signal:
    at = poisson(patch, n, 30)
    return scattered(n, at, patch.touch.random(len(at)), band(patch.noise(400), 1500) * strike(400, 0.004, 0.02))


FAMILIES = {
    "cluck": (cluck,),
    "cock crow": (crow_of_cock,),
    "quack": (quack,),
    "caw": (caw,),
    "hoot": (hoot,),
    "bird song": (
        songbird,
        chirp,
        dawn_chorus,
    ),
    "screech": (screech,),
}
