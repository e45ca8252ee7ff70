"""Synthesised instruments: a patch, a frequency and a number of samples to a note."""

import numpy as np

from audiorec.samples.synth import Signal, cycles, decay, pluck
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    RATE_HZ,
    band,
    crushed,
    curve,
    driven,
    harmonics,
    hold,
    modes,
    strike,
    swept,
    time_s,
    tone,
    unit,
    wander,
    wave,
)

WAVES = ("saw", "square", "triangle", "sine")


CHORDS = ((0, 4, 7), (0, 3, 7), (0, 3, 7, 10), (0, 4, 7, 11), (0, 7, 12), (0, 5, 7), (0, 3, 6), (0, 12))


SCALES = ((0, 2, 4, 7, 9), (0, 3, 5, 7, 10), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 5, 7, 9, 11), (0, 1, 5, 7, 8))


def unison(patch: Patch, hz: Signal | float, n: int, waveform: str, n_voices: int, spread: float) -> Signal:
    """A waveform several times, slightly out of tune."""
    width = patch.knob(0.1, 0.5)
    detunes = 2 ** (spread * np.linspace(-1, 1, n_voices) / 12) if n_voices > 1 else [1.0]
    return np.asarray(
        sum(wave(waveform, hz * float(detune), n, float(patch.touch.random()), width) for detune in detunes)
    )


def subtractive(patch: Patch, hz: float, n: int) -> Signal:
    """Oscillators, a filter with an envelope and resonance, an amplifier with an envelope."""
    source = unison(patch, hz, n, patch.pick(WAVES[:2]), patch.pick((1, 1, 2, 3, 5)), patch.ratio(0.03, 0.5))
    if patch.chance(0.4):
        source = source + wave(patch.pick(WAVES), hz * patch.pick((0.5, 2.0, 1.5)), n)
    if patch.chance(0.2):
        source = source + 0.5 * patch.noise(n)
    base, depth = hz * patch.ratio(1, 12), patch.ratio(1, 16)
    contour = decay(n, RATE_HZ, patch.ratio(0.1, 2)) if patch.chance(0.7) else curve(n, (0, 1, 0.3))
    sound = swept(source, base * depth**contour, peak=patch.knob(0, 3), q=patch.ratio(2, 10))
    if patch.chance(0.3):
        sound = driven(sound, patch.ratio(1.5, 10))
    attack_s = patch.ratio(0.002, 0.3)
    body = strike(n, attack_s, patch.ratio(0.15, 3)) if patch.chance(0.5) else hold(n, attack_s, patch.ratio(0.02, 0.5))
    return unit(sound) * body


def fm(patch: Patch, hz: float, n: int) -> Signal:
    """Two to four operators in a chain or side by side (Chowning 1973)."""
    ratios = patch.steps((0.5, 1, 1, 2, 2, 3, 4, 5, 7, 1.41, 3.5, 11, 14), 3)
    phase = 2 * np.pi * cycles(hz, n, RATE_HZ)
    body = strike(n, patch.ratio(0.001, 0.05), patch.ratio(0.15, 3))
    index = patch.ratio(0.2, 6) * decay(n, RATE_HZ, patch.ratio(0.05, 2))
    second = index * np.sin(ratios[0] * phase)
    if patch.chance(0.5):
        second = index * np.sin(ratios[0] * phase + patch.knob(0, 2) * np.sin(ratios[1] * phase))
    sound = np.sin(phase + second)
    if patch.chance(0.5):
        sound = sound + patch.knob(0.2, 1) * np.sin(phase * 1.003 + patch.knob(0, 3) * body * np.sin(ratios[2] * phase))
    return sound * body


def organ(patch: Patch, hz: float, n: int) -> Signal:
    """Drawbars, a click of the key, a turning loudspeaker."""
    bars = patch.steps((0, 0, 0.3, 0.6, 1), 9)
    bars[0] = 1
    turning = 1 + patch.knob(0, 0.012) * np.sin(2 * np.pi * patch.ratio(0.7, 7) * time_s(n))
    ratios = (0.5, 1.5, 1, 2, 3, 4, 5, 6, 8)
    levels = np.zeros(17)
    for ratio, level in zip(ratios, bars, strict=True):
        levels[int(2 * ratio)] += level
    sound = harmonics(hz / 2 * turning, n, levels[1:])
    return sound * hold(n, 0.004, 0.03) * turning**20


def electric_piano(patch: Patch, hz: float, n: int) -> Signal:
    phase = 2 * np.pi * cycles(hz, n, RATE_HZ)
    tine = patch.ratio(0.1, 1) * decay(n, RATE_HZ, patch.ratio(0.1, 0.5)) * np.sin(14 * phase)
    body = np.sin(phase + patch.ratio(0.3, 2) * decay(n, RATE_HZ, 1.5) * np.sin(phase) + tine)
    tremolo = 1 + patch.knob(0, 0.4) * np.sin(2 * np.pi * patch.ratio(3, 7) * time_s(n))
    return body * strike(n, 0.002, patch.ratio(1, 4), 0.05) * tremolo


