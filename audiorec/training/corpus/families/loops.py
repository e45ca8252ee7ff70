"""Loops and short tracks: a drum machine, a bass and chords of patches, in the patterns of dance music."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from audiorec.samples.synth import Signal
from audiorec.training.corpus.families import cymbals, drums, hand_percussion
from audiorec.training.corpus.families.instruments import (
    CHORDS,
    electric_piano,
    fm,
    organ,
    string,
    strings,
    subtractive,
)
from audiorec.training.corpus.families.notes import pitch
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import band, crushed, driven, place, unit

Patterns = tuple[Mapping[str, str], ...]

DRUMS = {**drums.FAMILIES, **cymbals.FAMILIES, **hand_percussion.FAMILIES}
LOUDNESS = {"X": 1.0, "x": 0.75, "-": 0.35}


LEVELS = {
    "kick": 1.0,
    "snare": 0.8,
    "clap": 0.7,
    "closed hat": 0.35,
    "open hat": 0.35,
    "tom": 0.7,
    "crash": 0.4,
    "ride": 0.3,
}


FLOOR = (
    {"kick": "X...X...X...X...", "closed hat": "..x...x...x...x.", "clap": "....X.......X..."},
    {"kick": "X...X...X...X...", "open hat": "..x...x...x...x.", "shaker": "x-x-x-x-x-x-x-x-"},
    {"kick": "X...X...X..xX...", "closed hat": "x-xxx-xxx-xxx-xx", "rim": "...x..x....x..x."},
    {
        "kick": "X...X...X...X...",
        "conga": "..xx..x...x..xx.",
        "closed hat": "..x...x...x...x.",
        "snare": "....X.......X...",
    },
)


BREAKS = (
    {"kick": "X.X.......XX....", "snare": "....X..-.-..X..-", "ride": "x.x.x.x.x.x.x.x."},
    {"kick": "X.........X.....", "snare": "....X.......X..-", "closed hat": "x.x.x.x.x.x.x.x."},
    {"kick": "X..X......X..X..", "snare": "....X..-.X..X...", "closed hat": "xxx.xxx.xxx.xxx."},
    {
        "kick": "X.....X...X.....",
        "snare": "....X..-.-.-X.-.",
        "closed hat": "x.xxx.x.x.xxx.x.",
        "open hat": "..............x.",
    },
)


HALF = (
    {"kick": "X.....x...x.....", "snare": "........X.......", "closed hat": "x-x-x-x-x-x-xxxx"},
    {"kick": "X..x..x.....x...", "clap": "........X.......", "closed hat": "xxxxxxx-xxxxxx-x"},
    {"kick": "X......xx.x.....", "snare": "....X.......X..-", "closed hat": "x.x.x.x.x.x.x.x."},
    {
        "kick": "X..X..X.........",
        "snare": "....X.......X...",
        "closed hat": "x.x.x.xxx.x.x.x.",
        "cowbell": "......x.......x.",
    },
)


LATIN = (
    {
        "conga": "..xx..x...xx..xx",
        "clave": "X..x..x...x.x...",
        "shaker": "x-x-x-x-x-x-x-x-",
        "cowbell": "x...x...x...x...",
    },
    {"kick": "X...X...X...X...", "guiro": "X...x...X...x...", "conga": "..x...x...x...xx"},
    {"tom": "X..x..X...x.x...", "shaker": "xxxxxxxxxxxxxxxx", "clave": "..x.x...x..x..x."},
    {"kick": "X..xX..xX..xX..x", "tambourine": "x-xxx-xxx-xxx-xx", "conga": "..x..x....x..x.."},
    {"tabla": "X..x.xx.X.x.xxxx", "triangle": "....x.......x..."},
)


ELECTRO = (
    {"electronic drum": "X..x..X..x..x...", "zap": "....x.......x...", "closed hat": "xxxxxxxxxxxxxxxx"},
    {"kick": "X..X..X...X.....", "clap": "....X.......X...", "electronic drum": "..x..x.x..x..xx."},
    {"zap": "x.x...x.x..x....", "electronic drum": "X.......X.x.....", "triangle": "....x..x....x..."},
)


def beat(patch: Patch, patterns: Patterns, step_s: float, n_beats: int) -> Signal:
    """A drum machine that plays a pattern, `n_beats` of it."""
    pattern = patch.pick(patterns)
    swing = patch.pick((0.0, 0.0, 0.0, 0.2, 0.33)) if n_beats > 1 else 0.0
    track = np.zeros(patch.samples(4 * n_beats * step_s))
    for name, marks in pattern.items():
        recipe = patch.pick(DRUMS[name])
        sound = unit(recipe(patch.part()())) * LEVELS.get(name, 0.5) * patch.ratio(0.6, 1.4)
        for step in range(4 * n_beats):
            mark = marks[step % 16]
            dropped = patch.riff.random() < 0.05
            if mark != "." and not dropped:
                late_s = swing * (step % 2) * step_s + abs(float(patch.touch.normal(0, 0.002)))
                place(track, sound, step * step_s + late_s, LOUDNESS[mark] * float(patch.touch.uniform(0.9, 1)))
    finish = patch.pick(("clean", "driven", "dull", "crushed"))
    if finish == "driven":
        return driven(track, patch.ratio(1.2, 4))
    if finish == "dull":
        return band(track, high_hz=patch.ratio(1500, 6000))
    return crushed(track, patch.knob(6, 10), patch.whole(1, 2)) if finish == "crushed" else track


def bass_line(patch: Patch, n_beats: int, step_s: float) -> Signal:
    voice, part = patch.pick((subtractive, fm, string, subtractive)), patch.part()
    hz = pitch(patch, 40, 90)
    steps = patch.steps((0, 0, 0, 3, 5, 7, 10, 12), 16)
    rests = patch.riff.random(16) < 0.45
    rests[0] = False
    track = np.zeros(patch.samples(4 * n_beats * step_s))
    for step in range(4 * n_beats):
        if not rests[step % 16]:
            place(
                track,
                voice(part(), hz * 2 ** (float(steps[step % 16]) / 12), patch.samples(1.4 * step_s)),
                step * step_s,
            )
    return track


def chords(patch: Patch, n_beats: int, step_s: float) -> Signal:
    voice, part = (
        patch.pick((subtractive, electric_piano, organ, fm, strings)),
        patch.part(),
    )
    hz, roots = pitch(patch, 110, 260), patch.steps((0, -4, 3, 5, -2, 7), 4)
    chord = patch.pick(CHORDS[:5])
    marks = patch.pick(("X.......X.......", "..x...x...x...x.", "x..x..x...x..x..", "X..............."))
    track = np.zeros(patch.samples(4 * n_beats * step_s))
    for step in range(4 * n_beats):
        if marks[step % 16] != ".":
            for interval in chord:
                note_hz = hz * 2 ** ((interval + float(roots[step // 8 % 4])) / 12)
                place(track, voice(part(), note_hz, patch.samples(3 * step_s)), step * step_s)
    return track


def music_loop(patch: Patch) -> Signal:
    """A bass line, chords or both, without drums."""
    step_s, n_beats = 60 / patch.ratio(75, 145) / 4, patch.pick((4, 8))
    makers = patch.pick(((bass_line,), (chords,), (bass_line, chords)))
    return np.asarray(sum(unit(maker(patch, n_beats, step_s)) for maker in makers))


def track(patch: Patch, patterns: Patterns, tempo_bpm: tuple[float, float]) -> Signal:
    """Drums, bass and chords together."""
    step_s, n_beats = 60 / patch.ratio(*tempo_bpm) / 4, patch.pick((8, 12))
    mix = unit(beat(patch, patterns, step_s, n_beats)) + patch.knob(0.3, 0.9) * unit(bass_line(patch, n_beats, step_s))
    if patch.chance(0.7):
        mix = mix + patch.knob(0.2, 0.6) * unit(chords(patch, n_beats, step_s))
    return driven(mix, patch.ratio(0.7, 3))


def drum_loop(patch: Patch, patterns: Patterns, tempo_bpm: tuple[float, float]) -> Signal:
    """Drums alone, half a bar to two bars."""
    return beat(patch, patterns, 60 / patch.ratio(*tempo_bpm) / 4, patch.pick((2, 4, 4, 8, 8)))


FAMILIES = {
    "four-on-the-floor loop": (partial(drum_loop, patterns=FLOOR, tempo_bpm=(115, 145)),),
    "breakbeat loop": (partial(drum_loop, patterns=BREAKS, tempo_bpm=(85, 178)),),
    "slow beat loop": (partial(drum_loop, patterns=HALF, tempo_bpm=(65, 105)),),
    "latin loop": (partial(drum_loop, patterns=LATIN, tempo_bpm=(85, 135)),),
    "electro loop": (partial(drum_loop, patterns=ELECTRO, tempo_bpm=(95, 150)),),
    "music loop": (music_loop,),
    "house track": (partial(track, patterns=FLOOR, tempo_bpm=(115, 140)),),
    "breakbeat track": (partial(track, patterns=BREAKS, tempo_bpm=(95, 175)),),
    "slow track": (partial(track, patterns=HALF, tempo_bpm=(65, 100)),),
}
