"""Electronic effects: risers, sirens, lasers, glitches, static, beeps."""

import numpy as np

from audiorec.samples.synth import Signal, decay
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    RATE_HZ,
    band,
    crushed,
    curve,
    driven,
    hold,
    modes,
    place,
    poisson,
    scattered,
    strike,
    swept,
    tilted,
    time_s,
    tone,
    unit,
    wander,
    wave,
)


def riser(patch: Patch) -> Signal:
    n = patch.n_samples(0.8, 5)
    low, high = patch.ratio(80, 500), patch.ratio(1500, 7000)
    up = low * (high / low) ** (np.linspace(0, 1, n) ** patch.ratio(0.6, 2.5))
    if patch.chance(0.5):
        sound = swept(patch.noise(n), up, kind="band", q=patch.ratio(0.7, 6))
    else:
        sound = wave(patch.pick(("saw", "sine", "square")), up, n)
    sound = unit(sound) * curve(n, (0.1, 1)) ** patch.knob(0.5, 2) * hold(n, 0.02, 0.01)
    return sound[::-1] if patch.chance(0.35) else sound


def siren(patch: Patch) -> Signal:
    n = patch.n_samples(1, 5)
    centre, span, per_s = patch.ratio(400, 1300), patch.knob(0.1, 0.8), patch.ratio(0.25, 6)
    swing = np.sin(2 * np.pi * per_s * time_s(n) + patch.touch.uniform(0, 6))
    kind = patch.pick(("wail", "two tones", "saw"))
    if kind == "two tones":
        swing = np.sign(swing)
    elif kind == "saw":
        swing = 2 * ((per_s * time_s(n)) % 1) - 1
    sound = wave(patch.pick(("square", "saw", "triangle")), centre * 2 ** (span * swing), n)
    return band(sound, 300, patch.ratio(2000, 6000)) * hold(n, 0.05, 0.1)


def laser(patch: Patch) -> Signal:
    n = patch.n_samples(0.08, 0.7)
    top, bottom, t60 = patch.ratio(1500, 7000), patch.ratio(60, 600), patch.ratio(0.1, 0.8)
    hz = bottom + (top - bottom) * decay(n, RATE_HZ, t60)
    if patch.chance(0.3):
        hz = hz * (1 + 0.3 * np.sign(np.sin(2 * np.pi * patch.ratio(15, 60) * time_s(n))))
    sound = wave(patch.pick(("saw", "square", "sine", "triangle")), np.clip(hz, 20, 7500), n) * strike(
        n, 0.001, 2 * t60
    )
    n_shots = patch.pick((1, 1, 1, 2, 4))
    gap_s = patch.ratio(0.08, 0.3)
    track = np.zeros(n + patch.samples((n_shots - 1) * gap_s))
    for shot in range(n_shots):
        place(track, sound, shot * gap_s)
    return track


def whoosh(patch: Patch) -> Signal:
    n = patch.n_samples(0.25, 1.8)
    peak_at = patch.knob(0.25, 0.75)
    arc = curve(n, (0, 1, 0), (0, peak_at, 1)) ** patch.knob(0.8, 2.5)
    centre = patch.ratio(200, 1200) * patch.ratio(2, 12) ** arc
    return unit(swept(patch.noise(n), centre, kind="band", q=patch.ratio(0.6, 3))) * arc


def impact(patch: Patch) -> Signal:
    """A cinematic hit: a boom, a crack, a long dark tail."""
    n = patch.n_samples(0.8, 4)
    boom = tone(patch.ratio(30, 70) * (1 + 2 * decay(n, RATE_HZ, 0.15)), n) * strike(n, 0.001, patch.ratio(0.5, 2.5))
    crack = patch.noise(n) * strike(n, 0, patch.ratio(0.05, 0.3))
    tail = tilted(patch.noise(n), -6) * strike(n, 0.02, patch.ratio(0.8, 4), 0.1)
    return driven(
        unit(boom) + patch.knob(0.1, 0.8) * unit(crack) + patch.knob(0.2, 1) * unit(tail), patch.ratio(0.7, 4)
    )


def glitch(patch: Patch) -> Signal:
    """Short pieces of tones, noise and silence, repeated and crushed."""
    pieces = []
    for _ in range(patch.whole(2, 12)):
        n, kind = patch.n_samples(0.004, 0.12), patch.pick(("square", "noise", "glide", "silence"))
        low_hz, high_hz = patch.ratio(60, 6000), patch.ratio(60, 6000)
        if kind == "square":
            piece = np.sign(tone(low_hz, n))
        elif kind == "noise":
            piece = patch.noise(n)
        else:
            piece = tone(curve(n, (low_hz, high_hz)), n) * (kind == "glide")
        pieces += [piece] * patch.whole(1, 4)
    return crushed(np.concatenate(pieces), patch.knob(2, 8), patch.whole(1, 8))


