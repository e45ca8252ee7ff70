"""Weather, water, fire and explosions."""

import numpy as np

from audiorec.samples.synth import Signal, decay
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    RATE_HZ,
    band,
    hold,
    place,
    poisson,
    ring,
    scattered,
    strike,
    swept,
    tilted,
    time_s,
    tone,
    unit,
    wander,
)


def wind(patch: Patch) -> Signal:
    n = patch.n_samples(1.5, 6)
    gusts = wander(patch, n, patch.ratio(0.3, 1.5))
    howl = swept(
        patch.noise(n),
        patch.ratio(200, 900) * 2 ** (0.7 * gusts),
        kind="band",
        q=patch.ratio(1, 12),
        window_samples=1024,
    )
    rush = tilted(patch.noise(n), -6)
    return (unit(howl) + patch.knob(0.1, 1) * unit(rush)) * (1 + patch.knob(0.3, 0.9) * gusts) * hold(n, 0.2, 0.3)


def rain(patch: Patch) -> Signal:
    n = patch.n_samples(1.5, 6)
    hiss = tilted(band(patch.noise(n), patch.ratio(300, 2000)), patch.knob(-4, 1))
    at = poisson(patch, n, patch.ratio(20, 800))
    drop = ring(patch.noise(300), (patch.ratio(1200, 5000),), patch.ratio(1, 5)) * strike(300, 0, 0.012)
    drops = scattered(n, at, patch.touch.exponential(1, len(at)) ** 1.5, drop)
    return unit(hiss) * patch.knob(0.2, 1) + patch.knob(0.1, 1.2) * unit(drops)


def thunder(patch: Patch) -> Signal:
    n = patch.n_samples(2, 6)
    at = np.sort(patch.touch.uniform(0, 0.6 * n, patch.whole(3, 14)))
    claps = scattered(
        n,
        at,
        patch.touch.exponential(1, len(at)),
        strike(patch.samples(2), patch.ratio(0.02, 0.4), patch.ratio(0.8, 3), 0.5),
    )
    rumble = unit(band(patch.noise(n), 25, patch.ratio(90, 500))) * unit(claps)
    crack = patch.noise(n) * strike(n, 0.002, patch.ratio(0.2, 1.2)) * patch.knob(0, 0.4)
    return rumble * hold(n, 0.01, 0.6) + crack


def sea(patch: Patch) -> Signal:
    n = patch.n_samples(2.5, 6)
    period_s = patch.ratio(1.5, 5)
    swellings = (0.5 - 0.5 * np.cos(2 * np.pi * (time_s(n) / period_s + patch.touch.random()))) ** patch.knob(1, 3)
    foam = swept(patch.noise(n), patch.ratio(300, 900) * patch.ratio(2, 9) ** swellings, window_samples=1024)
    return unit(foam) * (0.15 + swellings) + 0.2 * unit(tilted(patch.noise(n), -6))


def bubbles(patch: Patch, n: int, per_s: float, low_hz: float, high_hz: float, rise: float) -> Signal:
    """Bubbles of water: each a damped sine that rises as it comes to the surface (van den Doel 2005)."""
    track = np.zeros(n)
    at = poisson(patch, n, per_s)
    for start in at[:300]:
        hz = float(np.exp(patch.touch.uniform(np.log(low_hz), np.log(high_hz))))
        t60 = 25 / hz**0.8
        m = int(min(t60 * RATE_HZ, 4000)) + 64
        one = tone(hz * (1 + rise * time_s(m) / t60), m) * strike(m, 0.001, t60)
        place(track, one, start / RATE_HZ, float(patch.touch.exponential(1)) * (low_hz / hz) ** 0.5)
    return track


def stream(patch: Patch) -> Signal:
    n = patch.n_samples(1.5, 6)
    low = patch.ratio(300, 700)
    water = bubbles(patch, n, patch.ratio(30, 140), low, low * patch.ratio(3, 9), 0.3)
    hiss = band(patch.noise(n), 400, 5000) * (1 + 0.4 * wander(patch, n, 0.15))
    return unit(water) + patch.knob(0.02, 0.4) * unit(hiss)


def pouring(patch: Patch) -> Signal:
    """A vessel that fills: its resonance rises."""
    n = patch.n_samples(1.2, 5)
    splash = unit(bubbles(patch, n, 80, 500, 3500, 0.4)) + 0.5 * unit(band(patch.noise(n), 300))
    rise = patch.ratio(250, 600) * patch.ratio(1.5, 4) ** np.linspace(0, 1, n)
    return unit(swept(splash, rise, kind="band", q=patch.ratio(2, 8))) + 0.3 * unit(splash)


