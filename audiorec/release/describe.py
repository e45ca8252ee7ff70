"""The last of a release: what it measures, written down with what it is."""

import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

import audiorec
from audiorec.commit import git_commit
from audiorec.evaluate import MAX_CLIPS, Truth, evaluate
from audiorec.index.tuning import Tuning
from audiorec.metadata import Metadata
from audiorec.release import describe_files
from audiorec.release.manifest import (
    FORMAT_VERSION,
    CatalogueFacts,
    Change,
    EncoderFacts,
    EncoderScores,
    Evaluation,
    IndexFacts,
    MadeWith,
    Manifest,
    Scores,
)

SEED = 0


def evaluation_of(
    embeddings: npt.NDArray[np.float32], metadata: Metadata, encoder: str, baselines: Mapping[str, Scores]
) -> Evaluation:
    """The scores of a catalogue's embeddings, (n, D) unit vectors, or of a sample's, beside those of baselines."""
    rows = metadata.sample(MAX_CLIPS)
    scores = evaluate(embeddings[rows], Truth.of_catalogue(metadata, rows), seed=SEED)
    return Evaluation(
        n_clips=len(rows), encoder=EncoderScores(name=encoder, **scores.to_json()), baselines=dict(baselines)
    )


def write_manifest(
    staging: Path,
    build_key: str,
    encoder: EncoderFacts,
    tuning: Tuning,
    catalogue: CatalogueFacts,
    evaluation: Evaluation,
    *,
    change: Change | None = None,
) -> None:
    """The last file of a release: it names all others, with their sizes and hashes."""
    index = IndexFacts(
        kind=tuning.kind,
        n_trees=tuning.n_trees,
        search_k=tuning.search_k,
        recall_at_10=tuning.recall_at_10,
        us_per_query=tuning.us_per_query,
        tuned_clips=tuning.tuned_clips,
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
        change=change,
    ).write(staging)


def _made_with() -> MadeWith:
    versions: Mapping[str, str] = {name: version(name) for name in ("torch", "annoy")}
    return MadeWith(audiorec=audiorec.__version__, python=platform.python_version(), git=git_commit(), **versions)
