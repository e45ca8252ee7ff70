"""Basses of synthesisers."""

import numpy as np

from audiorec.samples.synth import Signal, decay
from audiorec.training.corpus.families.instruments import fm, string, subtractive, unison
from audiorec.training.corpus.families.notes import length, pitch
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import RATE_HZ, band, driven, hold, swept, time_s, tone, wave


def sub_bass(patch: Patch) -> Signal:
    n, hz = length(patch, 0.25, 2), pitch(patch, 32, 75)
    return driven(tone(hz * (1 + patch.knob(0, 0.5) * decay(n, RATE_HZ, 0.1)), n), patch.ratio(0.5, 4)) * hold(
        n, 0.005, 0.05
    )


def synth_bass(patch: Patch) -> Signal:
    n, hz = length(patch, 0.15, 1.5), pitch(patch, 38, 130)
    return patch.pick((subtractive, subtractive, fm))(patch, hz, n)


def acid_bass(patch: Patch) -> Signal:
    """The TB-303's line: a saw through a resonant filter, notes that slide."""
    n_steps, step = patch.whole(4, 16), patch.samples(patch.ratio(0.09, 0.16))
    hz = pitch(patch, 45, 110) * 2 ** (patch.steps((0, 0, 0, 3, 5, 7, 10, 12), n_steps) / 12)
    pitch_hz = np.repeat(hz, step)
    kernel = max(step // 8, 2)
    pitch_hz = np.convolve(np.pad(pitch_hz, kernel, mode="edge"), np.ones(kernel) / kernel, "same")[kernel:-kernel]
    since = np.tile(np.exp(-np.arange(step) / RATE_HZ / patch.ratio(0.03, 0.3)), n_steps)
    cutoff = patch.ratio(150, 900) * (1 + patch.ratio(1, 15) * since)
    sound = swept(
        wave(patch.pick(("saw", "square")), pitch_hz, len(pitch_hz)), cutoff, peak=patch.ratio(1, 6), q=8, order=2
    )
    gate = np.tile(hold(step, 0.002, 0.02), n_steps)
    return driven(sound, patch.ratio(1, 8)) * gate


def wobble_bass(patch: Patch) -> Signal:
    n, hz = length(patch, 0.8, 3), pitch(patch, 35, 90)
    source = unison(patch, hz, n, "saw", 3, 0.2) + wave("square", hz / 2, n)
    lfo = 0.5 - 0.5 * np.cos(2 * np.pi * patch.ratio(1.5, 9) * time_s(n))
    return driven(swept(source, 120 * patch.ratio(8, 40) ** lfo, peak=patch.knob(0, 3), q=5), patch.ratio(1, 8)) * hold(
        n, 0.005, 0.05
    )


def reese(patch: Patch) -> Signal:
    n, hz = length(patch, 0.6, 4), pitch(patch, 35, 80)
    return band(unison(patch, hz, n, "saw", 3, patch.ratio(0.1, 0.6)), high_hz=patch.ratio(300, 3000)) * hold(
        n, 0.01, 0.08
    )


def plucked_bass(patch: Patch) -> Signal:
    n, hz = length(patch, 0.3, 2), pitch(patch, 38, 110)
    return driven(string(patch, hz, n), patch.ratio(0.5, 3))


FAMILIES = {
    "sub bass": (sub_bass,),
    "synth bass": (
        synth_bass,
        reese,
    ),
    "acid bass": (acid_bass,),
    "wobble bass": (wobble_bass,),
    "plucked bass": (plucked_bass,),
}
