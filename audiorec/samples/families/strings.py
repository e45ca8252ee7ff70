"""Plucked strings."""

from collections.abc import Iterator
from functools import partial

from audiorec.samples.music import melody, progression
from audiorec.samples.synth import Signal, pluck, resonance, shape
from audiorec.samples.take import Take

Note = tuple[float, int]
LONGEST_NOTE_S = 2.5


def tune(take: Take) -> Iterator[Note]:
    """A melody in eighths with rests, over the tonic or the fifth on every fourth beat."""
    for step, degree in enumerate(melody(take.riff, 64)):
        if step % 8 == 0:
            yield step * take.beat_s / 2, -7 if step % 16 == 0 else -3
        if take.riff.random() > 0.2:
            yield step * take.beat_s / 2, degree


def arpeggio(take: Take) -> Iterator[Note]:
    """Broken chords in eighths, a chord a bar."""
    figure = take.riff.permutation([0, 2, 4, 7, 9, 7, 4, 2])
    for bar, root in enumerate(progression(take.riff) * 4):
        for step, degree in enumerate([0, *figure[1:]]):
            yield (8 * bar + step) * take.beat_s / 2, root + int(degree)


def strum(take: Take) -> Iterator[Note]:
    """Full chords, a string every 20 ms, down on the beat and up on the off-beat."""
    for bar, root in enumerate(progression(take.riff) * 4):
        for beat, order in ((0.0, 1), (1.5, -1), (2.0, 1), (3.0, 1), (3.5, -1)):
            for string, degree in enumerate((-7, -3, 0, 2, 4)[::order]):
                yield (4 * bar + beat) * take.beat_s + 0.02 * string, root + degree


FIGURES = {"tune": tune, "arpeggio": arpeggio, "strum": strum}


def strings(take: Take, *, figure: str, wire_hz: float, t60_s: float, octave: int, body_hz: float) -> Signal:
    """A plucked instrument, brighter with `wire_hz`, whose body rings at `body_hz`, `(2, n_samples)`."""
    track = take.track()
    for at_s, degree in FIGURES[figure](take):
        n_note = min(take.samples(min(t60_s, LONGEST_NOTE_S)), take.n_samples - int(at_s * take.rate_hz))
        if n_note < take.rate_hz // 50:
            break
        force = float(take.touch.uniform(0.7, 1))
        hz = take.key.hz(degree, octave)
        note = pluck(hz, n_note, take.rate_hz, take.touch, average_hz=force * wire_hz, t60_s=t60_s)
        track.add(note, at_s + take.jitter_s(0.008), gain=force, pan=0.06 * degree - 0.1)
    return shape(
        track.samples,
        take.rate_hz,
        lambda hz: 0.6 + resonance(hz, body_hz, 3) + 0.7 * resonance(hz, 2.1 * body_hz, 4),
    )


KINDS = {
    "Nylon guitar": partial(strings, figure="arpeggio", wire_hz=24_000, t60_s=2.5, octave=3, body_hz=105),
    "Kora": partial(strings, figure="tune", wire_hz=34_000, t60_s=2.0, octave=4, body_hz=160),
    "Steel guitar": partial(strings, figure="strum", wire_hz=42_000, t60_s=3.5, octave=3, body_hz=120),
    "Harp": partial(strings, figure="arpeggio", wire_hz=30_000, t60_s=4.0, octave=4, body_hz=200),
    "Koto": partial(strings, figure="tune", wire_hz=46_000, t60_s=1.4, octave=4, body_hz=240),
}
