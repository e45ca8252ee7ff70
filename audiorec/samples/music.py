"""What is played: keys, melodies, chord progressions and step patterns."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

TONICS = {
    "major": ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
    "minor": ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"),
}
MODES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Roots as degrees around the tonic: -2 is the sixth below it.
PROGRESSIONS = ((0, -3, -2, 3), (0, -2, 3, -3), (-2, 3, 0, -3), (0, 3, -2, -3), (0, 2, 3, -3))
STEPS_PER_BEAT = 4


@dataclass(frozen=True, slots=True)
class Key:
    """A tonic (0 = C) and a mode, equal-tempered at A4 = 440 Hz."""

    tonic: int
    mode: str

    def __str__(self) -> str:
        return f"{TONICS[self.mode][self.tonic]} {self.mode}"

    def hz(self, degree: int, octave: int = 4) -> float:
        """The frequency of a scale degree: 0 the tonic, 7 the tonic an octave higher, -1 the note below it."""
        octaves, step = divmod(degree, 7)
        semitones_from_a4 = 12 * (octave + octaves - 4) + self.tonic + MODES[self.mode][step] - 9
        return float(440 * 2 ** (semitones_from_a4 / 12))


def melody(rng: np.random.Generator, n_notes: int, low: int = -2, high: int = 8) -> list[int]:
    """`n_notes` scale degrees that wander by small steps within `low..high` and rest on the triad on every fourth."""
    walk = np.cumsum(rng.choice([-2, -1, -1, 0, 1, 1, 2, 3], n_notes)) + rng.integers(0, 5)
    span = high - low
    degrees = low + np.abs((walk - low) % (2 * span) - span)
    triad = np.array([d for d in range(low, high + 1) if d % 7 in (0, 2, 4)])
    degrees[::4] = [triad[np.argmin(np.abs(triad - d))] for d in degrees[::4]]
    return [int(d) for d in degrees]


def progression(rng: np.random.Generator) -> tuple[int, ...]:
    """Four chords as the degrees of their roots."""
    return PROGRESSIONS[rng.integers(len(PROGRESSIONS))]


def hits(pattern: str, duration_s: float, tempo_bpm: float, swing: float = 0.0) -> Iterator[tuple[float, float]]:
    """Time and loudness of a bar's sixteenths, over and over: `X` loud, `x` normal, `-` a ghost, `.` nothing.

    `swing` in [0, 1) is how much of a sixteenth every second one comes late.
    """
    step_s = 60 / tempo_bpm / STEPS_PER_BEAT
    loudness = {"X": 1.0, "x": 0.75, "-": 0.3}
    for step in range(int(duration_s / step_s) + 1):
        mark = pattern[step % len(pattern)]
        if mark != ".":
            yield (step + swing * (step % 2)) * step_s, loudness[mark]
