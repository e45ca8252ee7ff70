"""Composes a piece of a style: its patterns, a random melody, and chords, as notes on channels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from audiorec.training.corpus.fluid import DRUM_BANK, DRUM_CHANNEL, Note, Program, Synthesiser
from audiorec.training.corpus.styles.style import Style

T = TypeVar("T")

KEYS = {  # of a drum kit, by what a pattern calls it
    "kick": (36, 35), "snare": (38, 40), "rim": (37,), "clap": (39,), "hat": (42,), "pedal": (44,), "open": (46,),
    "ride": (51, 59), "crash": (49, 57), "bell": (53,), "tom": (45, 47), "floor": (41, 43), "high tom": (48, 50),
    "conga": (63,), "slap": (62,), "tumba": (64,), "bongo": (60,), "low bongo": (61,), "timbale": (65,),
    "low timbale": (66,), "agogo": (67,), "low agogo": (68,), "cowbell": (56,), "clave": (75,), "shaker": (70,),
    "cabasa": (69,), "guiro": (74,), "short guiro": (73,), "tambourine": (54,), "triangle": (81,), "block": (76,),
}  # fmt: skip
LOUDNESS = {"X": 116, "x": 92, "-": 52}
DEGREES = {"1": 0, "2": 1, "3": 2, "4": 3, "5": 4, "6": 5, "7": 6, "8": 7}
LOWEST_KEY, HIGHEST_KEY = 28, 96
SLOTS_PER_BEAT = 4  # where a note of a melody can start
BARS_A_PHRASE = 4


@dataclass(frozen=True, slots=True)
class Part:
    """Who plays the bass, the chords ("comp"), the melody ("lead") or the long notes ("pad"): from which octave on."""

    channel: int
    octave: int
    velocity: int
    likely: float  # that a piece of a style that has this part has it


PARTS = {
    "bass": Part(0, octave=2, velocity=91, likely=1.0),
    "comp": Part(1, octave=4, velocity=58, likely=1.0),
    "lead": Part(2, octave=5, velocity=86, likely=0.75),
    "pad": Part(3, octave=4, velocity=36, likely=0.7),
}


def compose(
    style: Style, piece: np.random.Generator, take: np.random.Generator, length_s: float, font: Synthesiser
) -> tuple[list[Program], list[Note]]:
    """What is played for `length_s`. `piece` decides the composition; `take` the key, the tempo, the bar it starts at
    and the players' small errors."""
    composition = Composition(style, piece)
    bar_s = 60 / (composition.tempo_bpm * float(take.uniform(0.95, 1.05))) * style.beats
    shift, first_bar = int(take.integers(-2, 3)), int(take.integers(BARS_A_PHRASE))
    written = [
        note
        for bar in range(int(length_s / bar_s) + 1)
        for note in composition.bar(first_bar + bar, bar * bar_s, bar_s, shift)
    ]
    late_s, force = take.normal(0, 0.005, len(written)), take.uniform(0.85, 1.1, len(written))
    played = [
        Note(
            max(note.start_s + float(late), 0.0), note.length_s, note.channel, note.key,
            int(np.clip(note.velocity * by, 1, 127)),
        )
        for note, late, by in zip(written, late_s, force, strict=True)
    ]  # fmt: skip
    kit = composition.kit if font.has(DRUM_BANK, composition.kit) else 0
    programs = [Program(PARTS[name].channel, number) for name, number in composition.programs.items()]
    return [*programs, Program(DRUM_CHANNEL, kit, DRUM_BANK)], played


