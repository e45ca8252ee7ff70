"""Two releases of one catalogue, by different encoders: how far their neighbours agree, and whose are better.

Only clips that both have, of the same sound, are compared, and neighbours are sought among these alone, exactly.
"""

import csv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiorec.errors import BadCatalogue, BadQuery
from audiorec.evaluate import MAX_CLIPS, Scores, Truth, evaluate, truth_rows
from audiorec.index.exact import ExactEngine
from audiorec.metadata import Metadata
from audiorec.metadata.columns import Rows
from audiorec.quoting import quoted
from audiorec.release import Release, open_release

DEFAULT_K = 10
MAX_QUERIES = 1_000  # whose neighbours are sought
BATCH_QUERIES = 64
N_DIFFERING = 5
ID_COLUMNS = ("clip_id", "path")
LABEL_COLUMN = "label"

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Side:
    """One of the two releases. n_only: clips that the other has not."""

    path: str
    release: str
    encoder: str
    dim: int
    n_clips: int
    n_only: int
    scores: Scores


@dataclass(frozen=True)
class Differing:
    """A query whose neighbours differ. overlap: the share of the k that are the same. a, b: clip ids, nearest first."""

    clip_id: str
    overlap: float
    a: list[str]
    b: list[str]


@dataclass(frozen=True)
class Comparison:
    """overlap: the mean share of the k nearest that both give; jaccard: the mean of what both give over what either
    gives; chance: what overlap would be at random. n_changed: clips of one id that are another sound. n_unknown:
    queries that were asked for and that are not among the shared clips.
    """

    a: Side
    b: Side
    n_shared: int
    n_changed: int
    n_unknown: int
    n_queries: int
    k: int
    overlap: float
    jaccard: float
    chance: float
    same_nearest: float  # the share of queries whose nearest clip is the same
    most_differing: list[Differing]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    path_a: Path, path_b: Path, *, queries_path: Path | None = None, k: int = DEFAULT_K, seed: int = 0
) -> Comparison:
    """path_a, path_b: model directories or releases. queries_path: a CSV with a column `clip_id` or `path`, and perhaps
    `label`: these clips are the queries, with these labels; else a sample of the shared clips, with the labels that the
    first release has.

    Raises BadModelDir, BadQuery for k, BadCatalogue where fewer than two clips are shared, or for the CSV.
    """
    if k < 1:
        raise BadQuery(f"got k = {k}, expected 1 or more")
    a, b = open_release(path_a), open_release(path_b)
    shared = _Shared.of(a, b)
    k = min(k, len(shared) - 1)
    asked = None if queries_path is None else read_queries(queries_path)
    known = [clip_id for clip_id in asked or () if clip_id in shared.position]
    if asked is not None and not known:
        raise BadCatalogue(
            f"got {len(asked)} queries in {quoted(str(queries_path))}, none of which is a clip of both releases, "
            f"expected clip ids as {quoted(shared.ids[0])}"
        )
    rng = np.random.default_rng(seed)
    every = np.arange(len(shared)) if asked is None else np.array(sorted(shared.position[one] for one in known))
    queries = np.sort(rng.choice(every, min(len(every), MAX_QUERIES), replace=False))
    near_a, near_b = (_neighbours(side, queries, k) for side in (shared.a, shared.b))
    n_same = np.array([len(np.intersect1d(one, other)) for one, other in zip(near_a, near_b, strict=True)])
    scores_a, scores_b = _scores(shared, a.metadata, asked, every, seed)
    worst = np.argsort(n_same, kind="stable")[:N_DIFFERING]
    return Comparison(
        a=_side(path_a, a, len(shared), scores_a),
        b=_side(path_b, b, len(shared), scores_b),
        n_shared=len(shared),
        n_changed=shared.n_changed,
        n_unknown=0 if asked is None else len(asked) - len(known),
        n_queries=len(queries),
        k=k,
        overlap=round(float(n_same.mean()) / k, 4),
        jaccard=round(float((n_same / (2 * k - n_same)).mean()), 4),
        chance=round(k / (len(shared) - 1), 4),
        same_nearest=round(float((near_a[:, 0] == near_b[:, 0]).mean()), 4),
        most_differing=[
            Differing(
                shared.ids[queries[i]],
                round(int(n_same[i]) / k, 4),
                [shared.ids[row] for row in near_a[i]],
                [shared.ids[row] for row in near_b[i]],
            )
            for i in worst.tolist()
            if n_same[i] < k
        ],
    )


