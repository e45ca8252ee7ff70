"""Sound as arrays: oscillators, envelopes, filters, a plucked string, a room, and the track that sums them.

A signal is float64, `(n_samples,)` for one channel or `(2, n_samples)` for left and right, of any level.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Signal: TypeAlias = npt.NDArray[np.floating[Any]]
Gain: TypeAlias = Callable[[Signal], Signal]
MovingGain: TypeAlias = Callable[[Signal, Signal], Signal]

STFT_SAMPLES = 1024


def fast_length(n_samples: int) -> int:
    """The next length, at most 1/16 longer, whose FFT has no large prime factor."""
    unit = 1 << max(n_samples.bit_length() - 5, 0)
    return -(-n_samples // unit) * unit


def cycles(frequency_hz: Signal | float, n_samples: int, rate_hz: int, start: float = 0.0) -> Signal:
    """The phase of an oscillator in cycles, `(n_samples,)`, for a constant frequency or one of `(n_samples,)`."""
    if isinstance(frequency_hz, np.ndarray):
        return start + np.cumsum(frequency_hz) / rate_hz
    return start + np.arange(n_samples) * (frequency_hz / rate_hz)


def wrap(phase: Signal) -> Signal:
    """The fraction of a cycle in [0, 1); `% 1` takes three times as long."""
    return phase - np.floor(phase)


def sine(phase: Signal) -> Signal:
    """A sine wave in [-1, 1] at `phase` cycles. Single precision after the wrap: twice as fast, 140 dB clean."""
    return np.sin((2 * np.pi * wrap(phase)).astype(np.float32)).astype(np.float64)


def saw(phase: Signal) -> Signal:
    """A rising saw in [-1, 1] at `phase` cycles, its step rounded by PolyBLEP (Välimäki & Huovilainen 2007)."""
    step = np.diff(phase, prepend=2 * phase[0] - phase[1])
    turn = wrap(phase)
    after: Signal = np.maximum(1 - turn / step, 0)
    before: Signal = np.maximum(1 - (1 - turn) / step, 0)
    return 2 * turn - 1 + after**2 - before**2


def decay(n_samples: int, rate_hz: int, t60_s: float) -> Signal:
    """An exponential fall from 1 that loses 60 dB in `t60_s`."""
    fall: Signal = np.exp(np.arange(n_samples) * (np.log(1e-3) / (t60_s * rate_hz)))
    return fall


def swell(n_samples: int, rate_hz: int, attack_s: float, release_s: float) -> Signal:
    """A raised-cosine rise to 1, a plateau and a raised-cosine fall to 0; both ends shrink to fit `n_samples`."""
    length_s = n_samples / rate_hz
    shrink = min(1.0, length_s / (attack_s + release_s))
    knots_s = [0.0, attack_s * shrink, length_s - release_s * shrink, length_s]
    ramp = np.interp(np.arange(n_samples) / rate_hz, knots_s, [0.0, 1.0, 1.0, 0.0])
    return 0.5 - 0.5 * np.cos(np.pi * ramp)


def drift(rng: np.random.Generator, n_samples: int, rate_hz: int, period_s: float) -> Signal:
    """A smooth random curve in [-1, 1] that picks a new direction every `period_s`, `(n_samples,)`."""
    n_knots = int(n_samples / rate_hz / period_s) + 2
    position = np.arange(n_samples) / (rate_hz * period_s)
    knot = position.astype(np.int64)
    values = rng.uniform(-1, 1, n_knots)
    blend = 0.5 - 0.5 * np.cos(np.pi * (position - knot))
    return values[knot] * (1 - blend) + values[knot + 1] * blend


def shape(sound: Signal, rate_hz: int, gain: Gain) -> Signal:
    """Filter without phase shift: multiply the spectrum by `gain(frequency_hz)`. Any leading axes."""
    n_samples = sound.shape[-1]
    n_fft = fast_length(n_samples + rate_hz // 20)
    spectrum = np.fft.rfft(sound, n_fft) * gain(np.fft.rfftfreq(n_fft, 1 / rate_hz))
    return np.fft.irfft(spectrum, n_fft)[..., :n_samples]


def shape_over_time(sound: Signal, rate_hz: int, gain: MovingGain, window_samples: int = STFT_SAMPLES) -> Signal:
    """Filter by a gain that moves: `gain(time_s (F, 1), frequency_hz (K,)) -> (F, K)`, by windowed overlap-add.

    Square-root Hann windows before and after at half overlap add up to one (Griffin & Lim 1984).
    """
    n_samples, hop = len(sound), window_samples // 2
    n_frames = 2 * (n_samples // window_samples + 2)
    padded = np.zeros((n_frames + 1) * hop)
    padded[hop : hop + n_samples] = sound
    window = np.sin(np.pi * (np.arange(window_samples) + 0.5) / window_samples)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window_samples)[::hop] * window
    time_s = (np.arange(len(frames))[:, np.newaxis] * hop) / rate_hz
    spectra = np.fft.rfft(frames) * gain(time_s, np.fft.rfftfreq(window_samples, 1 / rate_hz))
    frames = np.fft.irfft(spectra, window_samples) * window
    # Frames of one parity do not overlap: each half is a plain reshape, the second one hop later.
    padded[:-hop] = frames[0::2].reshape(-1)
    padded[hop:] += frames[1::2].reshape(-1)
    return padded[hop : hop + n_samples]


def low_pass(frequency_hz: Signal | float, cutoff_hz: Signal | float, order: int = 2) -> Signal:
    """The gain of a Butterworth low-pass filter (Butterworth 1930)."""
    return 1 / np.sqrt(1 + (frequency_hz / cutoff_hz) ** (2 * order))


def high_pass(frequency_hz: Signal, cutoff_hz: float, order: int = 2) -> Signal:
    """The gain of a Butterworth high-pass filter."""
    return low_pass(cutoff_hz, np.maximum(frequency_hz, 1e-3), order)


def resonance(frequency_hz: Signal, centre_hz: Signal | float, q: float) -> Signal:
    """The gain of a two-pole resonance: 1 at `centre_hz`, 0.71 at the edges of a band `centre_hz / q` wide."""
    ratio: Signal = np.maximum(frequency_hz, 1e-3) / centre_hz
    return 1 / np.sqrt(1 + (q * (ratio - 1 / ratio)) ** 2)


def pluck(
    frequency_hz: float, n_samples: int, rate_hz: int, rng: np.random.Generator, *, average_hz: float, t60_s: float
) -> Signal:
    """A plucked string (Karplus & Strong 1983): a period of noise that goes round a loop through a two-point average.

    The loop is solved in the frequency domain. There a delay may be a fraction of a sample, so the note is in tune
    (Jaffe & Smith 1983 spend an all-pass filter on that), and the average, of samples `1 / average_hz` apart, damps
    alike at every rate: 20 kHz is gut, 50 kHz is wire. The fundamental loses 60 dB in at most `t60_s`.
    """
    n_fft = fast_length(n_samples + rate_hz // 20)
    n_burst = min(int(rate_hz / frequency_hz) + 1, n_samples)
    burst = np.zeros(n_fft)
    burst[:n_burst] = rng.uniform(-1, 1, n_burst)
    # The result is periodic: under this envelope, undone below, what wraps around to the start is 20 dB lower.
    envelope = decay(n_fft, n_fft, 3.0)
    hz = np.fft.rfftfreq(n_fft, 1 / rate_hz)
    loss = 10 ** (-3 / (frequency_hz * t60_s)) * envelope[1] ** (rate_hz / frequency_hz)
    average = np.cos(np.pi * np.minimum(hz / average_hz, 0.5))
    loop = loss * average * np.exp(-2j * np.pi * hz / frequency_hz)
    pick = low_pass(hz, average_hz / 10, 1)
    note = np.fft.irfft(np.fft.rfft(burst * envelope) * pick / (1 - loop), n_fft) / envelope
    return note[:n_samples] * swell(n_samples, rate_hz, 1e-3, 0.02)


def fade(sound: Signal, rate_hz: int, out_s: float = 0.06) -> Signal:
    """`sound` without clicks at its ends: 1 ms in, `out_s` out. Any leading axes."""
    return sound * swell(sound.shape[-1], rate_hz, 1e-3, out_s)


def room(sound: Signal, rate_hz: int, rng: np.random.Generator, *, t60_s: float, wet: float) -> Signal:
    """`(n_channels, n_samples)` in a room: each channel convolved with its own decaying noise (Moorer 1979)."""
    n_channels, n_samples = sound.shape
    n_tail = int(t60_s * rate_hz)
    tail = rng.standard_normal((n_channels, n_tail)) * decay(n_tail, rate_hz, t60_s)
    tail[:, : rate_hz // 100] = 0  # the first echo comes 10 ms after the sound
    tail /= np.sqrt(np.sum(tail**2, axis=1, keepdims=True))
    n_fft = fast_length(n_samples + n_tail)
    darken = low_pass(np.fft.rfftfreq(n_fft, 1 / rate_hz), 4500, 1)
    echoes = np.fft.irfft(np.fft.rfft(sound, n_fft) * np.fft.rfft(tail, n_fft) * darken, n_fft)
    return sound + wet * echoes[:, :n_samples]


class Track:
    """A stereo recording in the making: `samples` is `(2, n_samples)`."""

    def __init__(self, n_samples: int, rate_hz: int) -> None:
        self.samples: Signal = np.zeros((2, n_samples))
        self.rate_hz = rate_hz

    def add(self, sound: Signal, at_s: float = 0.0, gain: float = 1.0, pan: float = 0.0) -> None:
        """Add a mono `sound` from `at_s` on, what overhangs cut off; `pan` from -1 (left) to 1 (right), equal power."""
        start = max(round(at_s * self.rate_hz), 0)
        room_samples = self.samples.shape[1] - start
        if room_samples <= 0:
            return
        sound = sound[:room_samples]
        angle = (pan + 1) * np.pi / 4
        self.samples[0, start : start + len(sound)] += gain * np.cos(angle) * sound
        self.samples[1, start : start + len(sound)] += gain * np.sin(angle) * sound
