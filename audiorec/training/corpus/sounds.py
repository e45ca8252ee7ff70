"""What every recipe is built from: envelopes, oscillators, damped modes, colours of noise, moving filters, grains.

Everything is mono at the corpus's rate: `(n_samples,)`, of any level. The classic parts come from `samples.synth`.
"""

from collections.abc import Sequence

import numpy as np

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.samples.synth import (
    Signal,
    cycles,
    decay,
    drift,
    fast_length,
    high_pass,
    low_pass,
    resonance,
    saw,
    shape,
    shape_over_time,
    sine,
    swell,
    wrap,
)
from audiorec.training.corpus.patch import Patch

RATE_HZ = SAMPLE_RATE_HZ
NYQUIST_HZ = RATE_HZ / 2
FILTER_SAMPLES = 256  # 16 ms: short enough for the filter of a plucked synthesiser note
MODE_BLOCK_SAMPLES = 256

Floats = Sequence[float] | Signal


def time_s(n_samples: int) -> Signal:
    """The time of each sample."""
    return np.arange(n_samples) / RATE_HZ


def strike(n_samples: int, attack_s: float, t60_s: float, release_s: float = 0.004) -> Signal:
    """An envelope that rises in `attack_s`, loses 60 dB in `t60_s`, and ends without a click."""
    return decay(n_samples, RATE_HZ, t60_s) * swell(n_samples, RATE_HZ, attack_s, release_s)


def hold(n_samples: int, attack_s: float, release_s: float) -> Signal:
    """An envelope that rises, stays and falls."""
    return swell(n_samples, RATE_HZ, attack_s, release_s)


def curve(n_samples: int, points: Floats, times: Floats | None = None) -> Signal:
    """A line through `points`, at equal distances or at `times` in [0, 1] of the length."""
    at = np.linspace(0, 1, len(points)) if times is None else np.asarray(times)
    line: Signal = np.interp(np.linspace(0, 1, n_samples), at, np.asarray(points))
    return line


def tone(hz: Signal | float, n_samples: int, start: float = 0.0) -> Signal:
    """A sine of a constant or moving frequency."""
    return sine(cycles(hz, n_samples, RATE_HZ, start))


def square(phase: Signal, width: Signal | float = 0.5) -> Signal:
    """A pulse wave, its steps rounded: the difference of two saws."""
    return (saw(phase) - saw(phase + width)) / 2


def wave(name: str, hz: Signal | float, n_samples: int, start: float = 0.0, width: float = 0.5) -> Signal:
    """A classic waveform by name: sine, triangle, saw, square."""
    phase = cycles(hz, n_samples, RATE_HZ, start)
    if name == "sine":
        return sine(phase)
    if name == "triangle":
        return np.asarray(4 * np.abs(wrap(phase) - 0.5) - 1)
    return saw(phase) if name == "saw" else square(phase, width)


