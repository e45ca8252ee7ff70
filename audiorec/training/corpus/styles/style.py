"""What a style of music is.

A pattern is a bar in equal steps. Drums: `X` loud, `x` normal, `-` soft. Bass: a degree of the scale above the root of
the chord, 8 the octave. Chords: `X`, `x` or `-` all notes, `1` to `4` one of them. `.` is silence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Scale = tuple[int, ...]

MAJOR: Scale = (0, 2, 4, 5, 7, 9, 11)
MINOR: Scale = (0, 2, 3, 5, 7, 8, 10)
DORIAN: Scale = (0, 2, 3, 5, 7, 9, 10)
MIXOLYDIAN: Scale = (0, 2, 4, 5, 7, 9, 10)
PHRYGIAN: Scale = (0, 1, 3, 5, 7, 8, 10)
HARMONIC: Scale = (0, 2, 3, 5, 7, 8, 11)

FOUR = "X...X...X...X..."
BACK = "....X.......X..."
EIGHTHS = "x.x.x.x.x.x.x.x."
SIXTEENTHS = "x-x-x-x-x-x-x-x-"
OFF = "..x...x...x...x."


@dataclass(frozen=True)
class Style:
    """tempo_bpm: range. drums, bass, chords: alternatives of a bar. progressions: the roots of the chords, as degrees.

    kits, basses, comps, leads, pads: General MIDI programs to choose from; none for a part that is silent.
    lead: notes of melody a beat. beats: to a bar. swing: how late every second step is, in steps. gate: how much of
    its time a note sounds. sevenths: whether chords have four notes.
    """

    tempo_bpm: tuple[int, int]
    drums: Sequence[Mapping[str, str]] = ({},)
    bass: Sequence[str] = ()
    chords: Sequence[str] = ()
    progressions: Sequence[tuple[int, ...]] = ((0,),)
    scales: Sequence[Scale] = (MAJOR,)
    kits: Sequence[int] = (0,)
    basses: Sequence[int] = ()
    comps: Sequence[int] = ()
    leads: Sequence[int] = ()
    pads: Sequence[int] = ()
    lead: float = 0.7
    swing: float = 0.0
    beats: int = 4
    sevenths: bool = False
    gate: float = 0.8
    bars_a_chord: int = 1

    @property
    def programs(self) -> Mapping[str, Sequence[int]]:
        """The programs of each part."""
        return {"bass": self.basses, "comp": self.comps, "lead": self.leads, "pad": self.pads}