def static(patch: Patch) -> Signal:
    """Radio between stations, a bad cable, a hum."""
    n = patch.n_samples(0.5, 4)
    hum = sum(tone(50.0 * k, n) / k for k in (1, 2, 3, 5)) * patch.pick((0, 0, 0.3))
    at = poisson(patch, n, patch.ratio(3, 200))
    crackle = scattered(n, at, patch.touch.normal(0, 1, len(at)) ** 3, strike(200, 0, patch.ratio(0.001, 0.01)))
    hiss = tilted(patch.noise(n), patch.knob(-6, 3)) * (
        1 + patch.knob(0, 0.9) * wander(patch, n, patch.ratio(0.02, 0.5))
    )
    return patch.knob(0, 1) * unit(hiss) + patch.knob(0.1, 1) * unit(crackle) + hum


def vinyl(patch: Patch) -> Signal:
    n = patch.n_samples(1, 5)
    at = poisson(patch, n, patch.ratio(4, 60))
    grain = modes(160, (patch.ratio(800, 4000),), (0.004,), (1,))
    crackle = scattered(n, at, patch.touch.normal(0, 1, len(at)) ** 3, grain)
    return unit(crackle) + patch.knob(0.02, 0.2) * unit(tilted(patch.noise(n), -3)) + 0.02 * tone(33.0, n)


def beeps(patch: Patch) -> Signal:
    """Phones, alarms, machines that have finished."""
    n_beeps, on_s = patch.whole(1, 8), patch.ratio(0.04, 0.4)
    gap_s = on_s * patch.ratio(0.1, 2)
    notes_hz = patch.ratio(400, 3500) * 2 ** (patch.steps((0, 0, 0, 4, 7, 12), n_beeps) / 12)
    waveform = patch.pick(("sine", "square", "triangle"))
    dual = patch.pick((0.0, 0.0, 1.21, 1.5))
    track = np.zeros(patch.samples(n_beeps * (on_s + gap_s)))
    n = patch.samples(on_s)
    for number, hz in enumerate(notes_hz):
        one = wave(waveform, float(hz), n) + (wave(waveform, float(hz) * dual, n) if dual else 0)
        place(track, one * hold(n, 0.003, 0.005), number * (on_s + gap_s))
    return track


def telephone(patch: Patch) -> Signal:
    """A bell hammered twenty times a second, or its electronic heir."""
    n = patch.n_samples(0.8, 3)
    per_s = patch.ratio(14, 28)
    hz = patch.ratio(600, 2000)
    if patch.chance(0.5):
        at = np.arange(0, n, RATE_HZ / per_s)
        grain = modes(4000, hz * np.array([1, 1.34, 2.2, 3.1]), np.full(4, 0.25), (1, 0.8, 0.5, 0.4))
        return scattered(n, at, 0.8 + 0.2 * patch.touch.random(len(at)), grain) * hold(n, 0.01, 0.3)
    trill = hz * np.where((per_s * time_s(n)) % 1 < 0.5, 1, patch.pick((1.2, 1.25, 1.33)))
    return wave(patch.pick(("square", "sine")), trill, n) * hold(n, 0.01, 0.05)


def data(patch: Patch) -> Signal:
    """A modem or a tape of a home computer: bits as tones."""
    n_bits, bit = patch.whole(20, 200), patch.samples(patch.ratio(0.004, 0.03))
    bits = patch.riff.integers(0, 2, n_bits)
    hz = patch.ratio(600, 2400) * (1 + patch.knob(0.2, 1.2) * np.repeat(bits, bit))
    return np.sign(tone(hz, len(hz))) if patch.chance(0.5) else tone(hz, len(hz))


def robot(patch: Patch) -> Signal:
    """Bleeps and sweeps of a talking machine."""
    track, at_s = np.zeros(patch.samples(4)), 0.0
    for _ in range(patch.whole(3, 8)):
        n, pause = patch.n_samples(0.04, 0.25), float(patch.riff.uniform(-0.2, 0.5))
        part = tone(curve(n, (patch.ratio(200, 4000), patch.ratio(200, 4000))), n)
        if patch.chance(0.4):
            part = part * np.sign(np.sin(2 * np.pi * 45 * time_s(n)))
        place(track, part * hold(n, 0.003, 0.01), at_s)
        at_s += n / RATE_HZ * (1 + pause)
    return track


FAMILIES = {
    "riser": (riser,),
    "siren": (siren,),
    "laser": (laser,),
    "whoosh": (whoosh,),
    "impact": (impact,),
    "glitch": (glitch,),
    "static": (static,),
    "vinyl": (vinyl,),
    "beeps": (beeps,),
    "telephone": (telephone,),
    "data": (data,),
    "robot": (robot,),
}
