"""Index engines against a brute-force oracle, tuning by recall, and index files that are not what they should be."""

import itertools
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock, patch

import numpy as np
import numpy.typing as npt
import pytest
from annoy import AnnoyIndex
from hypothesis import given, settings
from hypothesis import strategies as st

from audiorec.errors import BadModelDir, BadSetting, NoSpace
from audiorec.index import Engine, Floats, annoy, annoy_file, open_engine, tuning
from audiorec.index.annoy import AnnoyEngine, build_annoy, verify_annoy
from audiorec.index.exact import SLACK, ExactEngine, highest
from audiorec.index.tuning import tune, tune_again

DIM = 16
N_TREES = 4
EVERYTHING = 10_000  # a search_k that leaves no clip of a small catalogue unseen
SIZES = (1, 2, DIM + 2, DIM + 3, 700)  # up to D + 2 clips, a tree is a single leaf


def sign_vectors(n: int, seed: int = 0) -> Floats:
    """(n, DIM) float32 unit vectors of entries +-1/4, with many copies. Their products are exact however summed."""
    rng = np.random.default_rng(seed)
    distinct: Floats = rng.choice(np.array([-0.25, 0.25], np.float32), (max(1, n // 2), DIM))
    return distinct.take(rng.integers(0, len(distinct), n), axis=0)


def clustered(n: int, dim: int = 32, seed: int = 0) -> Floats:
    """(n, dim) float32 unit vectors in loose clusters of a hundred, the first dimensions wider than the last."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, n // 100), dim))
    vectors = centres[rng.integers(0, len(centres), n)] + 0.6 * rng.standard_normal((n, dim))
    vectors /= np.arange(1, dim + 1)
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def oracle(
    embeddings: Floats,
    vector: Floats,
    k: int,
    allowed: npt.NDArray[np.bool_] | None,
    excluded: Sequence[int],
    groups: npt.NDArray[np.int32] | None,
    group_cap: int | None,
) -> tuple[list[int], list[float]]:
    """What `Engine.search` promises, one clip after the other."""
    similarities = (embeddings.astype(np.float64) @ vector.astype(np.float64)).tolist()
    rows: list[int] = []
    seen: Counter[int] = Counter()
    for row in sorted(range(len(embeddings)), key=lambda row: (-similarities[row], row)):
        if (allowed is not None and not allowed[row]) or row in excluded:
            continue
        if groups is not None and group_cap is not None and groups[row] >= 0:
            seen[groups[row]] += 1
            if seen[groups[row]] > group_cap:
                continue
        rows.append(row)
    padding = [-1] * (k - len(rows))
    found = rows[:k]
    return found + padding, [similarities[row] for row in found] + [-np.inf] * len(padding)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Engine]:
    """Both engines over catalogues of `SIZES` clips."""
    made: dict[tuple[str, int], Engine] = {}
    for n in SIZES:
        path = tmp_path_factory.mktemp("index") / "index.ann"
        embeddings = sign_vectors(n)
        build_annoy(embeddings, path, N_TREES, seed=1)
        for kind in ("annoy", "exact"):
            made[kind, n] = open_engine(kind, path, embeddings, n_trees=N_TREES, search_k=EVERYTHING)
            assert made[kind, n].kind == kind
    return made


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["exact", "annoy", "annoy at any cost"]),
    n=st.sampled_from(SIZES),
    k=st.sampled_from([1, 2, 5, 10, 11, 100, 1000]),
    batch=st.sampled_from([1, 1, 3, 20]),
    share=st.sampled_from([None, 0.0, 0.02, 0.1, 0.5, 0.95]),
    n_excluded=st.sampled_from([0, 0, 1, 30]),
    n_groups=st.sampled_from([None, 1, 3, 200]),
    group_cap=st.sampled_from([None, 1, 2, 7]),
    seed=st.integers(0, 2**32 - 1),
)
def test_hits_are_the_oracles(
    engines: dict[tuple[str, int], Engine],
    kind: str,
    n: int,
    k: int,
    batch: int,
    share: float | None,
    n_excluded: int,
    n_groups: int | None,
    group_cap: int | None,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    vectors = sign_vectors(batch, seed)
    allowed = None if share is None else rng.random(n) < share
    excluded = rng.integers(0, n, n_excluded).tolist()
    groups = None if n_groups is None else rng.integers(-1, n_groups, n).astype(np.int32)
    if groups is None:
        group_cap = None
    # At its real cost, Annoy leaves nearly all filtered queries on so few clips to exact search.
    cost = 1e-5 if kind == "annoy at any cost" else annoy.CANDIDATE_COST
    engine = engines[kind.split()[0], n]
    with patch.object(annoy, "CANDIDATE_COST", cost):
        hits = engine.search(vectors, k, allowed=allowed, excluded=excluded, groups=groups, group_cap=group_cap)
    assert hits.rows.shape == hits.similarities.shape == (batch, k)
    assert hits.rows.dtype == np.int64
    assert hits.similarities.dtype == np.float32
    for vector, rows, similarities in zip(vectors, hits.rows.tolist(), hits.similarities.tolist(), strict=True):
        expected = oracle(sign_vectors(n), vector, k, allowed, excluded, groups, group_cap)
        assert (rows, similarities) == expected


@pytest.mark.parametrize("kind", ["annoy", "exact"])
def test_no_queries_no_hits(engines: dict[tuple[str, int], Engine], kind: str) -> None:
    assert engines[kind, 700].search(np.empty((0, DIM), np.float32), 3).rows.shape == (0, 3)


@pytest.mark.parametrize("n", [50, 3000, 20_000])
def test_exact_search_agrees_with_a_full_sort(n: int) -> None:
    embeddings, vectors = clustered(n), clustered(40, seed=1)
    for k in (1, 10, n // 7, n):
        hits = ExactEngine(embeddings).search(vectors, k)
        truth = -np.sort(-(vectors.astype(np.float64) @ embeddings.T.astype(np.float64)), axis=1)[:, :k]
        np.testing.assert_allclose(hits.similarities, truth, atol=1e-6)
        assert all(len(set(rows)) == k for rows in hits.rows.tolist())


def test_a_clip_is_no_more_than_the_same_as_itself() -> None:
    embeddings = clustered(2000)
    hits = ExactEngine(embeddings).search(embeddings, 1)
    assert hits.similarities.max() <= 1
    assert hits.similarities.min() > 1 - 1e-6


def test_copies_of_a_clip_tie_wherever_they_lie() -> None:
    embeddings = clustered(1000, dim=37)
    copies = [3, 4, 500, 501, 503, 997]
    embeddings[copies] = embeddings[3]
    hits = ExactEngine(embeddings).search(embeddings[[3, 4]], len(copies))
    assert hits.rows.tolist() == [copies, copies]
    assert len(set(hits.similarities.ravel().tolist())) == 1


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("n_finite", [0, 5, 20_000])
def test_highest_scores(size: int, n_finite: int) -> None:
    scores = np.full(20_000, -np.inf, np.float32)
    rng = np.random.default_rng(0)
    scores[rng.permutation(20_000)[:n_finite]] = rng.uniform(-1, 1, n_finite)
    top = highest(scores, size)
    floor = np.sort(scores)[-size]
    assert top.tolist() == np.flatnonzero((scores >= floor - SLACK) & (scores > -np.inf)).tolist()


def test_threads_share_an_engine(engines: dict[tuple[str, int], Engine]) -> None:
    vectors = sign_vectors(200, seed=5)
    for kind in ("annoy", "exact"):
        search = engines[kind, 700].search
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(search, np.split(vectors, len(vectors)), itertools.repeat(10)))
        assert np.array_equal(np.concatenate([hits.rows for hits in answers]), search(vectors, 10).rows)


def test_unknown_kind() -> None:
    with pytest.raises(BadSetting, match=r"'faiss'.*annoy, exact"):
        open_engine("faiss", Path("index.ann"), sign_vectors(3), n_trees=1, search_k=1)


def test_the_package_is_light() -> None:
    code = "import sys, audiorec.index; print({'torch', 'annoy', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_same_catalogue_makes_the_same_file(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        build_annoy(clustered(500), tmp_path / name, N_TREES, seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match=r"index\.ann could not be written .*No such file") as caught:
        build_annoy(sign_vectors(10), tmp_path / "gone" / "index.ann", N_TREES, seed=1)
    assert str(tmp_path) not in caught.value.message


def test_a_full_disk_leaves_the_old_index(tmp_path: Path) -> None:
    embeddings, path = clustered(500), tmp_path / "index.ann"
    build_annoy(embeddings, path, 1, seed=1)
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), limit[1]))  # writing past it fails, as on a full disk
    try:
        with pytest.raises(NoSpace, match=r"index\.ann could not be written .*File too large"):
            build_annoy(embeddings, path, 20, seed=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def recall(engine: Engine, rows: npt.NDArray[np.int64], k: int, allowed: npt.NDArray[np.bool_] | None = None) -> float:
    """The part of the k nearest of each clip in `rows` that an engine finds, itself included."""
    embeddings: Floats = engine.embeddings  # type: ignore[attr-defined]
    truth = ExactEngine(embeddings).search(embeddings[rows], k, allowed=allowed)
    hits = engine.search(embeddings[rows], k, allowed=allowed)
    return float((hits.similarities >= truth.similarities[:, -1:] - 1e-6).mean())


def test_tuning_reaches_its_recall(tmp_path: Path) -> None:
    embeddings, path = clustered(20_000), tmp_path / "index.ann"
    lines: list[str] = []
    tuned = tune(embeddings, path, n_queries=500, report=lines.append)
    assert tuned.reached
    assert tuned.recall_at_10 >= tuned.target_recall == 0.99
    assert tuned.n_queries == 500
    assert min(tuned.us_per_query, tuned.exact_us_per_query) > 0
    assert list(tmp_path.iterdir()) == [path]
    assert len(lines) >= 2
    verify_annoy(path, embeddings, tuned.n_trees)
    engine = AnnoyEngine.open(path, embeddings, tuned.n_trees, tuned.search_k)
    rng = np.random.default_rng(9)
    rows = rng.choice(len(embeddings), 500, replace=False)
    assert recall(engine, rows, 10) >= 0.985
    engine.search_k //= 8
    assert recall(engine, rows, 10) < 0.985  # or it had not been the smallest
    engine.search_k *= 8
    with patch.object(engine, "exact", None), patch.object(annoy, "CANDIDATE_COST", 1e-3):
        assert recall(engine, rows, 100) >= 0.985
        assert recall(engine, rows, 10, allowed=rng.random(len(embeddings)) < 0.2) >= 0.985


def test_tuning_does_not_depend_on_the_moment(tmp_path: Path) -> None:
    settled = set()
    for name in "ab":
        tuned = tune(clustered(3000), tmp_path / name, n_queries=200)
        settled.add((tuned.n_trees, tuned.search_k, tuned.recall_at_10, (tmp_path / name).read_bytes()))
    assert len(settled) == 1


@pytest.mark.parametrize("n", [1, 2, 3, 11, DIM + 2, DIM + 3])
def test_tuning_a_handful(tmp_path: Path, n: int) -> None:
    tuned = tune(sign_vectors(n), tmp_path / "index.ann")
    assert (tuned.recall_at_10, tuned.reached, tuned.n_queries) == (1, True, max(1, n // 2))


def test_tuning_copies_of_one_clip(tmp_path: Path) -> None:
    embeddings = np.repeat(sign_vectors(1), 3000, axis=0)
    tuned = tune(embeddings, tmp_path / "index.ann", n_queries=100)
    assert tuned.recall_at_10 == 1  # any ten are as good as any other
    engine = AnnoyEngine.open(tmp_path / "index.ann", embeddings, tuned.n_trees, tuned.search_k)
    assert engine.search(embeddings[:1], 10).similarities.tolist() == [[1.0] * 10]
    assert ExactEngine(embeddings).search(embeddings[:1], 10).rows.tolist() == [list(range(10))]


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (range(11), 1.0),
        (range(1, 12), 1.0),
        ([0, *range(4, 11), 28, 29, 30], 0.7),
        (range(20, 31), 0.0),
        ([], 0.0),
    ],
)
def test_recall_leaves_out_the_clip_itself(ranks: Sequence[int], expected: float) -> None:
    embeddings = clustered(400)
    exact, row = ExactEngine(embeddings), np.array([5])
    found = exact.search(embeddings[row], 31).rows[0, list(ranks)].tolist()
    engine = Mock(embeddings=embeddings, search_k=1)
    engine.index.get_nns_by_vector.return_value = found
    assert tuning._recalls(engine, row, tuning._floors(exact, row)) == [expected]


def test_tuning_says_when_the_target_is_out_of_reach(tmp_path: Path) -> None:
    embeddings = np.random.default_rng(0).standard_normal((400, 64)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    with (
        patch.object(tuning, "_limit", lambda n: 100),
        patch.object(tuning, "_us_per_query", lambda engine, _: 1 if engine.kind == "annoy" else 1000),
    ):
        tuned = tune(embeddings, tmp_path / "index.ann")
    assert not tuned.reached
    assert tuned.recall_at_10 < 0.9
    assert tuned.kind == "exact"
    verify_annoy(tmp_path / "index.ann", embeddings, tuned.n_trees)


def test_a_choice_is_made_again_without_the_search(tmp_path: Path) -> None:
    embeddings, path = clustered(5000), tmp_path / "index.ann"
    first = tune(embeddings[:4000], path, n_queries=500)
    assert first.tuned_clips == 4000
    with patch.object(tuning, "tune", None):
        again = tune_again(embeddings, path, first.n_trees, first.search_k, tuned_clips=4000)
    assert again.reached
    assert (again.n_trees, again.tuned_clips, again.n_queries) == (first.n_trees, 4000, 1000)
    assert again.search_k >= first.search_k
    verify_annoy(path, embeddings, again.n_trees)
    engine = AnnoyEngine.open(path, embeddings, again.n_trees, again.search_k)
    assert recall(engine, np.random.default_rng(9).choice(5000, 500, replace=False), 10) >= 0.985


def test_a_search_that_finds_too_little_examines_more(tmp_path: Path) -> None:
    embeddings = clustered(3000)
    with patch.object(tuning, "tune", None):
        again = tune_again(embeddings, tmp_path / "index.ann", 4, 64, tuned_clips=3000)
    assert again.reached
    assert again.search_k > 64


@pytest.mark.parametrize("tuned_clips", [1999, 499, 1, 10**6])
def test_a_catalogue_of_another_size_is_tuned_anew(tmp_path: Path, tuned_clips: int) -> None:
    anew = Mock(name="tuned anew")
    with patch.object(tuning, "tune", lambda *_, **__: anew):
        again = tune_again(clustered(1000), tmp_path / "index.ann", 4, 1000, tuned_clips=tuned_clips)
    assert (again is anew) == (tuned_clips != 1999)


def test_what_never_finds_enough_is_tuned_anew(tmp_path: Path) -> None:
    anew = Mock(name="tuned anew")
    with patch.object(tuning, "tune", lambda *_, **__: anew), patch.object(tuning, "_limit", lambda n: 64):
        assert tune_again(clustered(2000), tmp_path / "index.ann", 1, 16, tuned_clips=2000) is anew


@pytest.mark.parametrize("n", [1, 2, 3, DIM + 3])
def test_a_handful_is_tuned_again(tmp_path: Path, n: int) -> None:
    again = tune_again(sign_vectors(n), tmp_path / "index.ann", 4, 64, tuned_clips=n)
    assert (again.recall_at_10, again.reached, again.n_queries) == (1, True, n)


@pytest.mark.parametrize(("annoy_us", "exact_us", "kind"), [(100, 1000, "annoy"), (100, 150, "exact"), (9, 5, "exact")])
def test_the_faster_engine_is_chosen(tmp_path: Path, annoy_us: int, exact_us: int, kind: str) -> None:
    with patch.object(tuning, "_us_per_query", lambda engine, _: annoy_us if engine.kind == "annoy" else exact_us):
        assert tune(clustered(1000), tmp_path / "index.ann", n_queries=100).kind == kind


N_CLIPS = 300
CLIPS = clustered(N_CLIPS, DIM)
NODE_BYTES = 4 * (DIM + 3)


def build_other(path: Path, embeddings: Floats, metric: str = "angular", n_trees: int = N_TREES) -> None:
    """An index that Annoy itself writes, of any metric."""
    index = AnnoyIndex(embeddings.shape[1], metric)  # type: ignore[arg-type]
    for row, vector in enumerate(embeddings):
        index.add_item(row, vector.tolist())
    index.build(n_trees, n_jobs=1)
    index.save(os.fspath(path))


def edit(change: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.int32] | None]) -> Callable[[Path], None]:
    """A spoiler that changes the nodes of the index, (N, DIM + 3) int32, in place or for others."""

    def spoil(path: Path) -> None:
        nodes = np.fromfile(path, np.int32).reshape(-1, DIM + 3)
        changed = change(nodes)
        path.write_bytes((nodes if changed is None else changed).tobytes())

    return spoil


def first_split(nodes: npt.NDArray[np.int32]) -> int:
    return N_CLIPS + int(np.argmax(nodes[N_CLIPS:, 0] > DIM + 2))


def set_word(place: Callable[[npt.NDArray[np.int32]], int], word: int, value: int) -> Callable[[Path], None]:
    """A spoiler that sets one word of one node."""

    def change(nodes: npt.NDArray[np.int32]) -> None:
        nodes[place(nodes), word] = value

    return edit(change)


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """A spoiler that puts something else in the place of the file."""

    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


def loop(nodes: npt.NDArray[np.int32]) -> None:
    nodes[first_split(nodes), 1] = first_split(nodes)


def garbage(shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    return np.random.default_rng(0).integers(-(2**31), 2**31, shape).astype(np.int32)


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "index.ann could not be read: No such file"),
    "empty": (lambda path: path.write_bytes(b""), f"got 0 bytes, expected a multiple of {NODE_BYTES}"),
    "a folder": (instead(Path.mkdir), "index.ann is not a regular file"),
    "a pipe": (instead(os.mkfifo), "index.ann is not a regular file"),
    "cut within a node": (lambda path: os.truncate(path, 10_001), "got 10001 bytes, expected a multiple of 76"),
    "cut after a node": (edit(lambda nodes: nodes[:-1]), "got 0 whole trees over 300 clips, expected 4"),
    "only its clips": (edit(lambda nodes: nodes[:N_CLIPS]), "got 300 nodes, expected at least 308"),
    "a node too many": (
        edit(lambda nodes: np.vstack([nodes, nodes[-1:]])),
        "got 5 whole trees over 300 clips, expected 4",
    ),
    "another dimension": (lambda path: build_other(path, clustered(N_CLIPS, 20)), "expected a multiple of 76"),
    "another dimension, a size that fits": (
        lambda path: build_other(path, clustered(N_CLIPS, 24)),
        "got 0 whole trees over 300 clips, expected 4",
    ),
    "euclidean": (lambda path: build_other(path, CLIPS, "euclidean"), "expected a multiple of 76"),
    "manhattan": (lambda path: build_other(path, CLIPS, "manhattan"), "expected a multiple of 76"),
    "dot": (lambda path: build_other(path, CLIPS, "dot"), "expected a multiple of 76"),
    "euclidean, same node size": (lambda path: build_other(path, CLIPS[:, :-1], "euclidean"), "node 0 is not clip 0"),
    "a clip less": (lambda path: build_other(path, CLIPS[:-1]), "got 0 whole trees over 300 clips, expected 4"),
    "a clip more": (lambda path: build_other(path, clustered(N_CLIPS + 1, DIM)), "got 0 whole trees over 300 clips"),
    "fewer trees": (lambda path: build_other(path, CLIPS, n_trees=3), "got 3 whole trees over 300 clips, expected 4"),
    "another catalogue": (lambda path: build_other(path, clustered(N_CLIPS, DIM, 1)), "node 0 is not clip 0"),
    "another order": (lambda path: build_other(path, np.roll(CLIPS, 1, axis=0)), "node 0 is not clip 0"),
    "another scale": (lambda path: build_other(path, 2 * CLIPS), "node 0 is not clip 0"),
    "zeros": (edit(np.zeros_like), "got 0 whole trees over 300 clips, expected 4"),
    "garbage": (edit(lambda nodes: garbage(nodes.shape)), "got 0 whole trees over 300 clips, expected 4"),
    "garbage between clips and roots": (
        edit(lambda nodes: np.vstack([nodes[:N_CLIPS], garbage(nodes[N_CLIPS : -N_TREES - 1].shape), nodes[-5:]])),
        "node 300 of .* is damaged",
    ),
    "a clip without direction": (set_word(lambda nodes: 7, 1, 0), "node 7 is not clip 7: .* squared norm 0 .*expected"),
    "a clip of NaN": (set_word(lambda nodes: 7, 3, 0x7FC00000), "node 7 is not clip 7: .*beginning nan, expected"),
    "a clip with children": (set_word(lambda nodes: 299, 0, 2), "node 299 is not clip 299: got 2 descendants"),
    "a leaf of nothing": (set_word(lambda nodes: N_CLIPS, 0, 0), "node 300 .* is damaged: got 0 descendants"),
    "a leaf of a clip beyond": (set_word(lambda nodes: N_CLIPS, 1, N_CLIPS), "node 300 .* children 300"),
    "a leaf of a clip below": (set_word(lambda nodes: N_CLIPS, 2, -1), "node 300 .* children .*-1"),
    "a split on itself": (edit(loop), "is damaged: got .*expected parts of 300 clips in other nodes"),
    "a split of too many": (set_word(first_split, 0, N_CLIPS), "is damaged: got 300 descendants"),
    "a root beyond": (set_word(lambda nodes: -2, 2, 10**9), "children .*1000000000"),
}


OPEN = """
import sys
from pathlib import Path
import numpy as np
from audiorec.errors import BadModelDir
from audiorec.index.annoy import AnnoyEngine, verify_annoy

path, embeddings = Path(sys.argv[1]), np.load(sys.argv[2], mmap_mode="r")
for check in (
    lambda: verify_annoy(path, embeddings),
    lambda: AnnoyEngine.open(path, embeddings, int(sys.argv[3]), int(sys.argv[4])),
):
    try:
        check()
        print("opened")
    except BadModelDir as error:
        print(error)
"""


def open_elsewhere(tmp_path: Path, n_trees: int = N_TREES, search_k: int = EVERYTHING) -> list[str]:
    """What verifying and opening `index.ann` say, in a process that may crash."""
    np.save(tmp_path / "embeddings.npy", CLIPS)
    arguments = [tmp_path / "index.ann", tmp_path / "embeddings.npy", n_trees, search_k]
    done = subprocess.run(
        [sys.executable, "-c", OPEN, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_sound_index_opens(tmp_path: Path) -> None:
    build_annoy(CLIPS, tmp_path / "index.ann", N_TREES, seed=1)
    assert open_elsewhere(tmp_path) == ["opened", "opened"]


@pytest.mark.parametrize("name", SPOILERS)
def test_a_spoiled_index_is_refused(tmp_path: Path, name: str) -> None:
    spoil, message = SPOILERS[name]
    build_annoy(CLIPS, tmp_path / "index.ann", N_TREES, seed=1)
    spoil(tmp_path / "index.ann")
    verified, opened = open_elsewhere(tmp_path)
    assert opened != "opened"
    assert str(tmp_path) not in opened
    assert verified != "opened" or name in ("fewer trees", "a node too many")  # sound, only not the manifest's
    with pytest.raises(BadModelDir, match=message):
        verify_annoy(tmp_path / "index.ann", CLIPS, N_TREES)


@pytest.mark.parametrize(("n_trees", "search_k"), [(3, 100), (N_TREES, 0), (N_TREES, 2**31)])
def test_a_manifest_that_does_not_fit_the_index(tmp_path: Path, n_trees: int, search_k: int) -> None:
    build_annoy(CLIPS, tmp_path / "index.ann", N_TREES, seed=1)
    got = (
        f"got search_k {search_k}, expected 1 to"
        if n_trees == N_TREES
        else "got 4 whole trees over 300 clips, expected 3"
    )
    assert got in open_elsewhere(tmp_path, n_trees, search_k)[1]


FUZZ = """
import sys
from pathlib import Path
import numpy as np
from audiorec.errors import BadModelDir
from audiorec.index.annoy import AnnoyEngine

path, embeddings = Path(sys.argv[1]), np.load(sys.argv[2])
sound, rng = path.read_bytes(), np.random.default_rng(0)
n_opened = 0
for _ in range(300):
    spoiled = np.frombuffer(sound, np.uint8).copy()
    first = len(embeddings) * 4 * (embeddings.shape[1] + 3)
    spoiled[rng.integers(first, len(spoiled), rng.integers(1, 4))] = rng.integers(0, 256)
    path.unlink()
    path.write_bytes(spoiled.tobytes())
    try:
        engine = AnnoyEngine.open(path, embeddings, int(sys.argv[3]), 1000)
    except BadModelDir:
        continue
    n_opened += 1
    engine.search(embeddings, 10)
print(n_opened)
"""


def test_no_flipped_byte_crashes(tmp_path: Path) -> None:
    """What still opens, with another hyperplane or clip in a leaf, is for the manifest's hash to tell."""
    np.save(tmp_path / "embeddings.npy", CLIPS)
    build_annoy(CLIPS, tmp_path / "index.ann", N_TREES, seed=1)
    arguments = [tmp_path / "index.ann", tmp_path / "embeddings.npy", N_TREES]
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 0 < int(done.stdout) < 300


def test_a_large_index_is_sampled(tmp_path: Path) -> None:
    path = tmp_path / "index.ann"
    build_annoy(CLIPS, path, N_TREES, seed=1)
    with patch.object(annoy_file, "WALKED_BYTES", 0), patch.object(annoy_file, "SAMPLED_NODES", 8):
        verify_annoy(path, CLIPS, N_TREES, quick=True)
        for name in ("another order", "garbage between clips and roots", "a root beyond"):
            SPOILERS[name][0](path)
            with pytest.raises(BadModelDir, match=SPOILERS[name][1]):
                verify_annoy(path, CLIPS, N_TREES, quick=True)
            build_annoy(CLIPS, path, N_TREES, seed=1)


def test_answers_that_contradict_the_embeddings(tmp_path: Path) -> None:
    path = tmp_path / "index.ann"
    build_annoy(np.roll(CLIPS, 1, axis=0), path, N_TREES, seed=1)
    with patch.object(annoy, "verify_annoy"), pytest.raises(BadModelDir, match=r"got a squared distance of .*expected"):
        AnnoyEngine.open(path, CLIPS, N_TREES, EVERYTHING)
