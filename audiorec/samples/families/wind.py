"""Wind: noise through filters that wander."""

from functools import partial

import numpy as np

from audiorec.samples.synth import Signal, drift, high_pass, low_pass, resonance, shape_over_time
from audiorec.samples.take import Take


def wind(take: Take, *, centre_hz: float, q: float, gust_s: float, whistle: float, leaves: float = 0.0) -> Signal:
    """Air past an edge: turbulence is broad noise, `whistle` a narrow band that rises with the speed of the air.

    Speed drives both loudness and pitch (Farnell 2010, Designing Sound). `leaves` adds high rustle.
    """
    centre_hz, gust_s = take.varied(centre_hz), take.varied(gust_s)
    speed = 0.7 * drift(take.riff, take.n_samples, take.rate_hz, gust_s)
    speed += 0.3 * drift(take.riff, take.n_samples, take.rate_hz, gust_s / 5)
    channels = []
    for _ in range(2):
        own = speed + 0.2 * drift(take.touch, take.n_samples, take.rate_hz, gust_s / 3)

        def gain(time_s: Signal, frequency_hz: Signal, own: Signal = own) -> Signal:
            octaves = take.sampled(own, time_s)
            moving_hz = centre_hz * 2 ** (0.9 * octaves)
            rumble = low_pass(frequency_hz, 0.6 * moving_hz, 1) * high_pass(frequency_hz, 60, 1)
            tone = whistle * resonance(frequency_hz, moving_hz, q)
            rustle = leaves * resonance(frequency_hz, 4000.0, 0.8) * np.maximum(octaves + 0.4, 0)
            air: Signal = (rumble + tone + rustle) * 10 ** (0.45 * octaves)
            return air

        channels.append(shape_over_time(take.noise(), take.rate_hz, gain))
    return np.stack(channels)


KINDS = {
    "Wind in the pines": partial(wind, centre_hz=700, q=2.0, gust_s=2.5, whistle=1.0, leaves=0.35),
    "Gale at the window": partial(wind, centre_hz=900, q=14.0, gust_s=1.2, whistle=3.0),
    "Desert wind": partial(wind, centre_hz=350, q=4.0, gust_s=3.5, whistle=1.5),
    "Mountain gusts": partial(wind, centre_hz=500, q=7.0, gust_s=1.0, whistle=2.0),
}
