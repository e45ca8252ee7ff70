"""The clips of a training with their labels, in three parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from audiorec.errors import BadCatalogue
from audiorec.quoting import quoted
from audiorec.training.classifier.settings import ClassifierSettings
from audiorec.training.classifier.split import LEARN, TEST, VALIDATE, split, together
from audiorec.training.contrast.clips import Clips, Ids

N_SHOWN = 5
ADVICE = "put clips into a folder a label, or a labels.csv with a column label beside them"


@dataclass(frozen=True)
class Labelled:
    """clips: those that have labels which can be learnt. labels: their names, sorted. targets: (n, n_labels) float32, 1
    where a clip has a label. part: (n,), of `split`. left_out: labels that cannot be learnt here.
    """

    clips: Clips
    labels: tuple[str, ...]
    targets: npt.NDArray[np.float32]
    part: Ids
    left_out: tuple[str, ...]
    n_unlabelled: int

    @property
    def is_multi(self) -> bool:
        """Whether a clip has several labels: then each is told apart on its own."""
        return bool((self.targets.sum(axis=1) > 1).any())

    def rows(self, *parts: int) -> Ids:
        return np.flatnonzero(np.isin(self.part, parts))

    def key(self) -> str:
        """Equal for the same clips with the same labels in the same parts."""
        lines = [
            f"{truth['sha256']} {part} {labels}"
            for truth, part, labels in zip(self.clips.truth, self.part.tolist(), self.clips.labels, strict=True)
        ]
        return sha256("\n".join([*self.labels, *sorted(lines)]).encode()).hexdigest()

    def said(self) -> list[str]:
        """What a person should know of it, a line each."""
        n_learn, n_validate, n_test = (len(self.rows(part)) for part in (LEARN, VALIDATE, TEST))
        lines = [
            f"{len(self.labels)} labels{', several a clip' if self.is_multi else ''}: {n_learn} clips to learn from, "
            f"{n_validate} to validate on, {n_test} held back to test on"
        ]
        if self.left_out:
            lines.append(f"left out, with clips of one recording or artist only: {_listed(self.left_out)}")
        if self.n_unlabelled:
            lines.append(f"left out, without a label: {self.n_unlabelled} clips")
        return lines


def labelled(clips: Clips, settings: ClassifierSettings) -> Labelled:
    """Splits clips by settings' shares and seed. A label that cannot be both learnt and tested is left out.

    Raises BadCatalogue where fewer than two labels remain.
    """
    known = sorted({label for labels in clips.labels for label in labels})
    if len(known) < 2:
        got = f"one label, {quoted(known[0])}" if known else f"{len(clips)} clips without a label"
        raise BadCatalogue(f"got {got}, expected at least two labels to tell apart: {ADVICE}")
    n_unlabelled = sum(not labels for labels in clips.labels)
    shares = (1 - settings.validation_share - settings.test_share, settings.validation_share, settings.test_share)
    left = known
    while len(left) >= 2:
        rows = np.array([row for row, labels in enumerate(clips.labels) if set(labels) & set(left)], np.int64)
        targets = _targets([clips.labels[row] for row in rows], left)
        part = split(targets, together([clips.truth[row] for row in rows]), shares, seed=settings.seed)
        learnt, held = targets[part == LEARN].any(axis=0), targets[part != LEARN].any(axis=0)
        kept = [name for name, good in zip(left, learnt & held, strict=True) if good]
        if kept == left and (part == VALIDATE).any() and (part == TEST).any():
            left_out = tuple(name for name in known if name not in set(left))
            return Labelled(clips.of(rows), tuple(left), targets, part, left_out, n_unlabelled)
        if kept == left:
            break
        left = kept
    raise BadCatalogue(
        f"got {len(known)} labels ({_listed(known)}) of which {len(left)} can be learnt and tested, expected at least "
        "two with clips of several recordings, artists or groups each: a label of one clip, or of one recording, "
        "cannot be both; add clips"
    )


def _targets(labels: Sequence[tuple[str, ...]], names: Sequence[str]) -> npt.NDArray[np.float32]:
    column = {name: i for i, name in enumerate(names)}
    targets = np.zeros((len(labels), len(names)), np.float32)
    for row, of_clip in enumerate(labels):
        targets[row, [column[label] for label in of_clip if label in column]] = 1
    return targets


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(quoted, names[:N_SHOWN]))
    return shown if len(names) <= N_SHOWN else f"{shown} and {len(names) - N_SHOWN} more"
