"""The files of a release, written into a directory that nobody serves yet."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audiorec.catalogue.convert import REFUSED_FILE, Conversion, Row, write_refused
from audiorec.encoders import BASELINES, make_encoder
from audiorec.evaluate import MAX_CLIPS, Truth, evaluate
from audiorec.export import LoadedEncoder
from audiorec.features import Array, FeatureStore, means_of, vectors_of
from audiorec.files import writing_to_disk
from audiorec.files.npy import new_npy, open_npy
from audiorec.fit import EagerEncoder, FittedEncoder, features_of_catalogue
from audiorec.index.self_test import check_annoy_runs
from audiorec.index.tuning import tune
from audiorec.metadata import CORE_COLUMNS, Metadata, write_metadata
from audiorec.metadata.predictions import HEAD_FILE, SCORES_FILE
from audiorec.progress import Progress
from audiorec.publishing.workplace import Workplace
from audiorec.release import (
    EMBEDDINGS_FILE,
    ENCODER_FILE,
    INDEX_FILE,
    WINDOW_ROWS_FILE,
    WINDOWS_FILE,
)
from audiorec.release.describe import SEED, evaluation_of, write_manifest
from audiorec.release.manifest import CatalogueFacts, Scores
from audiorec.release.projector import write_projector
from audiorec.training.on_demand import kept_checkpoint


def stage_release(
    work: Workplace,
    conversion: Conversion,
    fitted: FittedEncoder,
    *,
    build_key: str,
    baselines: bool,
    progress: Progress,
) -> None:
    """Writes a whole release to `work.staging_dir`, which is emptied first. Raises NoSpace."""
    staging = work.staging_dir
    check_annoy_runs()
    with writing_to_disk("the release"):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        shutil.copyfile(fitted.path, staging / ENCODER_FILE)
        for companion in fitted.companions:
            shutil.copyfile(companion, staging / companion.name)
        with work.timed("embed"):
            embeddings = _write_vectors(work, conversion, fitted, progress)
        with work.timed("index"):
            tuning = tune(embeddings, staging / INDEX_FILE, seed=SEED)
        write_metadata(staging, conversion.clips, conversion.columns[len(CORE_COLUMNS) :])
        with work.timed("evaluate"):
            metadata = Metadata.open(staging)
            evaluation = evaluation_of(embeddings, metadata, fitted.facts.name, {})
            if baselines and evaluation.encoder.n_queries:  # without labels there is nothing to compare
                rows = metadata.sample(MAX_CLIPS).tolist()
                scores = _score_baselines(work, conversion, rows, fitted.facts.name, progress)
                evaluation = evaluation.model_copy(update={"baselines": scores})
        write_refused(staging / REFUSED_FILE, conversion.refusals)
        write_projector(staging, embeddings, seed=SEED)
        n_windows = len(np.load(staging / WINDOW_ROWS_FILE, mmap_mode="r"))
        catalogue = CatalogueFacts(
            n_clips=len(embeddings),
            n_windows=n_windows,
            n_refused=len(conversion.refusals),
            hours=round(conversion.hours, 4),
        )
        write_manifest(staging, build_key, fitted.facts, tuning, catalogue, evaluation)


def _write_vectors(work: Workplace, conversion: Conversion, fitted: FittedEncoder, progress: Progress) -> Array:
    """Writes embeddings.npy, windows.npy, window_rows.npy, and scores of labels, through the exported encoder.

    Returns the first.
    """
    encoder = EagerEncoder(make_encoder(fitted.facts.name, kept_checkpoint(work, fitted.facts.name)))
    head = fitted.facts.head
    loaded = LoadedEncoder(fitted.path, fitted.path.parent / HEAD_FILE if head else None)
    staging, sha256s = work.staging_dir, conversion.sha256s
    with features_of_catalogue(encoder, sha256s, work.wav_dir, work.features_dir, progress) as store:
        n_windows = [len(store.heard(sha256)) for sha256 in sha256s]
        shape = (len(sha256s), encoder.dim)
        embeddings = new_npy(staging / EMBEDDINGS_FILE, shape, np.float32)
        windows = new_npy(staging / WINDOWS_FILE, (sum(n_windows), encoder.dim), np.float16)
        first = 0
        for row, (vector, window_vectors) in enumerate(vectors_of(loaded.post, store, sha256s, encoder.dim)):
            embeddings[row] = vector
            windows[first : first + len(window_vectors)] = window_vectors
            first += len(window_vectors)
        if head is not None:
            _write_scores(staging / SCORES_FILE, loaded, store, sha256s)
    np.save(staging / WINDOW_ROWS_FILE, np.repeat(np.arange(len(sha256s), dtype=np.int32), n_windows))
    embeddings.flush()
    windows.flush()
    return open_npy(staging / EMBEDDINGS_FILE, shape, np.float32)


def _write_scores(path: Path, loaded: LoadedEncoder, store: FeatureStore, sha256s: Sequence[str]) -> None:
    scores = new_npy(path, (len(sha256s), loaded.n_labels), np.float16)
    for row, of_clip in enumerate(means_of(loaded.scores, store, sha256s)):
        scores[row] = of_clip
    scores.flush()


def _score_baselines(
    work: Workplace, conversion: Conversion, rows: Sequence[int], name: str, progress: Progress
) -> dict[str, Scores]:
    """Each baseline but the encoder itself on the clips that it is evaluated on too."""
    clips = [conversion.clips[row] for row in rows]
    truth = Truth.of(clips)
    others = [other for other in BASELINES if other != name]
    return {other: _score_baseline(other, clips, truth, work, progress) for other in others}


def _score_baseline(name: str, rows: Sequence[Row], truth: Truth, work: Workplace, progress: Progress) -> Scores:
    encoder = EagerEncoder(make_encoder(name))
    sha256s = [row["sha256"] for row in rows]
    with features_of_catalogue(encoder, sha256s, work.wav_dir, work.features_dir, progress) as store:
        encoder.fit(store.of(sha256s))
        vectors = np.stack([vector for vector, _ in vectors_of(encoder.post, store, sha256s, encoder.dim)])
    return Scores(**evaluate(vectors, truth, seed=SEED).to_json())
