"""Clips to learn from, to validate and to test on: labels as evenly as can be, an artist or a group on one side.

After Sechidis, Tsoumakas & Vlahavas, "On the stratification of multi-label data", ECML 2011, with whole groups in
place of single items: the rarest label first, each of its groups to the part that still wants most of that label.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from audiorec.evaluate import ARTIST_SHARE

Ids = npt.NDArray[np.int64]
Counts = npt.NDArray[np.float64]

LEARN, VALIDATE, TEST = range(3)
BY_NEED = (LEARN, TEST, VALIDATE)  # who gets one first of a label that has few groups


def together(rows: Sequence[Mapping[str, str]]) -> Ids:
    """(n,): clips of one number share a group or an artist, at first or at second hand, and belong in one part.

    rows: of `metadata.tsv`. An artist of more than ARTIST_SHARE of the clips tells nothing, and binds nothing.
    """
    parent = list(range(len(rows)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for column in ("group", "artist"):
        counts: dict[str, int] = {}
        for row in rows:
            counts[row.get(column, "")] = counts.get(row.get(column, ""), 0) + 1
        for number, row in enumerate(rows):
            name = row.get(column, "")
            if name and not (column == "artist" and counts[name] > ARTIST_SHARE * len(rows)):
                parent[root(number)] = root(first.setdefault((column, name), number))
    return np.unique([root(row) for row in range(len(rows))], return_inverse=True)[1].astype(np.int64)


def split(targets: npt.NDArray[np.float32], group: Ids, shares: Sequence[float], *, seed: int) -> Ids:
    """(n,): LEARN, VALIDATE or TEST of each clip.

    targets: (n, n_labels), 1 where a clip has a label; each has one at least. group: (n,), kept together. shares: of
    the three, sum 1. A label of three groups or more is in all parts, one of two is learnt and tested.
    """
    n_groups, n_labels = int(group.max()) + 1, targets.shape[1]
    counts = np.zeros((n_groups, n_labels))  # of clips, by group and label
    np.add.at(counts, group, targets)
    sizes = np.bincount(group).astype(np.float64)
    wanted: Counts = np.outer(shares, counts.sum(axis=0))  # (3, n_labels)
    wanted_clips = np.asarray(shares) * len(group)
    has = np.zeros((3, n_labels), np.int64)
    part = np.full(n_groups, -1)
    rng = np.random.default_rng(seed)
    for label in np.argsort((counts > 0).sum(axis=0), kind="stable"):
        order = rng.permutation(np.flatnonzero((counts[:, label] > 0) & (part < 0)))
        order = order[np.argsort(-counts[order, label], kind="stable")]  # the largest are the hardest to place
        for n_left, one in zip(range(len(order), 0, -1), order, strict=True):
            without = [candidate for candidate in BY_NEED if not has[candidate, label]]
            if n_left <= len(without):
                chosen = without[0]
            else:
                chosen = max(BY_NEED, key=lambda candidate: (wanted[candidate, label], wanted_clips[candidate]))
            part[one] = chosen
            wanted[chosen] -= counts[one]
            wanted_clips[chosen] -= sizes[one]
            has[chosen] += (counts[one] > 0).astype(np.int64)
    return part[group]
