"""General MIDI by name: the 128 programs with the range they are played in, and the keys of a drum kit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instrument:
    """range: the lowest and the highest key that is played."""

    name: str
    range: tuple[int, int]


_NAMES = """
    grand piano, bright piano, electric grand, honky-tonk, electric piano, fm piano, harpsichord, clavinet,
    celesta, glockenspiel, music box, vibraphone, marimba, xylophone, tubular bells, dulcimer,
    drawbar organ, percussive organ, rock organ, church organ, reed organ, accordion, harmonica, bandoneon,
    nylon guitar, steel guitar, jazz guitar, clean guitar, muted guitar, overdriven guitar, distorted guitar,
    guitar harmonics, acoustic bass, finger bass, pick bass, fretless bass, slap bass, slap bass, synth bass,
    synth bass,
    violin, viola, cello, double bass, tremolo strings, pizzicato strings, harp, timpani,
    string ensemble, slow strings, synth strings, synth strings, choir, voice oohs, synth voice, orchestra hit,
    trumpet, trombone, tuba, muted trumpet, french horn, brass section, synth brass, synth brass,
    saxophone, saxophone, saxophone, saxophone, oboe, english horn, bassoon, clarinet,
    piccolo, flute, recorder, pan flute, blown bottle, shakuhachi, whistling, ocarina,
    square lead, saw lead, calliope lead, chiff lead, charang lead, voice lead, fifths lead, bass lead,
    new age pad, warm pad, polysynth pad, choir pad, bowed pad, metallic pad, halo pad, sweep pad,
    rain effect, soundtrack effect, crystal effect, atmosphere effect, brightness effect, goblins effect,
    echoes effect, sci-fi effect, sitar, banjo, shamisen, koto, kalimba, bagpipe, fiddle, shanai,
    tinkle bell, agogo, steel drums, woodblock, taiko drum, tom, tom, reverse cymbal,
    fret noise, breath, sea, bird song, telephone, helicopter, applause, gunshot
"""
USUAL_RANGE = (43, 81)
RANGES = {  # of programs that are played lower or higher
    8: (60, 96), 9: (72, 100), 10: (60, 96), 13: (60, 96), **dict.fromkeys(range(32, 40), (28, 55)), 40: (55, 93),
    42: (36, 72), 43: (28, 55), 47: (36, 55), 56: (55, 84), 57: (40, 70), 58: (28, 55), 60: (41, 72), 67: (36, 65),
    70: (34, 68), 72: (74, 100), 73: (60, 93),
}  # fmt: skip
PROGRAMS = tuple(
    Instrument(name.strip(), RANGES.get(number, USUAL_RANGE)) for number, name in enumerate(_NAMES.split(","))
)

PERCUSSION = {  # key of a kit -> what it is; keys that are the same thing share a name
    27: "laser", 28: "whip", 29: "scratch", 30: "scratch", 31: "drum sticks", 34: "metronome bell",
    35: "kick", 36: "kick", 37: "rim", 38: "snare", 39: "clap", 40: "snare", 41: "tom", 42: "closed hat", 43: "tom",
    44: "closed hat", 45: "tom", 46: "open hat", 47: "tom", 48: "tom", 49: "crash", 50: "tom", 51: "ride",
    52: "crash", 53: "ride bell", 54: "tambourine", 55: "crash", 56: "cowbell", 57: "crash", 58: "vibraslap",
    59: "ride", 60: "conga", 61: "conga", 62: "conga", 63: "conga", 64: "conga", 65: "timbale", 66: "timbale",
    67: "agogo", 68: "agogo", 69: "cabasa", 70: "shaker", 71: "whistle", 72: "whistle", 73: "guiro",
    74: "guiro", 75: "clave", 76: "woodblock", 77: "woodblock", 78: "cuica", 79: "cuica", 80: "triangle",
    81: "triangle",
}  # fmt: skip
