"""Whether a new release may take the place of the current one: it is held back while it measures worse."""

from collections.abc import Iterator
from dataclasses import dataclass

from audiorec.release.manifest import Manifest

TOLERANCE = 0.01


@dataclass(frozen=True)
class Guard:
    """tolerance: by how much recall@10, P@5 and mAP, all in [0, 1], may fall from one release to the next.

    Retrieval may fall by 1 / sqrt(queries) more, about two standard errors of the difference of two such figures: of a
    few labelled clips it says little. make_current: whatever the figures are.
    """

    tolerance: float = TOLERANCE
    make_current: bool = False

    def objections(self, new: Manifest, current: Manifest, name: str) -> list[str]:
        """What of a new release is worse than that much, a phrase each. name: of the current release."""
        return [
            f"{figure} is {got:.4f}, expected at least {had - allowed:.4f}, as release {name} has {had:.4f}"
            for figure, got, had, allowed in self._compared(new, current)
            if got < had - allowed
        ]

    def _compared(self, new: Manifest, current: Manifest) -> Iterator[tuple[str, float, float, float]]:
        """(figure, in the new release, in the current one, by how much it may fall)."""
        yield "recall@10", _recall(new), _recall(current), self.tolerance
        scores, had = new.evaluation.encoder, current.evaluation.encoder
        if not scores.n_queries or not had.n_queries:  # labels came or went: nothing to compare
            return
        allowed = self.tolerance + min(scores.n_queries, had.n_queries) ** -0.5
        yield "P@5", scores.precision.get("5", 0.0), had.precision.get("5", 0.0), allowed
        yield "mAP", scores.mean_average_precision, had.mean_average_precision, allowed


DEFAULT_GUARD = Guard()


def _recall(manifest: Manifest) -> float:
    """Of what answers: exact search misses nothing, whatever the index beside it does."""
    return 1.0 if manifest.index.kind == "exact" else manifest.index.recall_at_10
