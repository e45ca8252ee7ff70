"""How good the neighbours are: retrieval by label, and hubness, of embeddings whatever made them.

A neighbour counts as a hit when it shares a label with the query. Clips of the query's own group (one recording, one
player) and by its own artist are left out: they are easy to find and inflate every figure (Pampalk, Flexer & Widmer,
"Improvements of audio-based music similarity and genre classification", ISMIR 2005).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from audiorec.index.exact import highest
from audiorec.metadata import Metadata, split_labels
from audiorec.metadata.placeholders import PLACEHOLDER_COLUMN, is_placeholder

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

DEPTHS = (1, 5, 10)
HUBNESS_K = 10
MAX_QUERIES = 5_000
MAX_CLIPS = 10_000  # of a larger catalogue, a sample is evaluated: `metadata.sample`
ARTIST_SHARE = 0.5  # an artist of more than this share of the clips tells nothing, and is not left out
BLOCK_QUERIES = 64


@dataclass(frozen=True)
class Truth:
    """What is known of n clips: labels, () where unknown; for each clip the rows that are its own and do not count."""

    labels: Sequence[tuple[str, ...]]
    own: Sequence[tuple[Rows, ...]]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, str]]) -> "Truth":
        """From rows of `metadata.tsv`: the columns label (several joined by ";"), group and artist, unless made up."""
        rows = list(rows)
        labels = [tuple(dict.fromkeys(split_labels(row.get("label", "")))) for row in rows]
        by_group = _members([(row.get("group", ""),) for row in rows])
        artists = ["" if is_placeholder(row) else row.get("artist", "") for row in rows]
        by_artist = _members([(artist,) for artist in artists])
        counted_out = {name: members for name, members in by_artist.items() if len(members) <= ARTIST_SHARE * len(rows)}
        nothing = np.empty(0, np.int64)
        own = [
            (by_group.get(row.get("group", ""), nothing), counted_out.get(artist, nothing))
            for row, artist in zip(rows, artists, strict=True)
        ]
        return cls(labels, own)

    @classmethod
    def of_catalogue(cls, metadata: Metadata, rows: Rows) -> "Truth":
        """From some rows of a catalogue."""
        return cls.of(truth_rows(metadata, rows))


def truth_rows(metadata: Metadata, rows: Rows) -> Iterator[dict[str, str]]:
    """What `Truth.of` takes, of some rows of a catalogue."""
    names = [name for name in ("label", "group", "artist", PLACEHOLDER_COLUMN) if name in metadata.columns]
    for cells in zip(*(metadata.column(name).take(rows) for name in names), strict=True):
        yield {name: "" if cell is None else str(cell) for name, cell in zip(names, cells, strict=True)}


@dataclass(frozen=True)
class Scores:
    """precision, by depth "1", "5", "10": mean share of hits among as many neighbours; chance: in a random order.

    All in [0, 1] but hubness: the skewness of how often a clip is among the 10 nearest of another, 0 when all are
    equally often (Radovanović, Nanopoulos & Ivanović, "Hubs in space", JMLR 2010). Without labels, hubness alone.
    """

    hubness: float
    n_queries: int
    precision: dict[str, float]
    mean_average_precision: float
    chance: float
    per_label: dict[str, dict[str, float]]  # label -> n_queries, p5, map

    @property
    def n_telling(self) -> int:
        """How many queries say anything of the vectors: none where all clips share a label, and any order is right."""
        return self.n_queries if self.chance < 1 else 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(embeddings: Array, truth: Truth, *, queries: Rows | None = None, seed: int = 0) -> Scores:
    """Scores (n, D) unit vectors by exact search. Every clip is a query, or those of the rows `queries`, or a sample of
    MAX_QUERIES of them.

    A labelled query ranks the other labelled clips; one that none of them could answer does not count.
    """
    labelled = np.array([bool(labels) for labels in truth.labels], np.bool_)
    by_label = _members(truth.labels)
    rng = np.random.default_rng(seed)
    rows = np.arange(len(embeddings)) if queries is None else queries
    queries = np.sort(rng.choice(rows, min(len(rows), MAX_QUERIES), replace=False))
    tally = _Tally(len(embeddings))
    for start in range(0, len(queries), BLOCK_QUERIES):
        block = queries[start : start + BLOCK_QUERIES]
        similarities = embeddings[block] @ embeddings.T  # (B, n)
        similarities[np.arange(len(block)), block] = -np.inf
        for query, row in zip(block.tolist(), similarities, strict=True):
            tally.count_occurrence(row)
            if labelled[query]:
                candidates = _candidates(query, labelled, truth)
                relevant = _union([by_label[label] for label in truth.labels[query]], len(row))
                ranks = ranks_of(relevant[candidates], row[candidates])
                tally.count_ranking(ranks, len(candidates), truth.labels[query])
    return tally.scores()


def ranks_of(hits: Mask, similarities: Array) -> Rows:
    """The ranks from 1, ascending, that the marked of n candidates have by falling similarity, then by position.

    hits, similarities: (n,). Only the marked are ranked: sorting plain numbers takes a fraction of sorting positions.
    """
    rising = np.sort(similarities)
    of_hits = similarities[hits]
    ranks = len(rising) - np.searchsorted(rising, of_hits, "right") + 1  # of the first among equals
    n_equal = len(rising) - np.searchsorted(rising, of_hits, "left") - ranks
    positions = np.flatnonzero(hits)
    for tied in np.flatnonzero(n_equal):
        ranks[tied] += np.count_nonzero(similarities[: positions[tied]] == of_hits[tied])
    return np.sort(ranks)


def _members(keys: Sequence[tuple[str, ...]]) -> dict[str, Rows]:
    """name -> the rows that carry it, the empty name left out."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    for row, names in enumerate(keys):
        for name in filter(None, names):
            members[name].append(row)
    return {name: np.array(rows, np.int64) for name, rows in members.items()}


