"""Whether an adapter helped: the error on clips of which nothing was learnt, with it and without, group by group."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audiorec.training.generator.clips import Captioned
from audiorec.training.generator.examples import Array

MIN_GROUPS = 8  # fewer cannot tell
MIN_ERRORS = 2.0  # standard errors of the gain


@dataclass(frozen=True)
class Judged:
    """before, after: mean loss on the clips held back, without and with the adapter. gain: before - after, a mean over
    groups of clips; error: the standard error of that.
    """

    before: float
    after: float
    gain: float
    error: float
    n_clips: int
    n_groups: int

    @property
    def helped(self) -> bool:
        return self.n_groups >= MIN_GROUPS and self.gain > MIN_ERRORS * self.error

    @property
    def verdict(self) -> str:
        change = (
            f"loss {self.before:.4f} without it, {self.after:.4f} with it, on {self.n_clips} clips of {self.n_groups} "
            f"groups held back (gain {self.gain:.2g}, standard error {self.error:.2g})"
        )
        if self.helped:
            return f"it helped: {change}"
        if self.n_groups < MIN_GROUPS:
            return f"not recommended, fewer than {MIN_GROUPS} groups cannot tell: {change}"
        return f"not recommended, it did not help: {change}"


def judged(clips: Sequence[Captioned], before: Array, after: Array) -> Judged:
    """before, after: the losses of these clips, (n,). Clips of a group are alike, and count as one."""
    gains: defaultdict[str, list[float]] = defaultdict(list)
    for clip, gain in zip(clips, before - after, strict=True):
        gains[clip.group].append(float(gain))
    means = np.array([np.mean(of_group) for of_group in gains.values()])
    error = float(means.std(ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else math.inf
    return Judged(float(before.mean()), float(after.mean()), float(means.mean()), error, len(clips), len(means))