def drops(patch: Patch) -> Signal:
    n = patch.n_samples(0.3, 4)
    track = np.zeros(n)
    low = patch.ratio(500, 1500)
    gap_s, m, rise = patch.ratio(0.15, 1.2), patch.n_samples(0.05, 0.15), patch.knob(0.2, 1.5)
    for at_s in np.arange(0, n / RATE_HZ, gap_s):
        hz = low * float(patch.touch.uniform(0.85, 1.3))
        plop = tone(hz * (1 + rise * np.linspace(0, 1, m) ** 2), m) * strike(m, 0.001, m / RATE_HZ)
        place(track, plop, at_s + float(patch.touch.uniform(0, 0.03)), float(patch.touch.uniform(0.4, 1)))
    return track + patch.knob(0, 0.3) * bubbles(patch, n, 5, 800, 3000, 0.5)


def fire(patch: Patch) -> Signal:
    n = patch.n_samples(1.5, 6)
    at = poisson(patch, n, patch.ratio(4, 60))
    snap = ring(patch.noise(400), (patch.ratio(900, 3500),), 1.2, floor=0.3) * strike(400, 0, patch.ratio(0.004, 0.02))
    snaps = scattered(n, at, patch.touch.exponential(1, len(at)) ** 2.5, snap)
    roar = tilted(patch.noise(n), -5) * (1 + 0.5 * wander(patch, n, 0.12))
    hiss = band(patch.noise(n), 3000)
    return unit(snaps) + patch.knob(0.02, 0.4) * unit(roar) + patch.knob(0, 0.05) * hiss


def explosion(patch: Patch) -> Signal:
    n = patch.n_samples(0.8, 4)
    t60 = patch.ratio(0.5, 3.5)
    cutoff = 80 + patch.ratio(1500, 7000) * decay(n, RATE_HZ, t60 * patch.knob(0.3, 1))
    blast = unit(swept(patch.noise(n), cutoff)) * strike(n, 0.003, t60, 0.1)
    boom = tone(patch.ratio(25, 60) * (1 + decay(n, RATE_HZ, 0.2)), n) * strike(n, 0.002, t60)
    debris_at = poisson(patch, n, patch.ratio(3, 40))
    debris = scattered(
        n,
        debris_at,
        patch.touch.exponential(1, len(debris_at)),
        ring(patch.noise(500), (1500,), 1) * strike(500, 0, 0.02),
    )
    return np.tanh(2 * blast + boom) + 0.1 * unit(debris) * decay(n, RATE_HZ, 2 * t60)


def gunshot(patch: Patch) -> Signal:
    n_shots, gap_s = patch.pick((1, 1, 1, 2, 3, 6)), patch.ratio(0.08, 0.4)
    n = patch.n_samples(0.25, 1.2)
    bang = patch.noise(n) * strike(n, 0, patch.ratio(0.03, 0.15))
    echo = (
        band(patch.noise(n), 80, patch.ratio(700, 3000))
        * strike(n, 0.01, patch.ratio(0.3, 1.5))
        * patch.knob(0.05, 0.6)
    )
    shot = np.tanh(3 * (unit(bang) + echo))
    track = np.zeros(n + patch.samples((n_shots - 1) * gap_s))
    for number in range(n_shots):
        place(track, shot, number * gap_s)
    return track


def fireworks(patch: Patch) -> Signal:
    n = patch.n_samples(1.5, 4)
    up_s = patch.ratio(0.3, 1.2)
    m = patch.samples(up_s)
    whistle = tone(np.linspace(patch.ratio(800, 1800), patch.ratio(2500, 5000), m), m) * hold(m, 0.05, 0.05)
    track = np.zeros(n)
    place(track, whistle + 0.3 * patch.noise(m) * hold(m, 0.05, 0.05), 0, patch.knob(0, 0.5))
    bang_n = n - min(m, n - 64)
    bang = unit(band(patch.noise(bang_n), 60, 2500)) * strike(bang_n, 0, patch.ratio(0.2, 0.9))
    place(track, bang, up_s)
    at = poisson(patch, bang_n, patch.ratio(10, 90))
    sparks = scattered(
        bang_n, at, patch.touch.exponential(1, len(at)), band(patch.noise(300), 1500) * strike(300, 0, 0.01)
    )
    place(track, unit(sparks) * hold(bang_n, 0.2, 0.4), up_s + 0.1, patch.knob(0.1, 0.6))
    return track


FAMILIES = {
    "wind": (wind,),
    "rain": (rain,),
    "thunder": (thunder,),
    "sea": (sea,),
    "stream": (stream,),
    "pouring": (pouring,),
    "water drops": (drops,),
    "fire": (fire,),
    "explosion": (explosion,),
    "gunshot": (gunshot,),
    "fireworks": (fireworks,),
}
