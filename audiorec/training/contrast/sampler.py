"""Which clips a step learns from: a function of the seed and the step."""

from collections import defaultdict

import numpy as np

from audiorec.training.contrast.clips import Clips, Ids

CLIPS_A_LABEL = 4  # of those that are drawn by label


class Sampler:
    """Draws from `rows`: small sources and rare labels more often than by their numbers, but not as often as all."""

    def __init__(
        self, clips: Clips, rows: Ids, *, source_power: float, by_label_share: float, mate_share: float
    ) -> None:
        self._rows = rows
        n_of_source = np.bincount(clips.source[rows])
        weights = n_of_source[clips.source[rows]] ** source_power
        self._weights = weights / weights.sum()
        self._takes = _by_name([clips.instance[row] for row in rows], rows)
        self._instance = clips.instance
        by_label: defaultdict[str, list[int]] = defaultdict(list)
        for position, row in enumerate(rows):
            for label in clips.labels[row]:
                by_label[label].append(position)
        positions = [np.array(of_label) for _, of_label in sorted(by_label.items()) if len(of_label) >= CLIPS_A_LABEL]
        self._labels = [rows[of_label] for of_label in positions]
        label_weights = np.array([self._weights[of_label].sum() for of_label in positions]) ** 0.5
        self._label_weights = label_weights / label_weights.sum()
        self._by_label_share = by_label_share if self._labels else 0.0
        self._mate_share = mate_share

    def pairs(self, n: int, rng: np.random.Generator) -> tuple[Ids, Ids]:
        """(rows of first views, rows of second views), (n,) each: the same clip, or another take of its instance."""
        n_labels = int(n * self._by_label_share) // CLIPS_A_LABEL
        drawn = [rng.choice(self._rows, n - CLIPS_A_LABEL * n_labels, p=self._weights)]
        if n_labels:
            few = n_labels > len(self._labels)
            labels = rng.choice(len(self._labels), n_labels, p=self._label_weights, replace=few)
            drawn += [rng.choice(self._labels[label], CLIPS_A_LABEL, replace=False) for label in labels]
        rows = np.concatenate(drawn)
        return rows, np.array([self._mate(row, rng) for row in rows])

    def _mate(self, row: int, rng: np.random.Generator) -> int:
        if rng.random() >= self._mate_share:
            return row
        takes = self._takes[self._instance[row]]
        return int(takes[rng.integers(len(takes))])


def _by_name(names: list[int], rows: Ids) -> dict[int, Ids]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for name, row in zip(names, rows.tolist(), strict=True):
        found[int(name)].append(row)
    return {name: np.array(of_name) for name, of_name in found.items()}
