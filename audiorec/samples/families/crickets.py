"""Crickets and their kin: a file drawn over an edge."""

from functools import partial

import numpy as np

from audiorec.samples.synth import Signal, cycles, drift, resonance, shape, sine, wrap
from audiorec.samples.take import Take


def crickets(
    take: Take, *, carrier_hz: float, pulse_hz: float, pulses: int, chirps_per_s: float, buzz: float, n_insects: int
) -> Signal:
    """A meadow of `n_insects`, each sending chirps of `pulses` wing strokes, `(2, n_samples)`.

    A wing stroke is a burst of the wing's own tone; the warmer the night, the faster the chirps (Dolbear 1897).
    `buzz` in [0, 1] replaces the tone by noise around it. `pulses` of 0 never pause.
    """
    track = take.track()
    warmth = float(take.riff.uniform(0.85, 1.2))
    time_s = take.time_s()
    for rank in range(n_insects):
        own_hz = carrier_hz * float(take.riff.uniform(0.95, 1.05))
        rate = warmth * float(take.touch.uniform(0.93, 1.07))
        chirp_s = wrap(time_s * chirps_per_s * rate + take.touch.random()) / (chirps_per_s * rate)
        stroke = (chirp_s if pulses else time_s) * pulse_hz * rate
        pulse = sine(0.5 * np.minimum(wrap(stroke) / 0.7, 1)) ** 2
        if pulses:
            pulse = pulse * (stroke < pulses)
        tone = sine(cycles(own_hz, take.n_samples, take.rate_hz))
        if buzz:
            band = shape(take.noise(), take.rate_hz, partial(resonance, centre_hz=own_hz, q=6.0))
            tone = (1 - buzz) * tone + 3 * buzz * band
        swell = 1 + 0.3 * drift(take.touch, take.n_samples, take.rate_hz, 1.5)
        track.add(tone * pulse * swell, gain=0.7**rank, pan=float(take.touch.uniform(-0.9, 0.9)))
    track.add(shape(take.noise(), take.rate_hz, lambda hz: resonance(hz, 600, 0.4)), gain=0.004)
    return track.samples


KINDS = {
    "Field crickets": partial(
        crickets, carrier_hz=4700, pulse_hz=30, pulses=4, chirps_per_s=2.6, buzz=0.0, n_insects=4
    ),
    "Tree cricket": partial(crickets, carrier_hz=3100, pulse_hz=48, pulses=0, chirps_per_s=1, buzz=0.0, n_insects=2),
    "Cicadas": partial(crickets, carrier_hz=5400, pulse_hz=110, pulses=0, chirps_per_s=1, buzz=0.8, n_insects=3),
    "Bush crickets": partial(crickets, carrier_hz=6200, pulse_hz=60, pulses=6, chirps_per_s=4.0, buzz=0.6, n_insects=4),
}
