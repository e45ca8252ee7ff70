"""Which hidden layer of a pretrained model gives the vector: the one whose neighbours share most labels.

Every window of some clips goes through the whole model once, and all layers are measured on that. What is found for the
chosen one is kept, so that only the layers above it have cost anything in the end.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from audiorec.audio import CLIP_S
from audiorec.encoders.base import Encoder, Layer
from audiorec.encoders.frozen import EveryLayer, FrozenEncoder
from audiorec.evaluate import Scores, Truth, evaluate
from audiorec.features import Array, FeatureStore, vectors_of
from audiorec.files import writing_to_disk
from audiorec.fit import EagerEncoder, features_of_catalogue
from audiorec.fit.last_step import MIN_QUERIES, retrieval
from audiorec.progress import Progress, silent

MAX_WINDOWS = 2_000  # of clips that have labels: more would say the same, and go through all layers


def choose_layer(
    kind: type[FrozenEncoder],
    directory: Path,
    clips: Sequence[Mapping[str, str]],
    *,
    wav_dir: Path,
    features_dir: Path,
    progress: Progress = silent,
) -> Layer:
    """The best layer of the model in a directory for these clips, rows of `metadata.tsv`; without labels, the middle.

    wav_dir: where the clips are. features_dir: where what is computed is kept. Raises BadModel, NoSpace.
    """
    every = EveryLayer(kind, directory)
    clips = sample_of(clips)
    n_queries = count_queries(clips)
    if n_queries < MIN_QUERIES:
        why = f"the one in the middle: {n_queries} clips that share a label with some others are too few to choose by"
        return Layer(every.n_layers // 2, every.n_layers, why)
    sha256s = [clip["sha256"] for clip in clips]
    with features_of_catalogue(EagerEncoder(every), sha256s, wav_dir, features_dir, progress) as store:
        scores = [scores_of(kind, every, index, store, clips) for index in range(every.n_layers + 1)]
        layer = best_layer(scores, len(clips))
        _keep_features(kind.open(directory, layer.index), every, layer.index, store, sha256s, features_dir)
    with writing_to_disk("the features"):
        shutil.rmtree(features_dir / every.features_key())
    return layer


def sample_of(clips: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """At most so many clips with labels as have MAX_WINDOWS windows together, in their order."""
    labelled = [row for row, clip in enumerate(clips) if clip.get("label")]
    kept, n_windows = [], 0.0
    for row in np.random.default_rng(0).permutation(labelled):
        n_windows += max(1.0, float(clips[row].get("duration_s") or 0) / CLIP_S)
        if n_windows > MAX_WINDOWS:
            break
        kept.append(row)
    return [clips[row] for row in sorted(kept)]


def count_queries(clips: Sequence[Mapping[str, str]]) -> int:
    """How many of them have a label in common with another that counts; none where all have."""
    return evaluate(np.ones((len(clips), 1), np.float32), Truth.of(clips)).n_telling if clips else 0


def scores_of(
    kind: type[FrozenEncoder], every: EveryLayer, index: int, store: FeatureStore, clips: Sequence[Mapping[str, str]]
) -> Scores:
    """The retrieval of one layer, its last step fitted on these clips."""
    last_step = kind.last_step(every.hidden.dim)
    part, sha256s = _part(every, index), [clip["sha256"] for clip in clips]
    last_step.fit(torch.from_numpy(store.of(sha256s)[:, part]))

    def post(features: Array) -> Array:
        with torch.inference_mode():
            unit: Array = last_step(torch.from_numpy(features[:, part])).numpy()
        return unit

    vectors = [vector for vector, _ in vectors_of(post, store, sha256s, last_step.dim)]
    return evaluate(np.stack(vectors), Truth.of(clips))


def best_layer(scores: Sequence[Scores], n_clips: int) -> Layer:
    """Of these scores of all layers; the lowest among equals, which is the fastest."""
    best, middle = int(np.argmax([retrieval(score) for score in scores])), (len(scores) - 1) // 2
    said = [f"P@5 {score.precision['5']:.3f}, mAP {score.mean_average_precision:.3f}" for score in scores]
    why = f"the best by retrieval on {n_clips:,} clips: {said[best]}; the last {said[-1]}, the middle {said[middle]}"
    p5 = [score.precision["5"] for score in scores]
    return Layer(best, len(scores) - 1, why, p5, [score.mean_average_precision for score in scores])


def _part(every: EveryLayer, index: int) -> slice:
    return slice(index * every.hidden.dim, (index + 1) * every.hidden.dim)


def _keep_features(
    encoder: Encoder, every: EveryLayer, index: int, store: FeatureStore, sha256s: Sequence[str], features_dir: Path
) -> None:
    """Puts what has been computed of a layer where the encoder of that layer looks for it."""
    with FeatureStore(features_dir / encoder.features_key(), every.hidden.dim) as target:
        for sha256 in dict.fromkeys(sha256s):
            if sha256 not in target:
                target.append(sha256, store.of([sha256])[:, _part(every, index)], store.heard(sha256))
