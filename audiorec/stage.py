"""The files of a release, written into a directory that nobody serves yet."""

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import audiorec
from audiorec.commit import git_commit
from audiorec.convert import REFUSED_FILE, Conversion, Row, write_refused
from audiorec.encoders import BASELINES, make_encoder
from audiorec.evaluate import Truth, evaluate, sample_rows
from audiorec.export import LoadedEncoder
from audiorec.features import Array, vectors_of
from audiorec.files import writing_to_disk
from audiorec.fit import EagerEncoder, FittedEncoder, features_of_catalogue
from audiorec.index.self_test import check_annoy_runs
from audiorec.index.tuning import Tuning, tune
from audiorec.manifest import (
    FORMAT_VERSION,
    CatalogueFacts,
    EncoderFacts,
    EncoderScores,
    Evaluation,
    IndexFacts,
    MadeWith,
    Manifest,
    Scores,
)
from audiorec.metadata import CORE_COLUMNS, write_metadata
from audiorec.npy import open_npy
from audiorec.progress import Progress
from audiorec.projector import write_projector
from audiorec.release import (
    EMBEDDINGS_FILE,
    ENCODER_FILE,
    INDEX_FILE,
    WINDOW_ROWS_FILE,
    WINDOWS_FILE,
    describe_files,
)
from audiorec.workplace import Workplace

SEED = 0


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
        with work.timed("embed"):
            embeddings = _write_vectors(work, conversion, fitted, progress)
        with work.timed("index"):
            tuning = tune(embeddings, staging / INDEX_FILE, seed=SEED)
        with work.timed("evaluate"):
            evaluation = _evaluate(work, conversion, embeddings, fitted.facts.name, baselines, progress)
        own_columns = conversion.columns[len(CORE_COLUMNS) :]
        write_metadata(staging, conversion.clips, own_columns)
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


def write_manifest(
    staging: Path,
    build_key: str,
    encoder: EncoderFacts,
    tuning: Tuning,
    catalogue: CatalogueFacts,
    evaluation: Evaluation,
) -> None:
    """The last file of a release: it names all others, with their sizes and hashes."""
    index = IndexFacts(
        kind=tuning.kind,
        n_trees=tuning.n_trees,
        search_k=tuning.search_k,
        recall_at_10=tuning.recall_at_10,
        us_per_query=tuning.us_per_query,
    )
    Manifest(
        format_version=FORMAT_VERSION,
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        build_key=build_key,
        made_with=_made_with(),
        encoder=encoder,
        index=index,
        catalogue=catalogue,
        evaluation=evaluation,
        files=describe_files(staging),
    ).write(staging)


def _write_vectors(work: Workplace, conversion: Conversion, fitted: FittedEncoder, progress: Progress) -> Array:
    """Writes embeddings.npy, windows.npy and window_rows.npy through the exported encoder; returns the first."""
    encoder = EagerEncoder(make_encoder(fitted.facts.name, work.checkpoint_path))
    post = LoadedEncoder(fitted.path).post
    staging, sha256s = work.staging_dir, conversion.sha256s
    with features_of_catalogue(encoder, sha256s, work.wav_dir, work.features_dir, progress) as store:
        n_windows = [len(store.heard(sha256)) for sha256 in sha256s]
        shape = (len(sha256s), encoder.dim)
        embeddings = _new_array(staging / EMBEDDINGS_FILE, shape, np.float32)
        windows = _new_array(staging / WINDOWS_FILE, (sum(n_windows), encoder.dim), np.float16)
        first = 0
        for row, (vector, window_vectors) in enumerate(vectors_of(post, store, sha256s, encoder.dim)):
            embeddings[row] = vector
            windows[first : first + len(window_vectors)] = window_vectors
            first += len(window_vectors)
    np.save(staging / WINDOW_ROWS_FILE, np.repeat(np.arange(len(sha256s), dtype=np.int32), n_windows))
    embeddings.flush()
    windows.flush()
    return open_npy(staging / EMBEDDINGS_FILE, shape, np.float32)


def _new_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.memmap[Any, Any]:
    """A .npy file to write to through a map, its room on the disk taken first: a full one kills who writes to a map."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("rb+") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _evaluate(
    work: Workplace, conversion: Conversion, embeddings: Array, name: str, baselines: bool, progress: Progress
) -> Evaluation:
    """The encoder's scores, and each baseline's on the same clips; without labels there is nothing to compare."""
    sample = sample_rows(len(embeddings), seed=SEED)
    rows = [conversion.clips[row] for row in sample]
    truth = Truth.of(rows)
    scores = evaluate(embeddings[sample], truth, seed=SEED)
    beside = [other for other in BASELINES if other != name] if baselines and scores.n_queries else []
    return Evaluation(
        n_clips=len(sample),
        encoder=EncoderScores(name=name, **scores.to_json()),
        baselines={other: _score_baseline(other, rows, truth, work, progress) for other in beside},
    )


def _score_baseline(name: str, rows: Sequence[Row], truth: Truth, work: Workplace, progress: Progress) -> Scores:
    encoder = EagerEncoder(make_encoder(name))
    sha256s = [row["sha256"] for row in rows]
    with features_of_catalogue(encoder, sha256s, work.wav_dir, work.features_dir, progress) as store:
        encoder.fit(store.of(sha256s))
        vectors = np.stack([vector for vector, _ in vectors_of(encoder.post, store, sha256s, encoder.dim)])
    return Scores(**evaluate(vectors, truth, seed=SEED).to_json())


def _made_with() -> MadeWith:
    versions: Mapping[str, str] = {name: version(name) for name in ("torch", "annoy")}
    return MadeWith(audiorec=audiorec.__version__, python=platform.python_version(), git=git_commit(), **versions)
