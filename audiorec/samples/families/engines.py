"""Engines: a train of explosions through an exhaust."""

from functools import partial

import numpy as np

from audiorec.samples.synth import Signal, cycles, drift, low_pass, resonance, shape, wrap
from audiorec.samples.take import Take


def engines(
    take: Take, *, rpm: tuple[float, float], cylinders: int, uneven: float, pipe_hz: float, hiss: float, change_s: float
) -> Signal:
    """A four-stroke engine whose speed drifts within `rpm`, `(2, n_samples)`.

    Each cylinder fires once in two turns; unequal cylinders give the growl below the firing rate, and the exhaust
    pipe rings at odd multiples of `pipe_hz` (Baldan et al. 2015, Physically informed car engine sound synthesis).
    """
    slow, fast = rpm
    throttle = 0.5 + 0.5 * drift(take.riff, take.n_samples, take.rate_hz, change_s)
    flutter = 1 + 0.015 * drift(take.touch, take.n_samples, take.rate_hz, 0.08)
    turns_hz = slow * (fast / slow) ** throttle * flutter / 60
    fired = cycles(turns_hz * cylinders / 2, take.n_samples, take.rate_hz)
    stroke = wrap(fired)
    strength = 1 + uneven * take.riff.uniform(-1, 1, cylinders)
    pulse = strength[fired.astype(np.int64) % cylinders] * np.exp(-9 * stroke) * np.minimum(stroke * 25, 1)
    blast = pulse * (1 + hiss * take.noise())

    def pipe(hz: Signal) -> Signal:
        ringing = [resonance(hz, pipe_hz * odd, 3.0) / odd**0.7 for odd in (1, 3, 5, 7)]
        return sum(ringing, 0.25 * low_pass(hz, 4000, 1))

    exhaust = shape(blast - blast.mean(), take.rate_hz, pipe)
    exhaust = np.tanh(4 * (0.6 + 0.4 * throttle) * exhaust)
    intake = 0.025 * hiss * shape(take.noise(), take.rate_hz, lambda hz: resonance(hz, 1800, 1.0)) * throttle
    side = 0.3 * drift(take.touch, take.n_samples, take.rate_hz, 3.0)
    return np.stack([exhaust * (1 - side) + intake, exhaust * (1 + side) + intake])


KINDS = {
    "Idling truck": partial(engines, rpm=(550, 700), cylinders=6, uneven=0.5, pipe_hz=70, hiss=0.6, change_s=2.0),
    "Diesel tractor": partial(engines, rpm=(600, 1400), cylinders=3, uneven=0.35, pipe_hz=95, hiss=0.8, change_s=2.5),
    "Motorbike": partial(engines, rpm=(1200, 6500), cylinders=2, uneven=0.3, pipe_hz=150, hiss=0.4, change_s=1.3),
    "Light aeroplane": partial(engines, rpm=(2100, 2500), cylinders=4, uneven=0.2, pipe_hz=110, hiss=0.5, change_s=3.0),
    "Outboard motor": partial(engines, rpm=(1800, 4800), cylinders=2, uneven=0.4, pipe_hz=190, hiss=0.4, change_s=1.8),
}
