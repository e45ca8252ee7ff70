"""Clips of random patches: several takes of each, doppelgangers of one another."""

from collections.abc import Iterator, Sequence

import numpy as np

from audiorec.audio import Pcm
from audiorec.training.corpus.clip import Clip, name_of, to_pcm
from audiorec.training.corpus.families import FAMILIES, Family
from audiorec.training.corpus.patch import Patch

TAKES = 3
SPREADS = (0.01, 0.2)  # from a repetition to a relative


def patches(seed: Sequence[int], n_clips: int) -> Iterator[Clip]:
    """`n_clips` of random patches; the families come in turn, in an order of this seed's own."""
    rng = np.random.default_rng(seed)
    labels = list(FAMILIES)
    order: list[int] = []
    for number in range(-(-n_clips // TAKES)):
        if not order:
            order = list(rng.permutation(len(labels)))
        label = labels[order.pop()]
        family = FAMILIES[label]
        kind = int(rng.integers(len(family.recipes)))
        spread = float(np.exp(rng.uniform(*np.log(SPREADS))))
        for take in range(min(TAKES, n_clips - number * TAKES)):
            patch = Patch((*seed, number), (*seed, number, take), spread)
            pcm = render(family, kind, patch)
            if pcm is not None:
                instance = name_of("patch", seed, number)
                yield Clip(pcm, label, instance, f"recipe {kind}", parameters=tuple(patch.parameters))


def render(family: Family, kind: int, patch: Patch) -> Pcm | None:
    """A take of one of a family's recipes, recorded; None where there is nothing to hear."""
    recording_part = patch.part()
    return to_pcm(family.recorded(recording_part(), family.recipes[kind](patch)))
