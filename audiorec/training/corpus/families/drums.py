"""Drums of machines, samplers and hands: kick, snare, clap, tom, rim, and what only machines can."""

import numpy as np

from audiorec.samples.synth import Signal
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    RATE_HZ,
    band,
    crushed,
    driven,
    hold,
    modes,
    ring,
    strike,
    swept,
    time_s,
    tone,
    unit,
)

SKIN_RATIOS = np.array([1.0, 1.59, 2.14, 2.30, 2.65, 2.92, 3.16, 3.50, 3.60])  # modes of an ideal membrane


def finished(patch: Patch, sound: Signal) -> Signal:
    """What a machine's output does to a drum: some drive, some grit, a narrower band."""
    kind = patch.pick(("clean", "clean", "driven", "crushed", "dull"))
    if kind == "driven":
        return driven(sound, patch.ratio(1.2, 5))
    if kind == "crushed":
        return crushed(sound, patch.knob(5, 10), patch.whole(1, 3))
    if kind == "dull":
        return band(sound, high_hz=patch.ratio(2500, 7000))
    return sound


def kick_analog(patch: Patch) -> Signal:
    n = patch.n_samples(0.12, 0.9)
    hz, bend = patch.ratio(38, 75), patch.ratio(0.3, 8)
    sweep_hz = hz * (1 + bend * strike(n, 0, patch.ratio(0.03, 0.2)))
    body = tone(sweep_hz, n, 0.1) * strike(n, 0.001, patch.ratio(0.15, 1.2))
    click = patch.noise(n) * strike(n, 0, patch.ratio(0.004, 0.03)) * patch.knob(0, 0.3)
    return finished(patch, np.tanh(patch.ratio(1, 4) * body + click))


def kick_skin(patch: Patch) -> Signal:
    n = patch.n_samples(0.12, 0.5)
    hz, t60 = patch.ratio(50, 90), patch.ratio(0.1, 0.4)
    body = modes(n, hz * SKIN_RATIOS[:5], t60 / SKIN_RATIOS[:5] ** 1.5, (1, 0.4, 0.3, 0.2, 0.15))
    beater = band(patch.noise(n), 800, patch.ratio(2500, 7000)) * strike(n, 0, patch.ratio(0.006, 0.03))
    room = band(patch.noise(n), 60, 900) * strike(n, 0.005, patch.ratio(0.08, 0.35)) * patch.knob(0, 0.25)
    return finished(patch, unit(body) + patch.knob(0.1, 0.6) * beater + room)


def kick_hard(patch: Patch) -> Signal:
    n = patch.n_samples(0.15, 0.6)
    sweep_hz = patch.ratio(40, 70) * (1 + patch.ratio(3, 20) * strike(n, 0, patch.ratio(0.05, 0.35)))
    return driven(tone(sweep_hz, n, 0.2) * strike(n, 0, patch.ratio(0.3, 1.5)), patch.ratio(3, 25))


def snare_analog(patch: Patch) -> Signal:
    n = patch.n_samples(0.08, 0.5)
    hz = patch.ratio(140, 260)
    bend = 1 + patch.knob(0, 0.6) * strike(n, 0, 0.05)
    skin = tone(hz * bend, n) + 0.7 * tone(hz * bend * patch.knob(1.5, 1.95), n)
    wires = unit(band(patch.noise(n), patch.ratio(600, 3000), patch.ratio(5000, 9000)))
    t60 = patch.ratio(0.08, 0.5)
    sound = patch.knob(0.1, 0.8) * skin * strike(n, 0, t60 * patch.knob(0.4, 1)) + wires * strike(n, 0.001, t60)
    return finished(patch, sound)


def snare_skin(patch: Patch) -> Signal:
    n = patch.n_samples(0.12, 0.45)
    hz, t60 = patch.ratio(150, 320), patch.ratio(0.08, 0.3)
    skin = modes(n, hz * SKIN_RATIOS, t60 / SKIN_RATIOS**0.7, 1 / SKIN_RATIOS)
    wires = unit(ring(patch.noise(n), (patch.ratio(1500, 3000), patch.ratio(3500, 6500)), 0.8, floor=0.15))
    rattle = wires * (strike(n, 0.003, patch.ratio(0.12, 0.4)) + 0.8 * strike(n, 0, 0.03))
    return finished(patch, unit(skin) + patch.knob(0.4, 1.4) * rattle)


def snare_noise(patch: Patch) -> Signal:
    n = patch.n_samples(0.06, 0.4)
    centre_hz = patch.ratio(1200, 5000) * (1 + patch.knob(0, 1) * strike(n, 0, 0.06))
    body = swept(patch.noise(n), centre_hz, kind="band", q=patch.ratio(0.4, 2))
    return finished(
        patch, unit(body) * strike(n, 0.0005, patch.ratio(0.06, 0.5)) + 0.2 * tone(180.0, n) * strike(n, 0, 0.05)
    )


