"""The catalogue: which clips there are, before a single sample of them is made."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache

import numpy as np

from audiorec.samples.families import FAMILIES
from audiorec.samples.music import MODES, Key
from audiorec.samples.synth import Signal, fade, room
from audiorec.samples.take import Take

LICENSE = "CC0-1.0"
SOURCE = "audiorec samples"
PERFORMANCES_PER_FAMILY = 10
# The length of each clip of a family; the last is a second take of its first performance. Two outlast a window.
LENGTHS_S = (4.0, 6.5, 2.5, 1.0, 9.6, 3.0, 5.0, 0.5, 7.5, 13.2, 2.0)
MOMENTS = (
    "before dawn", "at daybreak", "early morning", "mid-morning", "at noon", "after lunch",
    "late afternoon", "at sunset", "at dusk", "in the evening", "at night", "after midnight",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Format:
    """How a clip is written: file name extension, libsndfile's container and encoding, rate and channels."""

    extension: str
    container: str
    subtype: str
    rate_hz: int
    n_channels: int


FORMATS = (
    Format("wav", "WAV", "PCM_16", 44_100, 2),
    Format("mp3", "MP3", "MPEG_LAYER_III", 44_100, 2),
    Format("flac", "FLAC", "PCM_16", 44_100, 2),
    Format("ogg", "OGG", "VORBIS", 44_100, 2),
    Format("wav", "WAV", "PCM_16", 16_000, 1),
    Format("aiff", "AIFF", "PCM_16", 44_100, 1),
    Format("opus", "OGG", "OPUS", 48_000, 1),
    Format("wav", "WAV", "PCM_24", 48_000, 2),
    Format("mp3", "MP3", "MPEG_LAYER_III", 22_050, 1),
    Format("flac", "FLAC", "PCM_24", 48_000, 1),
    Format("ogg", "OGG", "VORBIS", 32_000, 1),
    Format("wav", "WAV", "PCM_16", 22_050, 1),
)

# A player's room: seconds until an echo is 60 dB down, and how loud the room is beside the instrument.
ROOMS = {
    "Ada Quill": (1.8, 0.35),
    "Copper Field": (0.5, 0.2),
    "Henrik Sable": (1.2, 0.3),
    "Juniper Vale": (0.8, 0.15),
    "Low Tide Unit": (0.4, 0.15),
    "Mira Tallow": (2.2, 0.4),
    "Moss & Lantern": (1.5, 0.3),
    "Night Ferry": (1.0, 0.25),
    "Oskar Brine": (0.6, 0.2),
    "Paloma Rook": (1.4, 0.35),
    "Tin Orchard": (0.7, 0.3),
    "Wren Halloway": (1.1, 0.2),
}


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: where it lies, what is said about it, and how it is played. `path` is POSIX, inside the catalogue."""

    path: str
    family: str
    kind: str
    artist: str
    group: str
    title: str
    tempo_bpm: int | None
    key: Key | None
    n_samples: int
    format: Format

    def play(self) -> Signal:
        """The sound of the clip, `(n_samples, n_channels)` in [-1, 1], the same in every run."""
        family, rate_hz = FAMILIES[self.family], self.format.rate_hz
        touch = dice(self.path)
        take = Take(rate_hz, self.n_samples, self.key or Key(0, "major"), self.tempo_bpm or 60, dice(self.group), touch)
        sound = family.kinds[self.kind](take)
        if self.format.n_channels == 1:
            sound = sound.mean(axis=0, keepdims=True)
        if family.room:
            t60_s, wet = ROOMS[self.artist]
            sound = room(sound, rate_hz, touch, t60_s=t60_s, wet=wet * family.room)
        sound = fade(sound - sound.mean(axis=1, keepdims=True), rate_hz)
        # Levels differ as they do in real collections; lossy formats overshoot, so none comes near full scale.
        level = touch.uniform(0.3, 0.8)
        loudest = float(np.abs(sound).max())
        return (sound * (level / loudest)).T


def dice(name: str) -> np.random.Generator:
    """Random numbers that depend on nothing but `name`."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.PCG64(seed))


@cache
def clips() -> tuple[Clip, ...]:
    """Every clip, family by family."""
    return tuple(
        plan(family, number, len(LENGTHS_S) * place + number)
        for place, family in enumerate(FAMILIES)
        for number in range(len(LENGTHS_S))
    )


def plan(name: str, number: int, place: int) -> Clip:
    """The clip of this `number` in the family `name`, the one at `place` in the whole catalogue."""
    family = FAMILIES[name]
    performance = number % PERFORMANCES_PER_FAMILY
    group = f"{name}-{performance + 1:02d}"
    random = dice(f"plan of {group}")
    shift = int(dice(f"plan of {name}").integers(12))
    kinds = list(family.kinds)
    around, place_of_kind = divmod(performance, len(kinds))
    kind = kinds[place_of_kind]
    # The players move up by one each time round the kinds, so that nobody owns a kind.
    artist = family.players[(place_of_kind + around) % len(family.players)]
    # 7, 3 and 5 are coprime to 12, 10 and 12: no two performances of a family share a tonic, a tempo or a moment.
    key = Key((7 * performance + shift) % 12, str(random.choice(list(MODES)))) if family.keyed else None
    tempo_bpm = None
    if family.tempo_bpm:
        slow, fast = family.tempo_bpm
        tempo_bpm = slow + (fast - slow) * (3 * performance % PERFORMANCES_PER_FAMILY) // (PERFORMANCES_PER_FAMILY - 1)
    if key:
        title = f"{kind} in {key}"
    elif tempo_bpm:
        title = f"{kind} at {tempo_bpm} bpm"
    else:
        title = f"{kind}, {MOMENTS[(5 * performance + shift) % 12]}"
    if number >= PERFORMANCES_PER_FAMILY:
        title += ", second take"
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower().replace("#", " sharp")).strip("-")
    form = FORMATS[place % len(FORMATS)]
    length_s = max(LENGTHS_S[number] * dice(f"length of {name} {number}").uniform(0.95, 1.05), family.shortest_s)
    return Clip(
        path=f"{name}/{number + 1:02d}-{slug}.{form.extension}",
        family=name,
        kind=kind,
        artist=artist,
        group=group,
        title=title,
        tempo_bpm=tempo_bpm,
        key=key,
        n_samples=round(length_s * form.rate_hz),
        format=form,
    )
