"""Voices: shots, song, babble, laughter, crying, crowds."""

from collections.abc import Callable

import numpy as np

from audiorec.samples.synth import Signal
from audiorec.training.corpus.families.throats import VOWELS, repeated, spoken, throat
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    band,
    curve,
    hold,
    place,
    strike,
    swept,
    tilted,
    time_s,
    tone,
    unit,
    wander,
)


def consonant(patch: Patch, kind: str) -> Signal:
    """The noise that starts a syllable: a burst, a hiss, or nothing."""
    if kind == "":
        return np.zeros(64)
    n = patch.samples({"t": 0.02, "k": 0.03, "p": 0.015, "s": 0.1, "sh": 0.1, "h": 0.08, "f": 0.07}[kind])
    centre = {"t": 4000.0, "k": 1800.0, "p": 700.0, "s": 5800.0, "sh": 3000.0, "h": 1200.0, "f": 6000.0}[kind]
    burst = swept(patch.noise(n), np.full(n, centre), kind="band", q=1.2)
    return 0.5 * unit(burst) * hold(n, 0.002 if kind in "tkp" else 0.02, 0.01)


def syllable(patch: Patch, hz: float, vowels: str, tract: float, length_s: float, kind: str) -> Signal:
    n = patch.samples(length_s)
    arc = hz * curve(n, (1.02, 1.05, 0.9)) * (1 + 0.01 * wander(patch, n, 0.05))
    voiced = unit(throat(patch, arc, spoken(n, vowels, tract), breath=0.04, q=7)) * hold(n, 0.02, 0.05)
    return np.concatenate([consonant(patch, kind), voiced])


def shout(patch: Patch) -> Signal:
    """A vocal shot: ah, hey, yeah, oh."""
    vowels = patch.pick(("a", "ea", "iea", "oa", "ou", "ai", "u", "aou", "e", "i"))
    hz, tract, length_s = patch.ratio(110, 480), patch.ratio(0.85, 1.25), patch.ratio(0.12, 0.9)
    return syllable(patch, hz, vowels, tract, length_s, patch.pick(("", "h", "", "t")))


def sung(patch: Patch) -> Signal:
    """A held note or a few, with vibrato."""
    hz, tract = patch.ratio(100, 700), patch.ratio(0.9, 1.25)
    n_notes, vowels = patch.whole(1, 4), "".join(patch.pick(VOWELS) for _ in range(3))
    steps, length_s = patch.steps((0, 2, 3, 4, 5, 7, -2, -5), n_notes), patch.ratio(0.3, 1.5)
    n = patch.samples(length_s)
    depth, per_s = patch.knob(0, 0.02), patch.ratio(4.5, 6.5)
    notes = []
    for step in steps:
        shake = 1 + depth * np.clip(time_s(n) / 0.4, 0, 1) * np.sin(2 * np.pi * per_s * time_s(n))
        notes.append(
            throat(patch, hz * 2 ** (float(step) / 12) * shake, spoken(n, vowels, tract), breath=0.03, q=7)
            * hold(n, 0.05, 0.08)
        )
    return np.concatenate(notes)


def choir(patch: Patch) -> Signal:
    n, hz = patch.n_samples(1, 5), patch.ratio(110, 440)
    vowels, chord = (
        patch.pick(("a", "o", "u", "ao", "uo")),
        patch.pick(((1, 1.26, 1.5), (1, 1.19, 1.5), (1, 1.5), (1, 2))),
    )
    total = np.zeros(n)
    for ratio in chord:
        for _ in range(2):
            arc = hz * ratio * float(patch.touch.uniform(0.994, 1.006)) * (1 + 0.006 * wander(patch, n, 0.1))
            total += throat(patch, arc, spoken(n, vowels, float(patch.touch.uniform(0.9, 1.2))), breath=0.08)
    return total * hold(n, patch.ratio(0.1, 0.6), patch.ratio(0.2, 0.8))


def babble(patch: Patch) -> Signal:
    """Speech of no language: syllables with the melody of a sentence."""
    hz, tract, per_s = patch.ratio(85, 320), patch.ratio(0.85, 1.25), patch.ratio(3, 7)
    n_syllables = patch.whole(3, 14)
    words = []
    for number in range(n_syllables):
        vowels = "".join(VOWELS[i] for i in patch.riff.integers(0, 5, 2))
        kind = ("", "t", "k", "p", "s", "sh", "h", "f")[int(patch.riff.integers(8))]
        fall = 1.15 - 0.3 * number / n_syllables
        words.append(
            syllable(
                patch,
                hz * fall * float(patch.riff.uniform(0.92, 1.1)),
                vowels,
                tract,
                float(patch.riff.uniform(0.6, 1.2)) / per_s,
                kind,
            )
        )
        if patch.riff.random() < 0.15:
            words.append(np.zeros(patch.samples(0.15)))
    return np.concatenate(words)