def clap(patch: Patch) -> Signal:
    n = patch.n_samples(0.1, 0.5)
    at_s, gap_s = time_s(n), patch.ratio(0.006, 0.014)
    n_bursts = patch.whole(2, 5)
    last_s = n_bursts * gap_s
    tail = np.exp(-np.maximum(at_s - last_s, 0) / patch.ratio(0.015, 0.09))
    bursts = np.where(at_s < last_s, np.exp(-(at_s % gap_s) / patch.ratio(0.002, 0.006)), tail)
    palm = ring(patch.noise(n), (patch.ratio(800, 1800), patch.ratio(1800, 3500)), patch.ratio(0.8, 3), floor=0.08)
    return finished(patch, palm * bursts * hold(n, 0.0005, 0.01))


def hands(patch: Patch) -> Signal:
    """A few people clapping once, not quite together."""
    n = patch.n_samples(0.15, 0.6)
    total = np.zeros(n)
    for _ in range(patch.whole(3, 9)):
        palm = ring(patch.noise(800), (patch.touch.uniform(700, 2400),), 1.5, floor=0.2) * strike(800, 0, 0.03)
        start = int(patch.touch.uniform(0, 0.03) * RATE_HZ)
        total[start : start + 800] += palm[: n - start] * patch.touch.uniform(0.4, 1)
    room = band(patch.noise(n), 500, 4000) * strike(n, 0.01, patch.ratio(0.1, 0.6))
    return finished(patch, unit(total) + patch.knob(0.02, 0.25) * room)


def tom_analog(patch: Patch) -> Signal:
    n = patch.n_samples(0.15, 0.9)
    hz = patch.ratio(70, 280) * (1 + patch.knob(0.1, 1.5) * strike(n, 0, patch.ratio(0.05, 0.3)))
    body = tone(hz, n) * strike(n, 0.001, patch.ratio(0.2, 1.0))
    return finished(patch, body + patch.knob(0, 0.3) * patch.noise(n) * strike(n, 0, patch.ratio(0.01, 0.15)))


def tom_skin(patch: Patch) -> Signal:
    n = patch.n_samples(0.2, 0.8)
    hz, t60 = patch.ratio(80, 240), patch.ratio(0.15, 0.8)
    skin = modes(n, hz * SKIN_RATIOS[:6], t60 / SKIN_RATIOS[:6], (1, 0.5, 0.35, 0.2, 0.2, 0.1))
    stick = band(patch.noise(n), 500, 5000) * strike(n, 0, 0.02)
    return finished(patch, unit(skin) + patch.knob(0.05, 0.5) * stick)


def rim(patch: Patch) -> Signal:
    n = patch.n_samples(0.03, 0.3)
    hz = patch.ratio(350, 1100)
    body = modes(
        n, hz * np.array([1, 2.6, 4.7, 6.1]), patch.ratio(0.015, 0.06) * np.array([1, 0.8, 0.6, 0.5]), (1, 1, 0.6, 0.4)
    )
    wires = band(patch.noise(n), 1500) * strike(n, 0, patch.ratio(0.01, 0.25))
    return finished(patch, unit(body) + patch.knob(0.05, 0.8) * wires)


def zap(patch: Patch) -> Signal:
    n = patch.n_samples(0.04, 0.35)
    hz = 50 + patch.ratio(2000, 7000) * strike(n, 0, patch.ratio(0.02, 0.3))
    return finished(patch, tone(hz, n) * strike(n, 0, patch.ratio(0.05, 0.5)))


def fm_drum(patch: Patch) -> Signal:
    """A drum of two operators: from block to gong."""
    n = patch.n_samples(0.06, 0.6)
    hz, t60 = patch.ratio(60, 700), patch.ratio(0.05, 0.6)
    index = patch.ratio(0.5, 12) * strike(n, 0, t60 * patch.knob(0.1, 0.8))
    fall = 1 + patch.knob(0, 1) * strike(n, 0, 0.05)
    modulator = tone(hz * patch.ratio(0.5, 6) * fall, n)
    phase = np.cumsum(hz * fall) / RATE_HZ
    return finished(patch, np.sin(2 * np.pi * phase + index * modulator) * strike(n, 0.0005, t60))


def noise_hit(patch: Patch) -> Signal:
    n = patch.n_samples(0.03, 0.3)
    return finished(patch, crushed(patch.noise(n) * strike(n, 0, patch.ratio(0.03, 0.3)), 6, patch.whole(1, 10)))


FAMILIES = {
    "kick": (
        kick_analog,
        kick_skin,
        kick_hard,
        kick_analog,
    ),
    "snare": (
        snare_analog,
        snare_skin,
        snare_noise,
    ),
    "clap": (
        clap,
        clap,
        hands,
    ),
    "tom": (
        tom_analog,
        tom_skin,
    ),
    "rim": (rim,),
    "zap": (zap,),
    "electronic drum": (
        fm_drum,
        noise_hit,
    ),
}