def read_queries(path: Path) -> dict[str, str | None]:
    """Clip id -> label, None in a table without labels. Raises BadCatalogue for what is no such table."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="", strict=True)
            columns = reader.fieldnames or []
            named = next((name for name in ID_COLUMNS if name in columns), None)
            if named is None:
                raise BadCatalogue(
                    f"got {path.name} with the columns {', '.join(columns) or '(none)'}, "
                    f"expected one named {' or '.join(ID_COLUMNS)}: add it"
                )
            has_labels = LABEL_COLUMN in columns
            queries = {row[named].strip(): row[LABEL_COLUMN].strip() if has_labels else None for row in reader}
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadCatalogue(f"got {path.name}, which is not UTF-8 CSV ({error}), expected a table of queries") from None
    except OSError as error:
        raise BadCatalogue(f"got {path.name}, which cannot be read ({error.strerror}), expected a table") from None
    queries.pop("", None)
    if not queries:
        raise BadCatalogue(f"got {path.name} without a row, expected a clip a row")
    return queries


def _side(path: Path, release: Release, n_shared: int, scores: Scores) -> Side:
    facts, n_clips = release.manifest.encoder, len(release.metadata)
    return Side(str(path), release.name, facts.name, facts.dim, n_clips, n_clips - n_shared, scores)


@dataclass(frozen=True)
class _Shared:
    """n clips in the order of their ids. rows_a: of each in the first release. a, b: (n, D) float32, unit norm."""

    ids: list[str]
    position: dict[str, int]
    rows_a: Rows
    a: Array
    b: Array
    n_changed: int

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, a: Release, b: Release) -> "_Shared":
        rows_a, rows_b = _rows_by_id(a.metadata), _rows_by_id(b.metadata)
        both = sorted(rows_a.keys() & rows_b.keys())
        in_a, in_b = (np.array([rows[one] for one in both], np.int64) for rows in (rows_a, rows_b))
        sounds = (metadata.column("sha256").take(rows) for metadata, rows in ((a.metadata, in_a), (b.metadata, in_b)))
        is_same = np.array([one == other for one, other in zip(*sounds, strict=True)], np.bool_)
        n_same = int(is_same.sum())
        if n_same < 2:
            raise BadCatalogue(
                f"got {len(rows_a):,} and {len(rows_b):,} clips with {n_same} in common, of the same id and sound, "
                "expected at least 2: compare two releases of one catalogue"
            )
        ids = [one for one, same in zip(both, is_same.tolist(), strict=True) if same]
        in_a, in_b = in_a[is_same], in_b[is_same]
        return cls(
            ids,
            {one: i for i, one in enumerate(ids)},
            in_a,
            np.ascontiguousarray(a.embeddings[in_a]),
            np.ascontiguousarray(b.embeddings[in_b]),
            len(both) - n_same,
        )


def _rows_by_id(metadata: Metadata) -> dict[str, int]:
    ids = metadata.column("clip_id").take(np.arange(len(metadata)))
    return {str(one): row for row, one in enumerate(ids)}


def _neighbours(vectors: Array, queries: Rows, k: int) -> Rows:
    """The k rows nearest to each of the rows `queries`, itself left out: (n_queries, k)."""
    engine = ExactEngine(vectors)
    found = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), BATCH_QUERIES):
        block = queries[start : start + BATCH_QUERIES]
        for i, rows in enumerate(engine.search(vectors[block], k + 1).rows, start=start):
            others = rows[rows != queries[i]]  # a copy of it may come before itself, or instead of it
            found[i] = others[:k]
    return found


def _scores(
    shared: _Shared, metadata: Metadata, asked: dict[str, str | None] | None, queries: Rows, seed: int
) -> tuple[Scores, Scores]:
    """Retrieval by label, as a release's, of both, of the same queries among the same clips."""
    rng = np.random.default_rng(seed)
    sample = rng.permutation(len(shared))[:MAX_CLIPS]
    if asked is not None:
        queries = rng.permutation(queries)[: MAX_CLIPS // 2]
        sample = np.union1d(queries, sample[: MAX_CLIPS - len(queries)])
    sample = np.sort(sample)
    rows = list(truth_rows(metadata, shared.rows_a[sample]))
    for row, i in zip(rows, sample.tolist(), strict=True):
        label = (asked or {}).get(shared.ids[i])
        if label is not None:
            row[LABEL_COLUMN] = label
    truth = Truth.of(rows)
    at = None if asked is None else np.searchsorted(sample, np.sort(queries))
    one, other = (evaluate(vectors[sample], truth, queries=at, seed=seed) for vectors in (shared.a, shared.b))
    return one, other
