"""What lies between a sound and its file: rooms, microphones and noise, or a studio's effects."""

import numpy as np

from audiorec.samples.synth import Signal, decay, fast_length, high_pass, low_pass
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import RATE_HZ, place, tilted, unit


def in_room(
    sound: Signal, rng: np.random.Generator, t60_s: float, wet: float, bright_hz: float = 4500.0, rate_hz: int = RATE_HZ
) -> Signal:
    """`sound`, `(n_samples,)`, and its echoes, decaying noise, until they are 40 dB down (Moorer 1979)."""
    n_tail = int((0.67 * t60_s + 0.025) * rate_hz)
    tail = rng.standard_normal(n_tail, dtype=np.float32) * decay(n_tail, rate_hz, t60_s)
    tail[: int(rng.uniform(0.001, 0.02) * rate_hz)] = 0
    tail *= wet / np.sqrt(np.sum(tail**2))
    n_samples = len(sound) + n_tail
    n_fft = fast_length(n_samples)
    darken = low_pass(np.fft.rfftfreq(n_fft, 1 / rate_hz), bright_hz, 1)
    spectrum = np.fft.rfft(sound, n_fft)
    return np.fft.irfft(spectrum * (1 + np.fft.rfft(tail, n_fft) * darken), n_fft)[:n_samples]


def in_hall(sound: Signal, rng: np.random.Generator, rate_hz: int) -> Signal:
    """Music as it stands, or in some room."""
    if rng.random() < 0.4:
        return sound
    t60_s = float(np.exp(rng.uniform(np.log(0.2), np.log(3))))
    return in_room(sound, rng, t60_s, float(rng.uniform(0.05, 0.6)), float(rng.uniform(2000, 8000)), rate_hz)


def outdoors(patch: Patch, sound: Signal) -> Signal:
    """A recording of something that happens: each take by another microphone, in another place."""
    rng, heard = patch.touch, unit(sound)
    if rng.random() < 0.5:
        t60_s = float(np.exp(rng.uniform(np.log(0.15), np.log(1.5))))
        heard = unit(in_room(heard, rng, t60_s, float(rng.uniform(0.1, 0.9))))
    if rng.random() < 0.5:
        heard = unit(_through_microphone(heard, rng))
    if rng.random() < 0.6:
        noise = tilted(rng.standard_normal(len(heard), dtype=np.float32), float(rng.uniform(-7, 0)))
        heard = heard + 10 ** (rng.uniform(-60, -28) / 20) * unit(noise)
    return heard


def _through_microphone(sound: Signal, rng: np.random.Generator) -> Signal:
    low_hz, high_hz = np.exp(rng.uniform(np.log((30, 2500)), np.log((300, 9000))))
    slope, tilt = int(rng.integers(1, 6)), rng.uniform(-0.4, 0.4)
    n_fft = fast_length(len(sound) + 400)
    hz = np.fft.rfftfreq(n_fft, 1 / RATE_HZ)
    gain = high_pass(hz, low_hz, 1) * low_pass(hz, high_hz, slope) * (np.maximum(hz, 50) / 1000) ** tilt
    return np.fft.irfft(np.fft.rfft(sound, n_fft) * gain, n_fft)[: len(sound)]


def produced(patch: Patch, sound: Signal) -> Signal:
    """A studio: now and then a room or an echo, part of the patch and so in each of its takes."""
    effect = patch.pick(("dry", "dry", "dry", "dry", "room", "room", "echo"))
    if effect == "room":
        return in_room(
            unit(sound), patch.touch, patch.ratio(0.15, 2.5), patch.ratio(0.05, 0.8), patch.ratio(2000, 8000)
        )
    if effect == "echo":
        gap_s, back, n_echoes = patch.ratio(0.06, 0.4), patch.knob(0.2, 0.6), 4
        track = np.concatenate([unit(sound), np.zeros(int(n_echoes * gap_s * RATE_HZ))])
        for number in range(1, n_echoes + 1):
            place(track, unit(sound), number * gap_s, back**number)
        return track
    return sound