def string(patch: Patch, hz: float, n: int) -> Signal:
    return pluck(hz, n, RATE_HZ, patch.touch, average_hz=patch.ratio(9_000, 60_000), t60_s=patch.ratio(0.3, 5))


def mallet(patch: Patch, hz: float, n: int) -> Signal:
    """A struck bar of wood or metal."""
    ratios = np.array(patch.pick(((1, 4, 10.0), (1, 3, 6.2), (1, 2.76, 5.4, 8.93), (1, 4.07, 9.2, 12))))
    t60 = patch.ratio(0.15, 2.5)
    bar = modes(
        n, hz * ratios, t60 / ratios ** patch.knob(0.3, 1.2), (1, *np.full(len(ratios) - 1, patch.knob(0.1, 0.6)))
    )
    mallet_noise = band(patch.noise(n), 200, 3000) * strike(n, 0, 0.02)
    return unit(bar) * hold(n, 0.001, 0.02) + patch.knob(0, 0.3) * mallet_noise


def bell(patch: Patch, hz: float, n: int) -> Signal:
    """Partials of a church bell (Rossing 1984), or of a plate, each with its own fall and beating."""
    ratios = np.array(
        patch.pick(((0.5, 1, 1.183, 1.506, 2, 2.514, 2.662, 3.011, 4.166), (1, 1.58, 2.24, 2.92, 3.46, 4.2, 5.1, 6.3)))
    )
    ratios = ratios * (1 + 0.03 * patch.riff.standard_normal(len(ratios)))
    t60 = patch.ratio(0.6, 6) / ratios ** patch.knob(0.2, 1)
    levels = 0.3 + patch.riff.random(len(ratios))
    pairs = np.concatenate([ratios, ratios * (1 + patch.ratio(5e-4, 4e-3))])
    return modes(n, hz * pairs, np.tile(t60, 2), np.tile(levels, 2)) * hold(n, 0.001, 0.05)


def strings(patch: Patch, hz: float, n: int) -> Signal:
    """Bowed or blown: a saw with vibrato that comes late, through a body."""
    late = np.clip(time_s(n) / 0.5, 0, 1)
    shake = 1 + patch.knob(0, 0.012) * late * np.sin(2 * np.pi * patch.ratio(4, 7) * time_s(n))
    source = unison(patch, hz * shake * (1 + 0.002 * wander(patch, n, 0.1)), n, "saw", patch.pick((1, 3, 5)), 0.12)
    bright = hz * patch.ratio(2, 10) * curve(n, (0.5, 1, 0.9, 0.6))
    return unit(swept(source, bright)) * hold(n, patch.ratio(0.03, 0.4), patch.ratio(0.05, 0.5))


def flute(patch: Patch, hz: float, n: int) -> Signal:
    shake = 1 + patch.knob(0, 0.01) * np.sin(2 * np.pi * patch.ratio(4, 6) * time_s(n))
    body = harmonics(hz * shake, n, (1, patch.knob(0.05, 0.6), patch.knob(0, 0.3), patch.knob(0, 0.1)))
    breath = swept(patch.noise(n), np.full(n, 2 * hz), kind="band", q=3)
    return (body + patch.ratio(0.05, 1.5) * unit(breath)) * hold(n, patch.ratio(0.02, 0.15), 0.06)


def brass(patch: Patch, hz: float, n: int) -> Signal:
    contour = curve(n, (0.2, 1, 0.75, 0.75, 0.2), (0, patch.knob(0.05, 0.25), 0.4, 0.85, 1))
    source = unison(patch, hz, n, "saw", patch.pick((1, 2, 3)), 0.1)
    return unit(swept(source, hz * patch.ratio(3, 12) * contour, peak=0.5)) * hold(n, 0.02, 0.06) * contour


def chip(patch: Patch, hz: float, n: int) -> Signal:
    """A sound chip: pulses of few widths, few bits, pitch that jumps in fast arpeggios."""
    sound: Signal = np.sign(tone(hz, n) - patch.pick((0.0, 0.5, 0.8)))
    if patch.chance(0.5):
        step = patch.samples(patch.ratio(0.015, 0.06))
        jumps = 2 ** (np.array(patch.pick(CHORDS))[(np.arange(n) // step) % 2] / 12)
        sound = np.sign(tone(hz * jumps, n))
    return (
        crushed(sound, 4, patch.whole(1, 3))
        * hold(n, 0.001, 0.005)
        * (1 if patch.chance(0.5) else decay(n, RATE_HZ, 1))
    )


def hoover(patch: Patch, hz: float, n: int) -> Signal:
    """The rave stab: a pulse under pitch that swoops, three octaves, a chorus."""
    swoop = hz * 2 ** (patch.knob(-1, 0.5) * decay(n, RATE_HZ, patch.ratio(0.1, 0.8)))
    layers = sum(unison(patch, swoop * octave, n, "saw", 3, 0.3) for octave in (0.5, 1.0, 2.0))
    return driven(np.asarray(layers), patch.ratio(1, 4)) * hold(n, 0.01, 0.08)