class Composition:
    """What was chosen among a style's alternatives: patterns, chords, instruments, a melody."""

    def __init__(self, style: Style, rng: np.random.Generator) -> None:
        def pick(options: Sequence[T]) -> T | None:
            return options[int(rng.integers(len(options)))] if options else None

        self.style = style
        self.tempo_bpm, self.tonic = float(rng.uniform(*style.tempo_bpm)), int(rng.integers(-5, 7))
        self.scale, self.progression = pick(style.scales) or (0,), pick(style.progressions) or (0,)
        self.drums, self.bass, self.chords = pick(style.drums) or {}, pick(style.bass) or "", pick(style.chords) or ""
        self.kit = pick(style.kits) or 0
        self.drum_keys = {name: pick(KEYS[name]) or 0 for name in self.drums}
        chosen = {name: pick(numbers) for name, numbers in style.programs.items()}
        self.programs = {
            name: number
            for name, number in chosen.items()
            if number is not None and rng.random() < PARTS[name].likely
        }  # fmt: skip
        self.melodies = [_melody(style, rng) for _ in range(2)]

    def bar(self, number: int, at_s: float, bar_s: float, shift: int) -> Iterator[Note]:
        """The notes of a bar that starts at `at_s`, `shift` semitones above the piece's own key."""
        style = self.style
        root = self.progression[number // style.bars_a_chord % len(self.progression)]
        for name, pattern in self.drums.items():
            for start_s, _, mark in self._steps(pattern, at_s, bar_s):
                yield Note(start_s, 0.2, DRUM_CHANNEL, self.drum_keys[name], LOUDNESS[mark])
        for start_s, length_s, mark in self._steps(self.bass, at_s, bar_s):
            yield from self._note("bass", start_s, length_s, root + DEGREES[mark], shift)
        chord = (0, 2, 4, 6) if style.sevenths else (0, 2, 4)
        for start_s, length_s, mark in self._steps(self.chords, at_s, bar_s):
            for degree in chord if mark in LOUDNESS else ((*chord, 7)[int(mark) - 1],):
                yield from self._note("comp", start_s, length_s, root + degree, shift)
        for degree in chord[:3]:
            yield from self._note("pad", at_s, bar_s / style.gate, root + degree, shift)
        for start, length, degree in self.melodies[number % BARS_A_PHRASE == BARS_A_PHRASE - 1]:
            yield from self._note("lead", at_s + start * bar_s, length * bar_s, root + degree, shift)

    def _steps(self, pattern: str, at_s: float, bar_s: float) -> Iterator[tuple[float, float, str]]:
        """(start_s, seconds until the next one, mark) of what is not silent in a pattern."""
        step_s = bar_s / max(len(pattern), 1)
        sounding = [step for step, mark in enumerate(pattern) if mark != "."]
        for step, after in zip(sounding, [*sounding[1:], len(pattern)], strict=False):
            yield at_s + (step + self.style.swing * (step % 2)) * step_s, (after - step) * step_s, pattern[step]

    def _note(self, name: str, start_s: float, length_s: float, degree: int, shift: int) -> Iterator[Note]:
        """The note of a part, if the piece has this part."""
        if name in self.programs:
            part = PARTS[name]
            octave, step = divmod(degree, len(self.scale))
            key = 12 * (part.octave + 1 + octave) + self.tonic + shift + self.scale[step]
            key += 12 * -min((key - LOWEST_KEY) // 12, 0) - 12 * max(-(-(key - HIGHEST_KEY) // 12), 0)
            yield Note(start_s, length_s * self.style.gate, part.channel, key, part.velocity)


def _melody(style: Style, rng: np.random.Generator) -> list[tuple[float, float, int]]:
    """A bar of melody: start and length as shares of the bar, and the degree above the root of the chord."""
    n_slots = style.beats * SLOTS_PER_BEAT
    n_notes = min(int(rng.poisson(style.lead * style.beats)), n_slots)
    on_beat = np.tile([4.0, 1.0, 2.5, 1.0], style.beats)
    starts = np.sort(rng.choice(n_slots, n_notes, replace=False, p=on_beat / on_beat.sum()))
    lengths = np.diff(starts, append=n_slots)
    degrees = int(rng.choice([0, 2, 4])) + np.cumsum(rng.choice([-2, -1, -1, 0, 1, 1, 2], n_notes))
    return [
        (float(start / n_slots), float(length / n_slots), int(degree))
        for start, length, degree in zip(starts, lengths, degrees, strict=True)
    ]
