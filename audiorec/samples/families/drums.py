"""Drum loops."""

from functools import partial

import numpy as np

from audiorec.samples.music import hits
from audiorec.samples.synth import Signal, cycles, decay, high_pass, resonance, shape, sine, swell
from audiorec.samples.take import Take


def kick(take: Take, pitch: float) -> Signal:
    """A bass drum: a sine that falls from four times its pitch, with a click in front."""
    n_samples = take.samples(0.35)
    frequency_hz = 48 * pitch * (1 + 3.5 * decay(n_samples, take.rate_hz, 0.12))
    tone = sine(cycles(frequency_hz, n_samples, take.rate_hz)) * decay(n_samples, take.rate_hz, 0.4)
    click = take.noise(0.35) * decay(n_samples, take.rate_hz, 0.012)
    return np.tanh(1.6 * tone + 0.15 * click)


def snare(take: Take, pitch: float) -> Signal:
    """A snare drum: the two lowest modes of its skin and the rattle of its wires."""
    n_samples = take.samples(0.3)
    skin = sum(sine(cycles(hz * pitch, n_samples, take.rate_hz)) for hz in (185.0, 330.0))
    wires = shape(take.noise(0.3), take.rate_hz, lambda hz: high_pass(hz, 1500))
    return 0.35 * skin * decay(n_samples, take.rate_hz, 0.15) + 0.5 * wires * decay(n_samples, take.rate_hz, 0.25)


def clap(take: Take, pitch: float) -> Signal:
    """Hands: a band of noise that starts four times within 35 ms."""
    n_samples = take.samples(0.3)
    time_s = np.arange(n_samples) / take.rate_hz
    bursts = np.where(time_s < 0.033, np.exp(-(time_s % 0.011) / 0.004), np.exp(-(time_s - 0.033) / 0.045))
    return shape(take.noise(0.3) * bursts, take.rate_hz, lambda hz: resonance(hz, 1250 * pitch, 1.8))


def hat(take: Take, pitch: float, t60_s: float = 0.09) -> Signal:
    """A cymbal: six square waves that share no harmonic, and noise, above 6 kHz."""
    n_samples = take.samples(1.2 * t60_s)
    frequencies_hz = pitch * np.array([[205.3, 304.4, 369.6, 522.7, 540.0, 800.0]]).T
    squares: Signal = np.sign(sine(frequencies_hz * 4.1 * np.arange(n_samples) / take.rate_hz)).sum(axis=0)
    metal = shape(squares + 2 * take.noise(1.2 * t60_s), take.rate_hz, lambda hz: high_pass(hz, 6000, 3))
    return 0.3 * metal * decay(n_samples, take.rate_hz, t60_s) * swell(n_samples, take.rate_hz, 5e-4, 0.01)


def tom(take: Take, pitch: float) -> Signal:
    """A tom: a sine that sags, and a breath of skin noise."""
    n_samples = take.samples(0.45)
    frequency_hz = 105 * pitch * (1 + 0.5 * decay(n_samples, take.rate_hz, 0.2))
    tone = sine(cycles(frequency_hz, n_samples, take.rate_hz)) * decay(n_samples, take.rate_hz, 0.5)
    return 0.8 * tone + 0.06 * take.noise(0.45) * decay(n_samples, take.rate_hz, 0.05)


VOICES = {"kick": (kick, 1.0, 0.0), "snare": (snare, 0.8, 0.1), "clap": (clap, 0.9, -0.2), "hat": (hat, 0.35, 0.35)}
VOICES |= {"open": (partial(hat, t60_s=0.5), 0.3, 0.35), "tom": (tom, 0.8, -0.4)}


def drums(take: Take, *, swing: float = 0.0, **bars: str) -> Signal:
    """A loop of one bar a voice, with ghost hats of the drummer's own, `(2, n_samples)`."""
    track = take.track()
    pitch = float(take.riff.uniform(0.85, 1.2))
    for name, bar in bars.items():
        voice, gain, pan = VOICES[name]
        sound = voice(take, pitch)
        if name == "hat":
            bar = "".join("-" if mark == "." and take.riff.random() < 0.25 else mark for mark in bar)
        for at_s, loudness in hits(bar, take.duration_s, take.tempo_bpm, swing):
            loudness *= float(take.touch.uniform(0.85, 1))
            track.add(sound, at_s + take.jitter_s(0.004), gain * loudness, pan)
    loop: Signal = np.tanh(1.2 * track.samples)
    return loop


KINDS = {
    "Four on the floor": partial(
        drums, kick="X...X...X...X...", clap="....X.......X...", hat="..x...x...x...x.", open="..............x."
    ),
    "Boom bap": partial(drums, kick="X......xx.x.....", snare="....X.......X..-", hat="x.x.x.x.x.x.x.x.", swing=0.3),
    "Breakbeat": partial(drums, kick="X.x.......x.....", snare="....X..-.-..X..-", hat="x.x.x.x.x.x.x.x."),
    "Samba batucada": partial(drums, kick="x...X...x...X..x", tom="..x..x.x..x.x...", hat="X-xxX-xxX-xxX-xx"),
    "Half-time beat": partial(
        drums, kick="X.....x...x.....", snare="........X.......", hat="x-x-x-x-x-x-xxxx", tom="..............x."
    ),
}
