"""libfluidsynth through ctypes: timed events on General MIDI channels to sound."""

import ctypes
import ctypes.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audiorec.errors import BadSetting
from audiorec.samples.synth import Signal

RATE_HZ = 32_000  # twice the corpus's rate: notes that are pitched up leave no aliases below 8 kHz
BLOCK_SAMPLES = 64  # the synthesiser's own step; a rendering of whole blocks leaves nothing behind for the next
DRUM_CHANNEL = 9
DRUM_BANK = 128
LICENCE = "MIT"  # of both soundfonts; parts of the second are CC0 and public domain


class Soundfont(NamedTuple):
    """Where Debian's package puts the file."""

    path: Path
    package: str


SOUNDFONTS = {
    "fluid": Soundfont(Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"), "fluid-soundfont-gm"),
    "musescore": Soundfont(Path("/usr/share/sounds/sf3/MuseScore_General_Full.sf3"), "musescore-general-soundfont"),
}


@dataclass(frozen=True, slots=True)
class Note:
    """A key (0-127) on a channel from `start_s` for `length_s`."""

    start_s: float
    length_s: float
    channel: int
    key: int
    velocity: int


@dataclass(frozen=True, slots=True)
class Program:
    """What a channel plays: General MIDI program 0-127 of a bank."""

    channel: int
    number: int
    bank: int = 0


class Synthesiser:
    """A soundfont ready to play.

    What it plays depends a little (-50 dB) on what it played before: new ones that play the same in the same order
    agree exactly. `synthesisers` makes them, in 0.2 s; the first of a process reads the samples, in up to 7 s.
    """

    def __init__(self, soundfont: str) -> None:
        path, package = SOUNDFONTS[soundfont]
        if not path.is_file():
            raise BadSetting(f"got no soundfont {path.name}, expected Debian's: apt-get install {package}")
        library = self._library = _library()
        settings = self._settings = library.new_fluid_settings()
        library.fluid_settings_setnum(settings, b"synth.sample-rate", ctypes.c_double(RATE_HZ))
        library.fluid_settings_setnum(settings, b"synth.gain", ctypes.c_double(0.4))
        library.fluid_settings_setint(settings, b"synth.chorus.active", 0)
        library.fluid_settings_setint(settings, b"synth.reverb.active", 0)
        library.fluid_settings_setint(settings, b"synth.polyphony", 96)
        self._synth = library.new_fluid_synth(settings)
        self._font = library.fluid_synth_sfload(self._synth, str(path).encode(), 1)
        if self._font < 0:
            raise BadSetting(f"got a broken soundfont {path.name}, expected Debian's: install {package} again")

    def play(self, programs: Sequence[Program], notes: Sequence[Note], length_s: float) -> Signal:
        """The mix, `(n_samples,)` float32 at RATE_HZ. Programs that the soundfont lacks are BadSetting."""
        library, synth = self._library, self._synth
        library.fluid_synth_system_reset(synth)
        for program in programs:
            status = library.fluid_synth_program_select(
                synth, program.channel, self._font, program.bank, program.number
            )
            if status != 0:
                raise BadSetting(f"got program {program.number} of bank {program.bank}, expected one of the soundfont")
        events: list[tuple[int, int, Note]] = []
        for note in notes:
            start = _blocks(note.start_s)
            events += [(start, 1, note), (max(_blocks(note.start_s + note.length_s), start + BLOCK_SAMPLES), 0, note)]
        events.sort(key=lambda event: event[:2])
        n_samples = _blocks(length_s)
        sound = np.zeros((2, n_samples), np.float32)
        now = 0
        for at, starts, note in events:
            if at >= n_samples:
                break
            self._write(sound, now, at)
            now = at
            if starts:
                library.fluid_synth_noteon(synth, note.channel, note.key, note.velocity)
            else:
                library.fluid_synth_noteoff(synth, note.channel, note.key)
        self._write(sound, now, n_samples)
        return np.asarray(sound.mean(axis=0))

    def _write(self, sound: Any, start: int, stop: int) -> None:
        if stop > start:
            left, right = (channel.ctypes.data_as(ctypes.c_void_p) for channel in sound)
            self._library.fluid_synth_write_float(self._synth, stop - start, left, start, 1, right, start, 1)

    def close(self) -> None:
        self._library.delete_fluid_synth(self._synth)
        self._library.delete_fluid_settings(self._settings)

    def has(self, bank: int, number: int) -> bool:
        """Whether the soundfont has a program."""
        return bool(self._library.fluid_synth_program_select(self._synth, 0, self._font, bank, number) == 0)


@contextmanager
def synthesisers() -> Iterator[dict[str, Synthesiser]]:
    """A new one of each soundfont, by name. Raises BadSetting, naming the package, where something is missing."""
    for soundfont in SOUNDFONTS:
        _kept(soundfont)
    made = {soundfont: Synthesiser(soundfont) for soundfont in SOUNDFONTS}
    try:
        yield made
    finally:
        for one in made.values():
            one.close()


@cache
def _kept(soundfont: str) -> Synthesiser:
    """One that is never closed: the library keeps samples in memory as long as somebody holds them."""
    return Synthesiser(soundfont)


def _blocks(seconds: float) -> int:
    return round(seconds * RATE_HZ / BLOCK_SAMPLES) * BLOCK_SAMPLES


@cache
def _library() -> ctypes.CDLL:
    name = ctypes.util.find_library("fluidsynth")
    if name is None:
        raise BadSetting("got no libfluidsynth, expected it to be installed: apt-get install fluidsynth")
    library = ctypes.CDLL(name)
    for function in ("new_fluid_settings", "new_fluid_synth"):
        getattr(library, function).restype = ctypes.c_void_p
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.new_fluid_synth.argtypes = [pointer]
    library.delete_fluid_synth.argtypes = library.delete_fluid_settings.argtypes = [pointer]
    library.fluid_settings_setnum.argtypes = [pointer, ctypes.c_char_p, ctypes.c_double]
    library.fluid_settings_setint.argtypes = [pointer, ctypes.c_char_p, number]
    library.fluid_synth_sfload.argtypes = [pointer, ctypes.c_char_p, number]
    library.fluid_synth_system_reset.argtypes = [pointer]
    library.fluid_synth_program_select.argtypes = [pointer, number, number, number, number]
    library.fluid_synth_noteon.argtypes = [pointer, number, number, number]
    library.fluid_synth_noteoff.argtypes = [pointer, number, number]
    library.fluid_synth_write_float.argtypes = [pointer, number, pointer, number, number, pointer, number, number]
    # what it says about percussion presets it lacks and voices it steals is of no use here
    for level in range(5):
        library.fluid_set_log_function(level, None, None)
    return library
