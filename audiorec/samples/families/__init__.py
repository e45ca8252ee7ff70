"""The families of the sample catalogue: what they can play, how fast, and who plays it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from audiorec.samples.families import (
    bass,
    bells,
    birds,
    crickets,
    drums,
    engines,
    organ,
    pads,
    rain,
    sirens,
    strings,
    voices,
    wind,
    woodblocks,
)
from audiorec.samples.synth import Signal
from audiorec.samples.take import Take


@dataclass(frozen=True, slots=True)
class Family:
    """One label. Each kind, by its title, plays a take as `(2, n_samples)`.

    `tempo_bpm` is the range of tempi or None, `keyed` says whether there is a key, `room` scales the player's room.
    """

    kinds: Mapping[str, Callable[[Take], Signal]]
    players: tuple[str, ...]
    tempo_bpm: tuple[int, int] | None = None
    keyed: bool = False
    shortest_s: float = 0.5
    room: float = 1.0


FAMILIES = {
    "bass": Family(bass.KINDS, ("Low Tide Unit", "Night Ferry", "Copper Field"), (84, 132), keyed=True, room=0.0),
    "bells": Family(bells.KINDS, ("Mira Tallow", "Moss & Lantern", "Tin Orchard"), (72, 120), keyed=True),
    "birds": Family(birds.KINDS, ("Juniper Vale", "Oskar Brine", "Wren Halloway"), room=0.7),
    "crickets": Family(crickets.KINDS, ("Wren Halloway", "Juniper Vale", "Moss & Lantern"), shortest_s=1.0, room=0.0),
    "drums": Family(drums.KINDS, ("Copper Field", "Low Tide Unit", "Tin Orchard", "Night Ferry"), (82, 146), room=0.4),
    "engines": Family(engines.KINDS, ("Henrik Sable", "Oskar Brine", "Paloma Rook"), shortest_s=1.0, room=0.0),
    "organ": Family(organ.KINDS, ("Ada Quill", "Henrik Sable", "Night Ferry"), (66, 112), keyed=True),
    "pads": Family(pads.KINDS, ("Night Ferry", "Ada Quill", "Mira Tallow"), (70, 110), keyed=True, shortest_s=1.5),
    "rain": Family(rain.KINDS, ("Oskar Brine", "Juniper Vale", "Paloma Rook"), shortest_s=1.0, room=0.0),
    "sirens": Family(sirens.KINDS, ("Paloma Rook", "Henrik Sable", "Copper Field"), shortest_s=1.0),
    "strings": Family(strings.KINDS, ("Ada Quill", "Mira Tallow", "Moss & Lantern"), (76, 126), keyed=True),
    "voices": Family(voices.KINDS, ("Paloma Rook", "Ada Quill", "Low Tide Unit"), (64, 100), keyed=True),
    "wind": Family(wind.KINDS, ("Juniper Vale", "Oskar Brine", "Henrik Sable"), shortest_s=1.5, room=0.0),
    "woodblocks": Family(woodblocks.KINDS, ("Tin Orchard", "Copper Field", "Wren Halloway"), (92, 138), room=0.6),
}
