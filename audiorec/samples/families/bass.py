"""Bass lines."""

from functools import partial

import numpy as np

from audiorec.samples.music import STEPS_PER_BEAT, progression
from audiorec.samples.synth import Signal, cycles, low_pass, resonance, saw, shape_over_time, sine
from audiorec.samples.take import Take

FILTER_SAMPLES = 512
PATTERN_STEPS = 8 * STEPS_PER_BEAT
LOWEST_TONIC = 4  # E, as on a bass guitar


def bass(
    take: Take, *, cutoff_hz: float, sweep: float, q: float, t60_s: float, glide_s: float, busy: float, sub: float
) -> Signal:
    """A line of sixteenths: saw and `sub` sine through a filter that each note kicks open, `(2, n_samples)`."""
    step_s = take.beat_s / STEPS_PER_BEAT
    steps = np.arange(int(take.duration_s / step_s) + 1)
    on = take.riff.random(PATTERN_STEPS) < busy
    on[0] = True
    degrees = take.riff.choice([0, 0, 0, 4, 7, 6, 2], PATTERN_STEPS)
    accents = take.riff.uniform(0.5, 1, PATTERN_STEPS)
    roots = np.array(progression(take.riff)) % 7
    # A rest lets the note before ring on: every step points to the last one that was struck.
    struck = np.maximum.accumulate(np.where(on[steps % PATTERN_STEPS], steps, 0))
    played = roots[steps // (4 * STEPS_PER_BEAT) % len(roots)] + degrees[steps % PATTERN_STEPS]
    lowest = 1 if take.key.tonic >= LOWEST_TONIC else 2
    octaves = np.log2([take.key.hz(int(degree), lowest) for degree in played])[struck]
    come_from = np.concatenate([octaves[:1], octaves[:-1]])[struck] - octaves

    step = (take.time_s() / step_s).astype(np.int64)
    since_s = take.time_s() - struck[step] * step_s
    pitch_hz = 2 ** (octaves[step] + come_from[step] * np.exp(-since_s / glide_s))
    force = accents[struck % PATTERN_STEPS] * take.touch.uniform(0.75, 1, len(steps))[struck]
    loudness = force[step] * np.exp(-6.9 * since_s / t60_s) * np.minimum(since_s / 0.004, 1)
    phase = cycles(pitch_hz, take.n_samples, take.rate_hz, float(take.touch.random()))
    tone = (saw(phase) + sub * sine(phase)) * loudness

    def gain(time_s: Signal, frequency_hz: Signal) -> Signal:
        moving_hz = cutoff_hz * 2 ** (sweep * take.sampled(loudness, time_s))
        return low_pass(frequency_hz, moving_hz, 2) + 0.25 * q * resonance(frequency_hz, moving_hz, q)

    line = np.tanh(1.2 * shape_over_time(tone, take.rate_hz, gain, FILTER_SAMPLES))
    return np.stack([line, line])


KINDS = {
    "Acid bass": partial(bass, cutoff_hz=220, sweep=3.6, q=7.0, t60_s=0.9, glide_s=0.03, busy=0.75, sub=0.0),
    "Sub bass": partial(bass, cutoff_hz=90, sweep=1.0, q=0.7, t60_s=4.0, glide_s=0.05, busy=0.2, sub=1.5),
    "Rubber bass": partial(bass, cutoff_hz=120, sweep=2.4, q=2.5, t60_s=1.2, glide_s=0.015, busy=0.45, sub=0.6),
    "Plucked bass": partial(bass, cutoff_hz=160, sweep=2.8, q=1.0, t60_s=1.6, glide_s=0.004, busy=0.35, sub=0.3),
}
