"""What a release's classifier says of a clip of the catalogue, or of any sound. Knows no HTTP."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiorec.audio.decoder import DecodeLimits
from audiorec.embed import Embedding
from audiorec.errors import BadQuery
from audiorec.metadata.predictions import Predictions
from audiorec.nearest import embed_file
from audiorec.release import Release, open_release


@dataclass(frozen=True, slots=True)
class Classification:
    """predicted_label: the likeliest; where a clip can have several, all that are likely, joined by ";". labels: every
    one that the classifier knows, [{"label", "score"}], the likeliest first. Scores are in [0, 1], with sum 1 where a
    clip has one label.
    """

    predicted_label: str
    labels: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return {"predicted_label": self.predicted_label, "labels": self.labels}


def classify_clip(clip_id: str, release: Release) -> Classification:
    """As it was when the release was made. Raises UnknownClip, and BadQuery in a release without a classifier."""
    predictions = classifier_of(release)
    return _classification(predictions, predictions.scores[release.metadata.row_of(clip_id)])


def classify_embedding(embedding: Embedding, release: Release) -> Classification:
    """embedding: by the release's own encoder. Raises BadQuery in a release without a classifier."""
    return _classification(classifier_of(release), embedding.label_scores)


def classify_file(
    path: Path | str, release: Release | Path | str, *, max_s: float = DecodeLimits.max_s
) -> Classification:
    """A sound file of up to max_s seconds, by a release or a model directory's current one.

    Raises BadAudio, BadModelDir, BadQuery.
    """
    opened = release if isinstance(release, Release) else open_release(release)
    classifier_of(opened)
    return classify_embedding(embed_file(path, opened, max_s=max_s), opened)


def classifier_of(release: Release) -> Predictions:
    """Raises BadQuery where there is none, with how to get one."""
    if release.predictions is None:
        raise BadQuery(
            f"got a question for labels, but this release's {release.manifest.encoder.name} has no classifier: train "
            "one by `audiorec train classifier`, then build with --encoder classifier and the run as --checkpoint",
            code="no_classifier",
        )
    return release.predictions


def _classification(predictions: Predictions, scores: Any) -> Classification:
    labels = predictions.labels
    return Classification(labels.predicted(scores), labels.ranked(scores))
