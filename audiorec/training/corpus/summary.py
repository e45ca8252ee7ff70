"""What a person reads about a corpus: how much there is of what, and whom to credit."""

from collections import Counter
from pathlib import Path

import numpy as np

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.training.corpus.reader import Corpus


def corpus_summary(corpus_dir: Path) -> str:
    """A line a source."""
    corpus = Corpus(corpus_dir)
    lines = [f"{corpus_dir}: {_amount(corpus, np.ones(len(corpus), bool))}"]
    for number, source in enumerate(corpus.source.names):
        lines.append(f"  {source}: {_amount(corpus, corpus.source.ids == number)}")
    return "\n".join(lines)


def _amount(corpus: Corpus, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> str:
    hours = corpus.n_samples[rows].sum() / SAMPLE_RATE_HZ / 3600
    n_labels, n_instances = (len(np.unique(column.ids[rows])) for column in (corpus.label, corpus.instance))
    return f"{rows.sum()} clips, {hours:.1f} hours, {n_labels} labels, {n_instances} instances"


def credits(corpus: Corpus) -> list[str]:
    """Whom a model that learnt from the corpus has to name: "CREDIT, LICENCE: N clips", the file within a source left
    out."""
    pairs = zip(corpus.credit.names[corpus.credit.ids], corpus.licence.names[corpus.licence.ids], strict=True)
    counts = Counter((str(credit).partition("@")[0], str(licence)) for credit, licence in pairs)
    return [f"{credit}, {licence}: {n_clips} clips" for (credit, licence), n_clips in sorted(counts.items())]
