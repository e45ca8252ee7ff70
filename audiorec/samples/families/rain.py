"""Rain: many drops, each a small sound."""

from functools import partial

import numpy as np

from audiorec.samples.synth import Signal, cycles, decay, drift, fast_length, high_pass, resonance, shape, sine, swell
from audiorec.samples.take import Take

N_SHAPES = 6


def drop(take: Take, frequency_hz: float, t60_s: float, bubble: float) -> Signal:
    """One drop: a tick of noise and a bubble whose pitch rises as it shrinks (van den Doel 2005)."""
    n_samples = take.samples(t60_s)
    rise = frequency_hz * (1 + 0.4 * np.arange(n_samples) / n_samples)
    tone = sine(cycles(rise, n_samples, take.rate_hz)) * decay(n_samples, take.rate_hz, t60_s)
    tick = take.noise(t60_s) * decay(n_samples, take.rate_hz, 0.006)
    return (bubble * tone + (1 - bubble) * tick) * swell(n_samples, take.rate_hz, 2e-4, 0.002)


def rain(
    take: Take, *, drops_per_s: float, pitch_hz: float, t60_s: float, bubble: float, hiss: float, surface_hz: float
) -> Signal:
    """Drops at random times over the hiss of those too far to tell apart, `(2, n_samples)`."""
    n_drops = int(take.touch.poisson(drops_per_s * take.duration_s / N_SHAPES)) + 1
    n_fft = fast_length(take.n_samples + take.samples(t60_s))
    spectrum = np.zeros((2, n_fft // 2 + 1), np.complex128)
    pitch_hz, surface_hz = take.varied(pitch_hz), take.varied(surface_hz)
    for octave in take.riff.uniform(-1, 1, N_SHAPES):
        sound = drop(take, pitch_hz * 2**octave, t60_s, bubble)
        impulses = np.zeros((2, take.n_samples))
        channel, at = take.touch.integers(0, (2, take.n_samples), (n_drops, 2)).T
        # Loudness by distance: few drops fall near, many far away.
        np.add.at(impulses, (channel, at), take.touch.pareto(2.5, n_drops).clip(0, 4))
        impulses[0], impulses[1] = impulses[0] + 0.4 * impulses[1], impulses[1] + 0.4 * impulses[0]
        spectrum += np.fft.rfft(impulses, n_fft) * np.fft.rfft(sound, n_fft)
    drops = np.fft.irfft(spectrum, n_fft)[:, : take.n_samples]
    level = 1 + 0.3 * drift(take.touch, take.n_samples, take.rate_hz, 2.0)
    sheet = np.stack([take.noise(), take.noise()]) * hiss * level
    return shape(
        drops + sheet,
        take.rate_hz,
        lambda hz: high_pass(hz, 250) * (0.4 + resonance(hz, surface_hz, 0.8)),
    )


KINDS = {
    "Rain on a tin roof": partial(
        rain, drops_per_s=350, pitch_hz=2200, t60_s=0.03, bubble=0.5, hiss=0.05, surface_hz=3000
    ),
    "Drizzle on leaves": partial(
        rain, drops_per_s=120, pitch_hz=3500, t60_s=0.012, bubble=0.2, hiss=0.04, surface_hz=5000
    ),
    "Downpour in the street": partial(
        rain, drops_per_s=1500, pitch_hz=2500, t60_s=0.015, bubble=0.2, hiss=0.3, surface_hz=2500
    ),
    "Dripping gutter": partial(
        rain, drops_per_s=25, pitch_hz=1400, t60_s=0.06, bubble=0.85, hiss=0.03, surface_hz=2000
    ),
}