def laugh(patch: Patch) -> Signal:
    hz, tract, vowel = patch.ratio(130, 480), patch.ratio(0.9, 1.3), patch.pick(("a", "e", "o", "i"))
    n_ha, gap_s, fall = patch.whole(3, 10), patch.ratio(0.12, 0.25), patch.knob(0.93, 1.0)
    track = np.zeros(patch.samples(n_ha * gap_s + 0.4))
    for number in range(n_ha):
        ha = syllable(patch, hz * fall**number * float(patch.touch.uniform(0.95, 1.1)), vowel, tract, 0.5 * gap_s, "h")
        place(track, ha, number * gap_s, float(patch.touch.uniform(0.5, 1)) * 0.95**number)
    return track


def cry(patch: Patch) -> Signal:
    """A baby."""
    hz, length_s = patch.ratio(350, 620), patch.ratio(0.4, 1.2)

    def wail() -> Signal:
        n = patch.samples(length_s * float(patch.touch.uniform(0.8, 1.2)))
        arc = hz * curve(n, (0.8, 1.1, 1.05, 0.85)) * (1 + 0.02 * wander(patch, n, 0.03))
        return throat(patch, arc, spoken(n, "aea", 1.45), breath=0.1, rough=patch.knob(0, 0.1)) * hold(n, 0.05, 0.12)

    return repeated(patch, wail, 1, 4, (0.15, 0.5))


def scream(patch: Patch) -> Signal:
    n, hz = patch.n_samples(0.4, 2.5), patch.ratio(400, 1300)
    arc = hz * curve(n, (0.8, 1.15, 1.1, 0.9))
    return np.tanh(
        2 * unit(throat(patch, arc, spoken(n, "ea", patch.ratio(1.0, 1.3)), breath=0.3, rough=patch.knob(0.02, 0.2)))
    ) * hold(n, 0.03, 0.2)


def crowd(patch: Patch) -> Signal:
    """Many voices at once: a murmur or a cheer."""
    n = patch.n_samples(1.5, 6)
    cheer = patch.chance(0.4)
    total = np.zeros(n)
    for _ in range(patch.whole(4, 9)):
        hz = float(patch.touch.uniform(200, 600) if cheer else patch.touch.uniform(90, 280))
        at = np.sort(patch.touch.random(12))
        arc = hz * 2 ** np.interp(np.linspace(0, 1, n), at, patch.touch.normal(0, 0.15, 12))
        vowels = "".join(VOWELS[i] for i in patch.touch.integers(0, 5, 3 if cheer else 14))
        voice = throat(patch, arc, spoken(n, vowels, float(patch.touch.uniform(0.85, 1.25))), breath=0.4)
        total += unit(voice) * np.clip(0.5 + wander(patch, n, 0.25 if not cheer else 1.0), 0, 1)
    return (unit(total) + patch.knob(0, 0.5) * unit(tilted(patch.noise(n), -3))) * hold(n, 0.2, 0.5)


def whistled(patch: Patch) -> Signal:
    """A tune or a call through the lips."""
    hz, n_notes = patch.ratio(700, 2200), patch.whole(1, 7)
    steps = patch.steps((0, 2, 4, 5, 7, 9, 12, -3), n_notes)
    note = patch.samples(patch.ratio(0.1, 0.5))
    line = hz * 2 ** (np.repeat(steps, note) / 12)
    kernel = max(note // 5, 8)
    smooth = np.convolve(np.pad(line, kernel, mode="edge"), np.ones(kernel) / kernel, "same")[kernel:-kernel]
    n = len(smooth)
    shake = 1 + patch.knob(0, 0.015) * np.sin(2 * np.pi * 5.5 * time_s(n))
    pauses = np.tile(hold(note, 0.02, 0.03), n_notes) if patch.chance(0.6) else hold(n, 0.02, 0.05)
    return (tone(smooth * shake, n) + patch.knob(0, 0.1) * band(patch.noise(n), 800, 5000)) * pauses


def beatbox(patch: Patch) -> Signal:
    """Drums of the mouth."""
    n_steps, step_s = patch.whole(4, 12), patch.ratio(0.12, 0.25)
    sounds: dict[str, Callable[[], Signal]] = {
        "b": lambda: band(patch.noise(2400), 40, 300) * strike(2400, 0.001, 0.15) * 3,
        "t": lambda: band(patch.noise(900), 4000) * strike(900, 0, 0.05),
        "k": lambda: swept(patch.noise(1800), np.full(1800, 2200.0), kind="band", q=1) * strike(1800, 0, 0.1) * 1.5,
        "": lambda: np.zeros(64),
    }
    track = np.zeros(patch.samples(n_steps * step_s + 0.3))
    for step in range(n_steps):
        kind = ("b", "t", "k", "t", "")[int(patch.riff.integers(5))] if step else "b"
        place(track, sounds[kind](), step * step_s)
    return track


FAMILIES = {
    "vocal shot": (shout,),
    "singing": (
        sung,
        sung,
        choir,
    ),
    "speech babble": (babble,),
    "laughter": (laugh,),
    "baby cry": (cry,),
    "scream": (scream,),
    "crowd": (crowd,),
    "whistling": (whistled,),
    "beatbox": (beatbox,),
}
