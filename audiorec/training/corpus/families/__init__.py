"""All families of patches: what a sound is called, the recipes that make it, and how it is recorded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from audiorec.samples.synth import Signal
from audiorec.training.corpus import recording
from audiorec.training.corpus.families import (
    appliances,
    basses,
    birds,
    bodies,
    calls,
    cymbals,
    drums,
    effects,
    hand_percussion,
    loops,
    mammals,
    nature,
    notes,
    objects,
    small_animals,
    surfaces,
    textures,
    vehicles,
    voices,
)
from audiorec.training.corpus.patch import Patch


@dataclass(frozen=True)
class Family:
    """recipes: Patch -> sound, one of them drawn for a patch. recorded: what is done to the sound of each take."""

    recipes: tuple[Callable[[Patch], Signal], ...]
    recorded: Callable[[Patch, Signal], Signal]


IN_STUDIO = (drums, cymbals, hand_percussion, basses, notes, effects, textures, loops)
OUTDOORS = (nature, mammals, birds, calls, small_animals, objects, surfaces, vehicles, appliances, voices, bodies)

FAMILIES: Mapping[str, Family] = {
    label: Family(recipes, recorded)
    for recorded, modules in ((recording.produced, IN_STUDIO), (recording.outdoors, OUTDOORS))
    for module in modules
    for label, recipes in module.FAMILIES.items()
}