def _union(parts: Sequence[Rows], n_clips: int) -> Mask:
    mask = np.zeros(n_clips, np.bool_)
    for rows in parts:
        mask[rows] = True
    return mask


def _candidates(query: int, labelled: Mask, truth: Truth) -> Rows:
    own = _union(truth.own[query], len(labelled))
    own[query] = True
    return np.flatnonzero(labelled & ~own)


class _Tally:
    """Sums over queries."""

    def __init__(self, n_clips: int) -> None:
        self._occurrences = np.zeros(n_clips)
        self._figures: list[tuple[float, ...]] = []  # a query: P@1, P@5, P@10, AP, chance
        self._by_label: defaultdict[str, list[int]] = defaultdict(list)

    def count_occurrence(self, similarities: Array) -> None:
        k = min(HUBNESS_K, len(similarities) - 1)
        if k > 0:
            nearest = highest(similarities, k)
            self._occurrences[nearest[np.argpartition(-similarities[nearest], k - 1)[:k]]] += 1

    def count_ranking(self, ranks: Rows, n_candidates: int, labels: tuple[str, ...]) -> None:
        """ranks: of the hits among the candidates, from 1, ascending."""
        n_relevant = len(ranks)
        if not n_relevant:
            return
        average_precision = float(np.mean(np.arange(1, n_relevant + 1) / ranks))
        for label in labels:
            self._by_label[label].append(len(self._figures))
        at_depth = [np.searchsorted(ranks, depth, "right") / min(depth, n_candidates) for depth in DEPTHS]
        self._figures.append((*at_depth, average_precision, n_relevant / n_candidates))

    def scores(self) -> Scores:
        figures = np.array(self._figures).reshape(-1, len(DEPTHS) + 2)
        *at_depth, average_precision, chance = (figures.mean(axis=0) if len(figures) else np.zeros(5)).round(4).tolist()
        per_label = {
            label: {
                "n_queries": len(queries),
                "p5": round(float(figures[queries, 1].mean()), 4),
                "map": round(float(figures[queries, 3].mean()), 4),
            }
            for label, queries in sorted(self._by_label.items())
        }
        precision = {str(depth): value for depth, value in zip(DEPTHS, at_depth, strict=True)}
        return Scores(self._hubness(), len(figures), precision, average_precision, chance, per_label)

    def _hubness(self) -> float:
        centred = self._occurrences - self._occurrences.mean()
        deviation = float(centred.std())
        return round(float((centred**3).mean()) / deviation**3, 4) if deviation else 0.0
