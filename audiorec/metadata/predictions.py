"""What a release's classifier says of its clips: how much each label fits, computed when the release is made.

    classifier.pt       TorchScript, (N, n_features) of the encoder -> (N, n_labels) in [0, 1]
    label_scores.npy    (n_clips, n_labels) float16, the mean over a clip's windows

The clips' own labels are another matter, and stay in `metadata`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiorec.files.npy import open_npy
from audiorec.metadata import LABEL_SEPARATOR

HEAD_FILE = "classifier.pt"
SCORES_FILE = "label_scores.npy"
DIGITS = 4
LIKELY = 0.5  # a label of several is predicted from here on

Scores = npt.NDArray[Any]


@dataclass(frozen=True)
class Labels:
    """What a classifier tells apart. is_multi: a clip can have several labels, or none; each is scored on its own."""

    names: Sequence[str]
    is_multi: bool

    def ranked(self, scores: Scores) -> list[dict[str, Any]]:
        """scores: (n_labels,) in [0, 1]. Returns [{"label", "score"}], the likeliest first."""
        order = np.argsort(-scores, kind="stable").tolist()
        return [{"label": self.names[i], "score": round(float(scores[i]), DIGITS)} for i in order]

    def predicted(self, scores: Scores) -> str:
        """scores: (n_labels,). The likeliest label; of several, all that are likely, joined as in `metadata.tsv`."""
        if not self.is_multi:
            return self.names[int(scores.argmax())]
        likely = [i for i in np.argsort(-scores, kind="stable").tolist() if scores[i] >= LIKELY]
        return LABEL_SEPARATOR.join(self.names[i] for i in likely)


class Predictions:
    """Those of an open release: mapped, one row a clip."""

    def __init__(self, directory: Path, n_clips: int, labels: Labels) -> None:
        """Raises BadModelDir for a file of another shape."""
        self.labels = labels
        self.scores: npt.NDArray[np.float16] = open_npy(
            directory / SCORES_FILE, (n_clips, len(labels.names)), np.float16
        )

    def predicted(self, rows: Sequence[int]) -> list[str]:
        """What is predicted of the clips in these rows."""
        return [self.labels.predicted(self.scores[row]) for row in rows]
