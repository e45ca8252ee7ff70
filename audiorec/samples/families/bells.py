"""Bells by frequency modulation."""

from functools import partial

from audiorec.samples.music import melody
from audiorec.samples.synth import Signal, cycles, decay, high_pass, shape, sine, swell
from audiorec.samples.take import Take

CLAPPER_S = 0.06


def bell(n_samples: int, rate_hz: int, frequency_hz: float, *, ratio: float, index: float, t60_s: float) -> Signal:
    """One stroke (Chowning 1973): an inharmonic `ratio`, its `index` dying with the tone.

    The carrier falls in `t60_s`; the index falls faster, so that the clang gives way to a hum.
    """
    fall = decay(n_samples, rate_hz, t60_s)
    modulator = sine(cycles(frequency_hz * ratio, n_samples, rate_hz))
    depth = index / 6.283 * decay(n_samples, rate_hz, 0.6 * t60_s)
    tone = sine(cycles(frequency_hz, n_samples, rate_hz) + depth * modulator)
    return tone * fall * swell(n_samples, rate_hz, 0.002, 0.05)


def bells(take: Take, *, ratio: float, index: float, t60_s: float, octave: int, beats: float) -> Signal:
    """A slow tune on bells, a stroke every `beats` beats with a few left out, `(2, n_samples)`."""
    track = take.track()
    clapper = shape(take.noise(CLAPPER_S), take.rate_hz, lambda hz: high_pass(hz, 1500))
    clapper *= decay(len(clapper), take.rate_hz, CLAPPER_S)
    for step, degree in enumerate(melody(take.riff, 64)):
        at_s = step * beats * take.beat_s
        strike, pause = float(take.touch.uniform(0.6, 1)), step and take.riff.random() < 0.2
        n_note = min(take.samples(min(t60_s, 4.0)), take.n_samples - int(at_s * take.rate_hz))
        if n_note < take.rate_hz // 20:
            break
        if pause:
            continue
        hz = take.key.hz(degree, octave)
        # Two rims a fraction of a hertz apart give the slow beating of a cast bell.
        for side, detune_hz in ((-0.5, -0.4), (0.5, 0.4)):
            note = bell(n_note, take.rate_hz, hz + detune_hz, ratio=ratio, index=index * strike, t60_s=t60_s)
            track.add(note, at_s, gain=strike, pan=side)
        track.add(clapper * strike, at_s, gain=0.3)
    return track.samples


KINDS = {
    "Glass bell": partial(bells, ratio=2.42, index=2.4, t60_s=3.0, octave=5, beats=1),
    "Temple bell": partial(bells, ratio=1.4, index=6.0, t60_s=7.0, octave=4, beats=4),
    "Tubular bell": partial(bells, ratio=1.73, index=3.5, t60_s=5.0, octave=4, beats=2),
    "Hand bell": partial(bells, ratio=2.76, index=1.8, t60_s=2.4, octave=5, beats=1),
    "Ship's bell": partial(bells, ratio=1.41, index=4.5, t60_s=3.5, octave=4, beats=2),
}
