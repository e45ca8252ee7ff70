"""Wood blocks, claves and other small hard things."""

from functools import partial

import numpy as np

from audiorec.samples.music import hits
from audiorec.samples.synth import Signal, cycles, decay, resonance, shape, sine
from audiorec.samples.take import Take


def block(take: Take, frequency_hz: float, modes: tuple[float, ...], t60_s: float) -> Signal:
    """One stroke: a few modes of vibration, the higher the shorter (modal synthesis, Adrien 1991), and the stick."""
    n_samples = take.samples(1.2 * t60_s)
    stick = shape(take.noise(1.2 * t60_s), take.rate_hz, lambda hz: resonance(hz, 2 * frequency_hz, 0.7))
    sound = 0.5 * stick * decay(n_samples, take.rate_hz, 0.012)
    for rank, mode in enumerate(modes, start=1):
        if frequency_hz * mode < 0.45 * take.rate_hz:
            ring = sine(cycles(frequency_hz * mode, n_samples, take.rate_hz))
            sound += ring * decay(n_samples, take.rate_hz, t60_s / rank) / rank
    return sound


def woodblocks(
    take: Take, *, bars: tuple[str, ...], frequency_hz: float, step: float, modes: tuple[float, ...], t60_s: float
) -> Signal:
    """A pattern of one bar a block, each block `step` times as high as the one before, `(2, n_samples)`."""
    track = take.track()
    frequency_hz *= float(take.riff.uniform(0.85, 1.18))
    for rank, bar in enumerate(bars):
        own_hz, shift = frequency_hz * step**rank, 4 * int(take.riff.integers(4)) * (rank > 0)
        for at_s, loudness in hits(bar[shift:] + bar[:shift], take.duration_s, take.tempo_bpm):
            stroke = block(take, own_hz * float(take.touch.normal(1, 0.004)), modes, t60_s)
            loudness *= float(take.touch.uniform(0.8, 1))
            track.add(stroke, at_s + take.jitter_s(0.006), loudness, pan=0.5 * rank - 0.3)
    return np.tanh(track.samples)


KINDS = {
    "Wood blocks": partial(
        woodblocks,
        bars=("x..x..x...x.x...", "..x...x...x..xx."),
        frequency_hz=850,
        step=1.34,
        modes=(1, 2.57, 4.6),
        t60_s=0.12,
    ),
    "Claves": partial(woodblocks, bars=("X..X..X...X.X...",), frequency_hz=2450, step=1, modes=(1, 2.76), t60_s=0.09),
    "Temple blocks": partial(
        woodblocks,
        bars=("x.......x.......", "..x...x...x...x.", "....x.....x.x..x"),
        frequency_hz=480,
        step=1.26,
        modes=(1, 2.2, 3.9),
        t60_s=0.2,
    ),
    "Castanets": partial(
        woodblocks,
        bars=("x...x.xxx...x.x.", "..xx....--xx.x.x"),
        frequency_hz=1750,
        step=1.15,
        modes=(1, 1.9, 3.1),
        t60_s=0.05,
    ),
    "Clock": partial(
        woodblocks,
        bars=("x.......x.......", "....x.......x..."),
        frequency_hz=1400,
        step=0.8,
        modes=(1, 3.2, 5.1),
        t60_s=0.04,
    ),
}
