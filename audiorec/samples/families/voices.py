"""Voices: a buzzing throat behind a mouth that moves."""

from functools import partial

import numpy as np

from audiorec.samples.music import melody
from audiorec.samples.synth import Signal, cycles, drift, low_pass, saw, shape_over_time
from audiorec.samples.take import Take

# The first three formants of men, in hertz (Peterson & Barney 1952); women's lie about 17 % higher.
FORMANTS_HZ = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
BANDWIDTHS_HZ = (70, 90, 130)
LEVELS = (1.0, 0.6, 0.3)
BREATH = 0.02
CONTROL_S = 0.02


def mouth(take: Take, vowels: str, vowel_s: float, tract: float) -> tuple[Signal, Signal]:
    """The formants over time: times `(T,)` in seconds and frequencies `(T, 3)` in hertz, gliding between vowels."""
    times_s = np.arange(0, take.duration_s + vowel_s, CONTROL_S)
    spoken = np.array([FORMANTS_HZ[vowels[take.riff.integers(len(vowels))]] for _ in range(64)]) * tract
    position = times_s / vowel_s
    index = position.astype(np.int64)
    glide = np.clip((position - index - 0.7) / 0.3, 0, 1)[:, np.newaxis]
    return times_s, spoken[index % 64] * (1 - glide) + spoken[(index + 1) % 64] * glide


def voices(
    take: Take, *, vowels: str, octave: int, n_voices: int, beats: float, vibrato: float, tract: float
) -> Signal:
    """`n_voices` that sing a slow tune in unison and thirds on `vowels`, `(2, n_samples)`."""
    tune = np.array(melody(take.riff, 64, low=-1, high=5))
    note = (take.time_s() / (beats * take.beat_s)).astype(np.int64)
    since_s = take.time_s() - note * beats * take.beat_s
    phrase = np.minimum(since_s / 0.05, 1) * (0.75 + 0.25 * np.cos(2 * np.pi * since_s / (beats * take.beat_s)))
    times_s, formants_hz = mouth(take, vowels, beats * take.beat_s, tract)
    track = take.track()

    def gain(time_s: Signal, frequency_hz: Signal) -> Signal:
        bands = np.zeros((len(time_s), len(frequency_hz)))
        for formant, (width_hz, level) in enumerate(zip(BANDWIDTHS_HZ, LEVELS, strict=True)):
            centre_hz = np.interp(time_s, times_s, formants_hz[:, formant])
            bands += level / (1 + ((frequency_hz - centre_hz) / width_hz) ** 2)
        return bands + 0.02 * low_pass(frequency_hz, 3500.0)

    for voice in range(n_voices):
        scale = np.array([take.key.hz(degree + (0, 2, 4, -7)[voice % 4], octave) for degree in range(-1, 6)])
        octaves = np.log2(scale[tune[note % 64] + 1])
        shake = np.sin(2 * np.pi * (5.4 + 0.4 * take.touch.random()) * take.time_s()) * np.minimum(since_s / 0.4, 1)
        octaves += (vibrato * shake + 0.12 * drift(take.touch, take.n_samples, take.rate_hz, 0.15)) / 12
        throat = saw(cycles(2**octaves, take.n_samples, take.rate_hz, float(take.touch.random())))
        sung = (throat + BREATH * take.noise()) * phrase
        pan = 0.0 if n_voices == 1 else -0.7 + 1.4 * voice / (n_voices - 1)
        track.add(shape_over_time(sung, take.rate_hz, gain), pan=pan)
    return track.samples


KINDS = {
    "Ah choir": partial(voices, vowels="aao", octave=3, n_voices=4, beats=2, vibrato=0.25, tract=1.08),
    "Soprano": partial(voices, vowels="aeiou", octave=4, n_voices=1, beats=1, vibrato=0.5, tract=1.17),
    "Monks": partial(voices, vowels="oua", octave=2, n_voices=3, beats=2, vibrato=0.08, tract=0.97),
    "Baritone": partial(voices, vowels="aeo", octave=3, n_voices=1, beats=1, vibrato=0.35, tract=1.0),
}
