"""How well labels are told apart: accuracy, F1 of each label, and what is taken for what."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from audiorec.metadata.predictions import LIKELY

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelFigures:
    """n_clips: that have the label. All others in [0, 1], 0 where there is nothing to divide by."""

    n_clips: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Figures:
    """accuracy: the share of clips whose labels are predicted exactly. macro_f1: the mean over labels that occur.

    confusion: [label][predicted] counts of clips; one of several labels is counted with each of them.
    """

    n_clips: int
    accuracy: float
    macro_f1: float
    per_label: dict[str, LabelFigures]
    confusion: list[list[int]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def figures_of(scores: Array, targets: Array, labels: Sequence[str], *, is_multi: bool) -> Figures:
    """scores: (n, n_labels) in [0, 1]. targets: (n, n_labels), 1 where a clip has a label."""
    actual = targets > 0
    predicted = scores >= LIKELY if is_multi else np.eye(len(labels), dtype=np.bool_)[scores.argmax(axis=1)]
    hits, n_actual, n_predicted = (part.sum(axis=0) for part in (actual & predicted, actual, predicted))
    per_label = {
        label: LabelFigures(
            int(n_actual[i]),
            _share(hits[i], n_predicted[i]),
            _share(hits[i], n_actual[i]),
            _share(2 * hits[i], n_actual[i] + n_predicted[i]),
        )
        for i, label in enumerate(labels)
    }
    confusion: list[list[int]] = (actual.T.astype(np.int64) @ predicted.astype(np.int64)).tolist()
    occurring = [one.f1 for one in per_label.values() if one.n_clips]
    return Figures(
        n_clips=len(scores),
        accuracy=round(float((actual == predicted).all(axis=1).mean()), 4),
        macro_f1=round(float(np.mean(occurring)), 4),
        per_label=per_label,
        confusion=confusion,
    )


def _share(part: float, whole: float) -> float:
    return round(float(part) / float(whole), 4) if whole else 0.0
