"""Single instruments of General MIDI: notes, phrases and chords of all programs, and the percussion of all kits."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from audiorec.samples.synth import Signal, decay
from audiorec.training.corpus.clip import Clip, name_of, to_pcm
from audiorec.training.corpus.fluid import (
    DRUM_BANK,
    DRUM_CHANNEL,
    LICENCE,
    RATE_HZ,
    SOUNDFONTS,
    Note,
    Program,
    synthesisers,
)
from audiorec.training.corpus.instruments import PERCUSSION, PROGRAMS
from audiorec.training.corpus.recording import in_hall
from audiorec.training.corpus.sounds import crushed, driven

TAKES = 3
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10))
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 7, 10), (0, 7), (0, 5, 7), (0, 4, 7, 11))
TAIL_S = 0.8

Phrase = list[tuple[float, float, int]]  # start and length in seconds, interval above the key


def notes(seed: Sequence[int], n_clips: int) -> Iterator[Clip]:
    """`n_clips` of phrases, each on one program in TAKES takes that differ in soundfont, key, tempo, loudness, room."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(PROGRAMS))
    with synthesisers() as fonts:
        for number in range(-(-n_clips // TAKES)):
            program = int(order[number % len(PROGRAMS)])
            low, high = PROGRAMS[program].range
            phrase, key = _phrase(rng), int(rng.integers(low, high + 1))
            for _ in range(min(TAKES, n_clips - number * TAKES)):
                font = str(rng.choice(list(fonts)))
                moved = int(np.clip(key + rng.integers(-3, 4), low, high))
                stretch, velocity = rng.uniform(0.8, 1.25), int(rng.integers(50, 127))
                played = [
                    Note(start * stretch, length * stretch, 0, int(np.clip(moved + interval, 12, 115)), velocity)
                    for start, length, interval in phrase
                ]
                end_s = max(note.start_s + note.length_s for note in played) + TAIL_S
                sound = in_hall(fonts[font].play([Program(0, program)], played, end_s), rng, RATE_HZ)
                if (pcm := to_pcm(sound, RATE_HZ)) is not None:
                    instance = name_of("phrase", seed, number)
                    yield Clip(pcm, PROGRAMS[program].name, instance, font, LICENCE, SOUNDFONTS[font].package)


def _phrase(rng: np.random.Generator) -> Phrase:
    """Mostly one note, as in sample libraries, else a scale, a riff or a chord."""
    kind = rng.choice(["note", "note", "note", "scale", "chord", "riff"])
    length = float(np.exp(rng.uniform(np.log(0.12), np.log(2.5))))
    if kind == "note":
        return [(0.0, length, 0)]
    if kind == "chord":
        chord, strum = CHORDS[rng.integers(len(CHORDS))], rng.uniform(0, 0.04)
        return [(number * strum, length, interval) for number, interval in enumerate(chord)]
    scale, step = SCALES[rng.integers(len(SCALES))], float(np.exp(rng.uniform(np.log(0.1), np.log(0.5))))
    n_notes = int(rng.integers(3, 9))
    degrees = np.cumsum(rng.choice([-2, -1, 1, 1, 2] if kind == "riff" else [1], n_notes))
    lengths = step * rng.choice([1, 1, 2] if kind == "riff" else [1], n_notes)
    starts = np.cumsum(lengths) - lengths
    legato = rng.uniform(0.4, 1.05)
    return [
        (float(start), float(held * legato), 12 * (int(degree) // len(scale)) + scale[int(degree) % len(scale)])
        for start, held, degree in zip(starts, lengths, degrees, strict=True)
    ]


def percussion(seed: Sequence[int], n_clips: int) -> Iterator[Clip]:
    """`n_clips` hits of the drum kits' keys, each in TAKES takes that differ in kit, loudness and pitch.

    Most are as a drum machine's memory would hold them: shortened, with fewer bits, driven, out of pitch.
    """
    rng = np.random.default_rng(seed)
    keys = list(PERCUSSION)
    order = rng.permutation(len(keys))
    with synthesisers() as fonts:
        kits = [(font, kit) for font, one in fonts.items() for kit in range(128) if one.has(DRUM_BANK, kit)]
        for number in range(-(-n_clips // TAKES)):
            key = keys[int(order[number % len(keys)])]
            n_hits, gap_s = int(rng.choice([1, 1, 1, 1, 2, 4])), float(rng.uniform(0.1, 0.5))
            pitch, treatment = float(rng.uniform(0.75, 1.35)), _treatment(rng)
            for _ in range(min(TAKES, n_clips - number * TAKES)):
                font, kit = kits[int(rng.integers(len(kits)))]
                velocity = int(rng.integers(40, 128))
                played = [Note(hit * gap_s, 0.4, DRUM_CHANNEL, key, velocity) for hit in range(n_hits)]
                sound = fonts[font].play([Program(DRUM_CHANNEL, kit, DRUM_BANK)], played, n_hits * gap_s + 2.0)
                # what is told to have another rate comes out at another pitch
                pcm = to_pcm(treatment(sound), round(RATE_HZ * pitch * rng.uniform(0.94, 1.06)))
                if pcm is not None:  # not every kit has every key
                    instance = name_of("hit", seed, number)
                    yield Clip(pcm, PERCUSSION[key], instance, f"{font} {kit}", LICENCE, SOUNDFONTS[font].package)


def _treatment(rng: np.random.Generator) -> Callable[[Signal], Signal]:
    """What is done to a hit before it is stored."""
    kind = rng.choice(["none", "none", "short", "driven", "crushed"])
    if kind == "short":
        t60_s = float(np.exp(rng.uniform(np.log(0.06), np.log(0.6))))
        return lambda sound: sound * decay(len(sound), RATE_HZ, t60_s)
    if kind == "driven":
        drive = float(np.exp(rng.uniform(0, 2.5)))
        return lambda sound: driven(sound, drive)
    if kind == "crushed":
        n_bits, hold_samples = float(rng.uniform(5, 10)), int(rng.integers(2, 7))
        return lambda sound: crushed(sound, n_bits, hold_samples)
    return lambda sound: sound
