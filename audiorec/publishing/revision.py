"""The files of a release made from another one: some clips less, some more, and every other vector as it was."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiorec.catalogue import Refusal
from audiorec.catalogue.convert import REFUSED_FILE, Row, write_refused
from audiorec.files import writing_to_disk
from audiorec.files.npy import new_npy, open_npy
from audiorec.index.self_test import check_annoy_runs
from audiorec.index.tuning import Tuning, tune_again
from audiorec.metadata import Metadata
from audiorec.metadata.columns import Numbers
from audiorec.metadata.predictions import SCORES_FILE
from audiorec.metadata.revision import revise_metadata
from audiorec.publishing.changes import read_changes, write_changes
from audiorec.publishing.workplace import Workplace
from audiorec.release import EMBEDDINGS_FILE, ENCODER_FILE, INDEX_FILE, WINDOW_ROWS_FILE, WINDOWS_FILE, Release
from audiorec.release.describe import SEED, evaluation_of, write_manifest
from audiorec.release.manifest import CatalogueFacts, Change
from audiorec.release.projector import revise_projector
from audiorec.release.sharing import link_or_copy

Array = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

BLOCK_ROWS = 2**16


@dataclass(frozen=True)
class Additions:
    """m clips to be, as a build would have them.

    embeddings: (m, D) float32. windows: (sum of n_windows, D) float16, zero where silent. n_windows: (m,), of each.
    label_scores: (m, n_labels) float16, no labels where the encoder has no head.
    """

    rows: Sequence[Row]
    embeddings: Array
    windows: npt.NDArray[np.float16]
    n_windows: Rows
    label_scores: npt.NDArray[np.float16]

    @property
    def clip_ids(self) -> list[str]:
        return [row["clip_id"] for row in self.rows]

    @classmethod
    def none(cls, dim: int, n_labels: int = 0) -> "Additions":
        embeddings, windows = np.empty((0, dim), np.float32), np.empty((0, dim), np.float16)
        return cls([], embeddings, windows, np.empty(0, np.int64), np.empty((0, n_labels), np.float16))


def stage_revision(
    work: Workplace,
    base: Release,
    gone: Rows,
    additions: Additions,
    refusals: Sequence[Refusal],
    *,
    build_key: str,
) -> None:
    """Writes a whole release to `work.staging_dir`, which is emptied first. Raises NoSpace.

    gone: the rows of `base` that are left out, replaced ones among them. The clips that stay keep their order, the
    additions follow. Trees and `search_k` of the index are those of `base` while the recall stays; the baselines'
    scores are its own.
    """
    staging = work.staging_dir
    check_annoy_runs()
    kept = np.delete(np.arange(len(base.embeddings)), gone)
    with writing_to_disk("the release"):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        for name in (ENCODER_FILE, *base.manifest.encoder.companions):
            link_or_copy(base.directory / name, staging / name)
        with work.timed("vectors"):
            embeddings = _write_vectors(staging, base, kept, additions)
        with work.timed("index"):
            tuning = _index(staging, base, embeddings)
        with work.timed("metadata"):
            revise_metadata(staging, base.directory, base.metadata, kept, additions.rows)
            metadata = Metadata.open(staging)
            write_refused(staging / REFUSED_FILE, refusals)
            gone_ids = [base.metadata.clip_id(row) for row in gone.tolist()]
            write_changes(staging, read_changes(base.directory), additions.clip_ids, gone_ids)
            revise_projector(staging, base.directory, embeddings, gone_ids, seed=SEED)
        with work.timed("evaluate"):
            facts, recorded = base.manifest.encoder, base.manifest.evaluation
            evaluation = evaluation_of(embeddings, metadata, facts.name, recorded.baselines)
        n_replaced = sum(base.metadata.find(clip_id) is not None for clip_id in additions.clip_ids)
        write_manifest(
            staging,
            build_key,
            facts,
            tuning,
            CatalogueFacts(
                n_clips=len(embeddings),
                n_windows=len(np.load(staging / WINDOW_ROWS_FILE, mmap_mode="r")),
                n_refused=len(refusals),
                hours=_hours(metadata),
            ),
            evaluation,
            change=Change(
                of=base.name,
                n_added=len(additions.rows) - n_replaced,
                n_replaced=n_replaced,
                n_removed=len(gone) - n_replaced,
            ),
        )


def _write_vectors(staging: Path, base: Release, kept: Rows, additions: Additions) -> Array:
    """Writes embeddings.npy, windows.npy, window_rows.npy, and scores of labels; returns the first."""
    n_kept, n_clips = len(kept), len(kept) + len(additions.rows)
    new_rows = np.full(len(base.embeddings), -1, np.int32)
    new_rows[kept] = np.arange(n_kept, dtype=np.int32)
    window_rows = new_rows[base.window_rows]
    kept_windows = np.flatnonzero(window_rows >= 0)
    of_additions = np.repeat(np.arange(n_kept, n_clips, dtype=np.int32), additions.n_windows)
    _write_array(staging / EMBEDDINGS_FILE, base.embeddings, kept, additions.embeddings)
    _write_array(staging / WINDOWS_FILE, base.windows, kept_windows, additions.windows)
    if base.predictions is not None:
        _write_array(staging / SCORES_FILE, base.predictions.scores, kept, additions.label_scores)
    np.save(staging / WINDOW_ROWS_FILE, np.concatenate([window_rows[kept_windows], of_additions]))
    return open_npy(staging / EMBEDDINGS_FILE, (n_clips, base.dim), np.float32)


def _write_array(path: Path, before: npt.NDArray[Any], kept: Rows, added: npt.NDArray[Any]) -> None:
    """Some rows of an array and all of another, a block at a time: either may be larger than the memory."""
    array = new_npy(path, (len(kept) + len(added), before.shape[1]), before.dtype)
    for start in range(0, len(kept), BLOCK_ROWS):
        block = kept[start : start + BLOCK_ROWS]
        array[start : start + len(block)] = before[block]
    array[len(kept) :] = added
    array.flush()


def _index(staging: Path, base: Release, embeddings: Array) -> Tuning:
    facts, n_before = base.manifest.index, len(base.embeddings)
    return tune_again(
        embeddings,
        staging / INDEX_FILE,
        facts.n_trees,
        facts.search_k,
        tuned_clips=facts.tuned_clips or n_before,
        seed=SEED,
    )


def _hours(metadata: Metadata) -> float:
    durations = metadata.column("duration_s")
    assert isinstance(durations, Numbers)
    known = durations.valid()
    durations_s = durations.numbers if known is None else durations.numbers[known]
    return round(float(durations_s.sum()) / 3600, 4)