def modes(n_samples: int, hz: Floats, t60_s: Floats, levels: Floats) -> Signal:
    """Damped sines, one a mode, all struck at once; those above the band are left out.

    A mode is the powers of one complex number, made block by block: a product a sample instead of a sine.
    """
    n_blocks = -(-n_samples // MODE_BLOCK_SAMPLES)
    total = np.zeros((n_blocks, MODE_BLOCK_SAMPLES))
    inner, outer = np.arange(MODE_BLOCK_SAMPLES), np.arange(n_blocks)[:, None] * MODE_BLOCK_SAMPLES
    for frequency, t60, level in zip(hz, t60_s, levels, strict=True):
        if frequency < 0.97 * NYQUIST_HZ and level:
            pole = (np.log(1e-3) / max(t60, 1e-3) + 2j * np.pi * frequency) / RATE_HZ
            start, turn = np.exp(pole * outer), level * np.exp(pole * inner)
            total += start.real * turn.imag + start.imag * turn.real
    return total.reshape(-1)[:n_samples]


def harmonics(hz: Signal | float, n_samples: int, levels: Floats) -> Signal:
    """Harmonics 1, 2, ... of a constant or moving frequency, those above the band left out."""
    top_hz = float(np.max(hz))
    turn = np.exp(2j * np.pi * wrap(cycles(hz, n_samples, RATE_HZ)))
    total, power = np.zeros(n_samples), turn.copy()
    for number, level in enumerate(levels, start=1):
        if number * top_hz > 0.97 * NYQUIST_HZ:
            break
        total += level * power.imag
        power *= turn
    return total


def bank(n_samples: int, hz: Floats, waveform: str = "square") -> Signal:
    """The sum of naive squares or sines: the metal of drum machines."""
    total = np.zeros(n_samples)
    for frequency in hz:
        one = sine(cycles(frequency, n_samples, RATE_HZ, 0.37 * frequency % 1))
        total += np.sign(one) if waveform == "square" else one
    return total


def band(sound: Signal, low_hz: float = 0.0, high_hz: float = NYQUIST_HZ, order: int = 2) -> Signal:
    """Butterworth band; a bound outside (20 Hz, 7.6 kHz) is no bound."""

    def gain(hz: Signal) -> Signal:
        total = np.ones_like(hz)
        if low_hz > 20:
            total = total * high_pass(hz, low_hz, order)
        if high_hz < 7600:
            total = total * low_pass(hz, high_hz, order)
        return total

    return shape(sound, RATE_HZ, gain)


def ring(sound: Signal, centres_hz: Floats, q: float, levels: Floats | None = None, floor: float = 0.0) -> Signal:
    """`sound` through parallel resonances."""
    loud = np.ones(len(centres_hz)) if levels is None else np.asarray(levels)

    def gain(hz: Signal) -> Signal:
        passed = (level * resonance(hz, centre, q) for centre, level in zip(centres_hz, loud, strict=True))
        return np.asarray(floor + sum(passed))

    return shape(sound, RATE_HZ, gain)


def tilted(sound: Signal, db_per_octave: float) -> Signal:
    """`sound` tilted around 1 kHz: -3 makes noise pink, -6 brown."""
    return shape(sound, RATE_HZ, lambda hz: (np.maximum(hz, 20) / 1000) ** (db_per_octave / 6.02))


def swept(
    sound: Signal, cutoff_hz: Signal, *, peak: float = 0.0, kind: str = "low", q: float = 4.0, order: int = 2,
    window_samples: int = FILTER_SAMPLES,
) -> Signal:  # fmt: skip
    """A filter whose cutoff moves, `(n_samples,)`: low (with a resonant `peak`), high, or band of quality `q`."""
    n_samples = len(sound)

    def gain(at_s: Signal, hz: Signal) -> Signal:
        at = np.clip((at_s * RATE_HZ).astype(np.int64), 0, n_samples - 1)
        cutoff = np.clip(cutoff_hz[at], 20, NYQUIST_HZ)
        if kind == "band":
            return resonance(hz[np.newaxis], cutoff, q)
        passed = low_pass(hz, cutoff, order) if kind == "low" else low_pass(cutoff, np.maximum(hz, 1e-3), order)
        return passed + peak * resonance(hz[np.newaxis], cutoff, q) if peak else passed

    return shape_over_time(sound, RATE_HZ, gain, window_samples)


def scattered(n_samples: int, at: Signal, levels: Signal, grain: Signal) -> Signal:
    """Copies of `grain` at the samples `at`, each of its own level: one convolution for all."""
    impulses = np.zeros(n_samples)
    inside = (at >= 0) & (at < n_samples)
    np.add.at(impulses, at[inside].astype(np.int64), levels[inside])
    n_fft = fast_length(n_samples + len(grain))
    return np.fft.irfft(np.fft.rfft(impulses, n_fft) * np.fft.rfft(grain, n_fft), n_fft)[:n_samples]


def poisson(patch: Patch, n_samples: int, per_s: float) -> Signal:
    """Random moments, as samples, `per_s` of them a second on average, at least one."""
    n_events = max(1, int(patch.touch.poisson(per_s * n_samples / RATE_HZ)))
    return np.sort(patch.touch.integers(0, n_samples, n_events)).astype(np.float64)


def wander(patch: Patch, n_samples: int, period_s: float) -> Signal:
    """A smooth random curve in [-1, 1]."""
    return drift(patch.touch, n_samples, RATE_HZ, period_s)


def place(track: Signal, sound: Signal, at_s: float, level: float = 1.0) -> None:
    """Add `sound` to `track` from `at_s` on; what overhangs is cut off."""
    start = max(round(at_s * RATE_HZ), 0)
    part = sound[: max(len(track) - start, 0)]
    track[start : start + len(part)] += level * part


def unit(sound: Signal) -> Signal:
    """`sound` with a peak of one."""
    return sound / max(float(np.abs(sound).max()), 1e-9)


def driven(sound: Signal, drive: float) -> Signal:
    """Soft clipping of a sound of unit peak."""
    clipped: Signal = np.tanh(drive * unit(sound))
    return clipped


def crushed(sound: Signal, n_bits: float, hold_samples: int) -> Signal:
    """Fewer bits and a lower rate, as early samplers had."""
    levels = 2 ** (n_bits - 1)
    held = unit(sound)[:: max(hold_samples, 1)].repeat(max(hold_samples, 1))[: len(sound)]
    return np.round(held * levels) / levels
