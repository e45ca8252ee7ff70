"""Organs: sums of pipes and wheels."""

from functools import partial

import numpy as np

from audiorec.samples.music import melody, progression
from audiorec.samples.synth import Signal, resonance, shape, sine, swell
from audiorec.samples.take import Take

# The nine drawbars of a tonewheel organ as multiples of the note's frequency, 16' to 1'.
DRAWBARS = (0.5, 1.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)


def organ(
    take: Take, *, stops: str, octave: int, beats: int, speaker_hz: float, depth: float, attack_s: float
) -> Signal:
    """A chord every `beats` beats and a tune above it, `(2, n_samples)`.

    `stops` are the drawbar positions, 0-8 each, 3 dB a step; `speaker_hz` and `depth` are the turning speaker's.
    """
    track = take.track()
    levels = [
        (ratio, 10 ** (0.15 * (int(stop) - 8))) for ratio, stop in zip(DRAWBARS, stops, strict=True) if stop > "0"
    ]
    time_s = take.time_s()
    # The turning horn comes nearer and goes away: pitch and loudness move together, left and right in turn.
    turn = 2 * np.pi * (speaker_hz * time_s + take.touch.random())
    sway = depth * np.sin(turn) / (2 * np.pi * speaker_hz) * 0.01

    def play(degree: int, at_s: float, length_s: float, gain: float) -> None:
        start = int(at_s * take.rate_hz)
        n_samples = min(take.samples(length_s), take.n_samples - start)
        if n_samples < take.rate_hz // 50:
            return
        hz = take.key.hz(degree, octave)
        moved_s = time_s[start : start + n_samples] + sway[start : start + n_samples]
        partials = (level * sine(hz * ratio * moved_s) for ratio, level in levels if hz * ratio < 0.45 * take.rate_hz)
        track.add(sum(partials, np.zeros(n_samples)) * swell(n_samples, take.rate_hz, attack_s, 0.04), at_s, gain)

    roots, tune = progression(take.riff), melody(take.riff, 64, low=4, high=11)
    chord_s = beats * take.beat_s
    for bar in range(int(take.duration_s / chord_s) + 1):
        root = roots[bar % 4]
        for degree in (root - 7, root, root + 2, root + 4):
            play(degree, bar * chord_s, chord_s, 0.5)
    for step in range(int(take.duration_s / take.beat_s) + 1):
        play(tune[step % len(tune)], step * take.beat_s, 0.95 * take.beat_s, 0.6)
    # The blower of a pipe organ, the leaking wheels of an electric one.
    track.add(shape(take.noise(), take.rate_hz, lambda hz: resonance(hz, 1500, 0.5)), gain=0.02)
    swing = 0.25 * depth * np.sin(turn)
    track.samples *= np.stack([1 + swing, 1 - swing])
    return track.samples


KINDS = {
    "Drawbar organ": partial(organ, stops="888654434", octave=4, beats=4, speaker_hz=6.6, depth=0.9, attack_s=0.006),
    "Gospel organ": partial(organ, stops="888876678", octave=4, beats=2, speaker_hz=6.2, depth=1.0, attack_s=0.005),
    "Church organ": partial(organ, stops="868858656", octave=4, beats=4, speaker_hz=0.2, depth=0.1, attack_s=0.06),
    "Chapel organ": partial(organ, stops="768746544", octave=4, beats=4, speaker_hz=5.0, depth=0.25, attack_s=0.05),
}
