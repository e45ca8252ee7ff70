"""Notes, chords and figures on synthesised instruments."""

from collections.abc import Callable
from functools import partial

import numpy as np

from audiorec.samples.synth import Signal
from audiorec.training.corpus.families.instruments import (
    CHORDS,
    SCALES,
    WAVES,
    bell,
    brass,
    chip,
    electric_piano,
    flute,
    fm,
    hoover,
    mallet,
    organ,
    string,
    strings,
    subtractive,
    unison,
)
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import harmonics, hold, place, swept, wander

Voice = Callable[[Patch, float, int], Signal]


def pitch(patch: Patch, low_hz: float, high_hz: float) -> float:
    """A note of the patch; takes are up to three semitones apart."""
    return patch.ratio(low_hz, high_hz) * 2 ** float(patch.touch.uniform(-0.25, 0.25))


def length(patch: Patch, low_s: float, high_s: float) -> int:
    """A length of the patch; takes differ by up to a third."""
    return patch.samples(patch.ratio(low_s, high_s) * float(patch.touch.uniform(0.75, 1.33)))


def stab(patch: Patch, voice: Voice, low_hz: float, high_hz: float) -> Signal:
    """A chord, every note with the same settings."""
    n, hz = length(patch, 0.15, 1.5), pitch(patch, low_hz, high_hz)
    intervals = patch.pick(CHORDS)
    part = patch.part()
    return np.asarray(sum(voice(part(), hz * 2 ** (interval / 12), n) for interval in intervals))


def figure(patch: Patch, voice: Voice, low_hz: float, high_hz: float) -> Signal:
    """An arpeggio or riff in even steps."""
    hz, step_s = pitch(patch, low_hz, high_hz), patch.ratio(0.08, 0.3)
    n_steps = patch.whole(4, 16)
    scale = patch.pick(SCALES)
    degrees = np.cumsum(patch.steps((-2, -1, 1, 1, 2, 3, 0), n_steps)).astype(int)
    sounding = patch.riff.random(n_steps) < 0.85
    sounding[0] = True
    track = np.zeros(patch.samples((n_steps + 1.5) * step_s))
    part = patch.part()
    for step in np.flatnonzero(sounding):
        degree = int(degrees[step]) % (2 * len(scale))
        octave, place_in_scale = divmod(degree, len(scale))
        note = voice(part(), hz * 2 ** (octave + scale[place_in_scale] / 12), patch.samples(step_s * 1.6))
        place(track, note, step * step_s)
    return track


def pad(patch: Patch) -> Signal:
    """A slow chord under a filter that wanders."""
    n, hz = length(patch, 2, 6), pitch(patch, 80, 300)
    total = np.zeros(n)
    waveform, n_voices = patch.pick(WAVES[:3]), patch.pick((2, 3))
    for interval in patch.pick(CHORDS):
        total += unison(patch, hz * 2 ** (interval / 12), n, waveform, n_voices, patch.ratio(0.05, 0.3))
    cutoff = patch.ratio(300, 4000) * 2 ** (1.5 * wander(patch, n, patch.ratio(0.5, 3)))
    return swept(total, cutoff, peak=patch.knob(0, 1), window_samples=1024) * hold(
        n, patch.ratio(0.2, 2), patch.ratio(0.3, 2)
    )


def drone(patch: Patch) -> Signal:
    n, hz = length(patch, 2.5, 6), pitch(patch, 40, 160)
    levels = patch.riff.random(16) / np.arange(1, 17) ** patch.knob(0.3, 1.2)
    shimmer = sum(harmonics(hz * 2 ** (float(cents) / 1200), n, levels) for cents in patch.touch.uniform(-9, 9, 2))
    return np.asarray(shimmer) * (1 + 0.4 * wander(patch, n, 0.7)) * hold(n, 0.3, 0.5)


def note(patch: Patch, voice: Voice, low_hz: float, high_hz: float, low_s: float, high_s: float) -> Signal:
    hz = pitch(patch, low_hz, high_hz)
    return voice(patch, hz, length(patch, low_s, high_s))


FAMILIES = {
    "synth lead": (partial(note, voice=subtractive, low_hz=150, high_hz=1200, low_s=0.2, high_s=2),),
    "fm tone": (partial(note, voice=fm, low_hz=100, high_hz=1200, low_s=0.2, high_s=2),),
    "organ tone": (partial(note, voice=organ, low_hz=100, high_hz=800, low_s=0.3, high_s=2),),
    "electric piano tone": (
        partial(note, voice=electric_piano, low_hz=80, high_hz=800, low_s=0.4, high_s=2.5),
        partial(stab, voice=electric_piano, low_hz=120, high_hz=350),
    ),
    "pluck": (
        partial(note, voice=string, low_hz=100, high_hz=900, low_s=0.3, high_s=2),
        partial(stab, voice=string, low_hz=120, high_hz=350),
    ),
    "mallet": (partial(note, voice=mallet, low_hz=150, high_hz=1500, low_s=0.3, high_s=1.5),),
    "bell tone": (partial(note, voice=bell, low_hz=120, high_hz=1500, low_s=0.8, high_s=4),),
    "bowed tone": (
        partial(note, voice=strings, low_hz=90, high_hz=900, low_s=0.5, high_s=3),
        partial(stab, voice=strings, low_hz=120, high_hz=350),
    ),
    "flute tone": (partial(note, voice=flute, low_hz=250, high_hz=1500, low_s=0.3, high_s=2),),
    "brass tone": (
        partial(note, voice=brass, low_hz=90, high_hz=600, low_s=0.25, high_s=1.5),
        partial(stab, voice=brass, low_hz=120, high_hz=350),
    ),
    "chip tone": (
        partial(note, voice=chip, low_hz=100, high_hz=1600, low_s=0.08, high_s=0.8),
        partial(figure, voice=chip, low_hz=100, high_hz=800),
    ),
    "hoover": (partial(note, voice=hoover, low_hz=80, high_hz=400, low_s=0.3, high_s=2),),
    "chord stab": (
        partial(stab, voice=subtractive, low_hz=100, high_hz=400),
        partial(stab, voice=fm, low_hz=100, high_hz=400),
    ),
    "arpeggio": (
        partial(figure, voice=subtractive, low_hz=80, high_hz=500),
        partial(figure, voice=fm, low_hz=100, high_hz=600),
        partial(figure, voice=string, low_hz=100, high_hz=500),
        partial(figure, voice=mallet, low_hz=150, high_hz=700),
    ),
    "pad tone": (pad,),
    "drone": (drone,),
}
