"""Retrieval figures worked out by hand on a few points of a circle, and measured again on an open release."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from api_fixtures import N_CLIPS, Catalogue
from model_dirs import copied, edit_manifest, unit_rows
from typer.testing import CliRunner

from audiorec import evaluate as evaluate_module
from audiorec.build import build
from audiorec.cli import app
from audiorec.evaluate import Scores, Truth, evaluate, ranks_of
from audiorec.metadata import Metadata, write_metadata
from audiorec.release import open_release
from audiorec.remeasure import measure_index, remeasure

Vectors = npt.NDArray[np.float32]


def at_degrees(*angles: float) -> Vectors:
    """Unit vectors on a circle: the nearer in angle, the nearer."""
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def scored(
    angles: Sequence[float],
    labels: Iterable[str],
    *,
    groups: Sequence[str] | None = None,
    artists: Sequence[str] | None = None,
) -> Scores:
    rows = [{"label": label} for label in labels]
    for name, values in (("group", groups), ("artist", artists)):
        for row, value in zip(rows, values or [""] * len(rows), strict=True):
            row[name] = value
    return evaluate(at_degrees(*angles), Truth.of(rows))


def test_precision_and_average_precision_by_hand() -> None:
    scores = scored([0, 1, 3, 7, 20, 50], "aababb")
    # The others of each clip, nearest first, and whether they share its label:
    #  0 a:   1a  3b  7a 20b 50b   1 0 1 0 0   AP (1/1 + 2/3) / 2       = 0.8333
    #  1 a:   0a  3b  7a 20b 50b   1 0 1 0 0                              0.8333
    #  3 b:   1a  0a  7a 20b 50b   0 0 0 1 1   AP (1/4 + 2/5) / 2       = 0.3250
    #  7 a:   3b  1a  0a 20b 50b   0 1 1 0 0   AP (1/2 + 2/3) / 2       = 0.5833
    # 20 b:   7a  3b  1a  0a 50b   0 1 0 0 1   AP (1/2 + 2/5) / 2       = 0.4500
    # 50 b:  20b  7a  3b  1a  0a   1 0 1 0 0                              0.8333
    assert scores.n_queries == 6
    assert scores.precision == {"1": 0.5, "5": 0.4, "10": 0.4}
    assert scores.mean_average_precision == pytest.approx((3 * 5 / 6 + 0.325 + 7 / 12 + 0.45) / 6, abs=1e-4)
    assert scores.chance == 0.4
    assert scores.per_label == {
        "a": {"n_queries": 3, "p5": 0.4, "map": pytest.approx((2 * 5 / 6 + 7 / 12) / 3, abs=1e-4)},
        "b": {"n_queries": 3, "p5": 0.4, "map": pytest.approx((0.325 + 0.45 + 5 / 6) / 3, abs=1e-4)},
    }


def test_precision_at_a_depth_that_is_there() -> None:
    angles = [i + 0.01 * i * i for i in range(12)]
    scores = scored(angles, "aaaaaabbbbbb")
    first_ten = [[abs(angles[j] - angles[i]) for j in range(12)] for i in range(12)]
    hits = [
        [("aaaaaabbbbbb"[j] == "aaaaaabbbbbb"[i]) for j in sorted(range(12), key=row.__getitem__) if j != i]
        for i, row in enumerate(first_ten)
    ]
    for depth in (1, 5, 10):
        expected = np.mean([np.mean(row[:depth]) for row in hits])
        assert scores.precision[str(depth)] == pytest.approx(expected, abs=1e-4)


def test_a_clips_own_group_does_not_count() -> None:
    # Without groups every nearest neighbour is of the same recording, and a hit. With them the nearest that counts is
    # the other recording beside it, of the other label.
    angles, labels, groups = [0, 1, 4, 5, 50, 51, 54, 55], "aabbaabb", "ppqqrrss"
    assert scored(angles, labels).precision["1"] == 1.0
    apart = scored(angles, labels, groups=groups)
    assert apart.precision["1"] == 0.0
    assert apart.n_queries == 8
    assert apart.chance == pytest.approx(2 / 6, abs=1e-4)


def test_a_clips_own_artist_does_not_count() -> None:
    angles, labels, artists = [0, 1, 4, 5, 50, 51, 54, 55], "aabbaabb", "ppqqrrss"
    assert scored(angles, labels, artists=artists) == scored(angles, labels, groups=artists)
    assert scored(angles, labels, artists=[""] * 8) == scored(angles, labels)


@pytest.mark.parametrize(("n_by_one", "counts"), [(4, False), (5, True)])
def test_an_artist_of_more_than_half_the_clips_is_not_left_out(n_by_one: int, counts: bool) -> None:
    """One person's recordings, or a library: left out, nothing would be there to be found."""
    artists = ["me"] * n_by_one + ["you", "her", "him", "us"][: 8 - n_by_one]
    angles, labels = [0, 1, 2, 3, 40, 50, 60, 70], "aabbaabb"
    scores = scored(angles, labels, artists=artists)
    assert (scores == scored(angles, labels)) is counts


def test_the_own_group_is_left_out_whatever_its_share() -> None:
    assert scored([0, 1, 2, 50], "aaaa", groups="gggh").n_queries == 4
    assert scored([0, 1, 2], "aaa", groups="ggg").n_queries == 0


def test_one_label_in_common_is_enough() -> None:
    scores = scored([0, 2, 5, 9], ["dog;cat", "cat", "dog", "cat;bird"])
    #  0 dog cat:  2 5 9    1 1 1            2 cat:       0 5 9    1 0 1
    #  5 dog:      2 9 0    0 0 1            9 cat bird:  5 2 0    0 1 1
    assert scores.n_queries == 4
    assert scores.precision["1"] == 0.5
    assert scores.mean_average_precision == pytest.approx((1 + 5 / 6 + 1 / 3 + 7 / 12) / 4, abs=1e-4)
    n_queries = {label: figures["n_queries"] for label, figures in scores.per_label.items()}
    assert n_queries == {"bird": 1, "cat": 3, "dog": 2}


def test_a_label_said_twice_is_one() -> None:
    assert scored([0, 2, 5], ["a;a", "a", "b"]) == scored([0, 2, 5], ["a", "a", "b"])
    assert scored([0, 2, 5], [";a;", "a", "b"]) == scored([0, 2, 5], ["a", "a", "b"])


def test_clips_without_a_label_neither_ask_nor_answer() -> None:
    labelled = scored([0, 5, 30, 33], "aabb")
    among_others = scored([0, 5, 30, 33, 1, 2, 31, 32], [*"aabb", "", "", "", ""])
    assert among_others.precision == labelled.precision
    assert among_others.per_label == labelled.per_label
    assert among_others.chance == labelled.chance


@pytest.mark.parametrize("labels", [[""] * 12, list("abcdefghijkl"), ["a"] + [""] * 11])
def test_without_a_label_that_two_share_there_is_hubness_alone(labels: list[str]) -> None:
    scores = scored([i * i for i in range(12)], labels)
    assert (scores.n_queries, scores.mean_average_precision, scores.chance, scores.per_label) == (0, 0, 0, {})
    assert scores.precision == {"1": 0, "5": 0, "10": 0}
    assert scores.hubness != 0


def test_a_label_that_all_clips_have_tells_nothing() -> None:
    assert (scored([0, 5, 30], "aaa").n_queries, scored([0, 5, 30], "aaa").n_telling) == (3, 0)
    assert scored([0, 5, 30, 60], "aabb").n_telling == 4


@pytest.mark.parametrize("n", [1, 2])
def test_a_catalogue_of_hardly_anything_has_figures(n: int) -> None:
    scores = scored([0, 30][:n], "aa"[:n])
    assert scores.n_queries == (0 if n == 1 else 2)
    assert scores.hubness == 0
    json.dumps(scores.to_json(), allow_nan=False)


@pytest.mark.parametrize("seed", range(3))
def test_hubness_is_the_skewness_of_occurrences(seed: int) -> None:
    vectors = unit_rows(60, 6, seed)
    counts = [0] * 60
    for row in range(60):
        cosines = vectors.astype(np.float64) @ vectors[row].astype(np.float64)
        for neighbour in [other for other in np.argsort(-cosines).tolist() if other != row][:10]:
            counts[neighbour] += 1
    moments = [sum((count - 10) ** power for count in counts) / 60 for power in (2, 3)]
    expected = moments[1] / moments[0] ** 1.5
    assert abs(expected) > 0.05
    got = evaluate(vectors, Truth.of([{}] * 60)).hubness
    assert got == pytest.approx(expected, abs=1e-4)


def test_a_hub_is_seen() -> None:
    """A clip in the middle of all others, which are far from one another."""
    n = 40
    spread = np.eye(n, dtype=np.float32)
    hub = np.full((1, n), n**-0.5, np.float32)
    spread[:, 0] += 0.1  # so that who is next is the same few for everybody
    assert evaluate(np.concatenate([hub, spread]), Truth.of([{}] * (n + 1))).hubness > 1
    ring = at_degrees(*(9 * i for i in range(n)))
    assert abs(evaluate(ring, Truth.of([{}] * n)).hubness) < 0.5


def by_sorting(hits: Sequence[bool], similarities: Vectors) -> list[int]:
    """The ranks of hits by the book: all are ordered, the first of equals first."""
    order = sorted(range(len(hits)), key=lambda row: (-similarities[row], row))
    return [rank for rank, row in enumerate(order, start=1) if hits[row]]


@pytest.mark.parametrize("seed", range(20))
def test_ranks_are_those_of_sorting_everything(seed: int) -> None:
    """With similarities of few values, as copies of a sound have."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    similarities = rng.integers(-3, 4, n).astype(np.float32) / 3
    hits = rng.random(n) < 0.4
    assert ranks_of(hits, similarities).tolist() == by_sorting(hits.tolist(), similarities)


def test_queries_of_a_large_catalogue_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"label": "ab"[i % 2]} for i in range(50)]
    monkeypatch.setattr(evaluate_module, "MAX_QUERIES", 10)
    assert evaluate(unit_rows(50, 4), Truth.of(rows)).n_queries == 10


def test_measuring_again_gives_what_the_build_found(catalogue: Catalogue) -> None:
    release = open_release(catalogue.model_dir)
    evaluation, index = remeasure(catalogue.model_dir)
    assert evaluation == release.manifest.evaluation
    assert evaluation.encoder.n_queries > 20
    assert index["kind"] == release.engine.kind
    assert (index["n_queries"], index["recall_at_10"]) == (N_CLIPS, 1.0)
    assert index["us_per_query"] > 0 < index["exact_us_per_query"]


def test_the_index_is_measured_whatever_answers(catalogue: Catalogue, tmp_path: Path) -> None:
    release_dir = copied((catalogue.model_dir / "current").resolve(), tmp_path / "release")
    edit_manifest(release_dir, {"index.kind": "annoy"})
    measured = measure_index(open_release(release_dir))
    assert measured["kind"] == "annoy"
    assert 0.9 < measured["recall_at_10"] <= 1


def test_labels_and_artists_and_groups_of_a_catalogue(tmp_path: Path) -> None:
    """Read from the release or from rows of text, the truth is the same, numbers for groups and none at all as well."""
    cells = [("a;b", "", "1"), ("b", "Ada", "1"), ("", "Ada", "2"), ("c", "Bo", "")]
    rows = [
        {"clip_id": f"{i}", "label": label, "artist": artist, "group": group}
        for i, (label, artist, group) in enumerate(cells)
    ]
    write_metadata(tmp_path, rows, ["group"])
    truth = Truth.of_catalogue(Metadata.open(tmp_path), np.array([0, 1, 3]))
    expected = Truth.of([rows[0], rows[1], rows[3]])
    assert truth.labels == expected.labels == [("a", "b"), ("b",), ("c",)]
    assert [[own.tolist() for own in of_clip] for of_clip in truth.own] == [[[0, 1], []], [[0, 1], [1]], [[], [2]]]
    assert [[own.tolist() for own in of_clip] for of_clip in expected.own] == [[[0, 1], []], [[0, 1], [1]], [[], [2]]]


def test_a_sample_stays_nearly_the_same_when_the_catalogue_does(tmp_path: Path) -> None:
    ids = [f"clips/{i}.wav" for i in range(500)]
    samples = []
    for name, some in (("before", ids), ("after", [*ids[:100], *ids[110:], "new.wav"])):
        (tmp_path / name).mkdir()
        write_metadata(tmp_path / name, [{"clip_id": clip_id} for clip_id in some])
        metadata = Metadata.open(tmp_path / name)
        rows = metadata.sample(100)
        assert len(rows) == 100
        assert (np.diff(rows) > 0).all()
        samples.append({metadata.clip_id(row) for row in rows.tolist()})
        assert metadata.sample(1000).tolist() == list(range(len(some)))
    assert 85 <= len(samples[0] & samples[1]) < 100
    assert len({clip_id for clip_id in samples[0] if int(clip_id[6:-4]) < 250}) in range(30, 71)


def test_mfcc_finds_animals(shared: Path, tmp_path: Path) -> None:
    """Every second one, for time's sake. With all of them P@5 is 0.67."""
    if not (shared / "animals").is_dir():
        pytest.skip(f"no animals in {shared}")
    header, *lines = (shared / "animals" / "labels.csv").read_text().splitlines()
    for line in lines[::2]:
        clip = tmp_path / "animals" / line.split(",")[0]
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.symlink_to(shared / "animals" / line.split(",")[0])
    (tmp_path / "animals" / "labels.csv").write_text("\n".join([header, *lines[::2]]))
    evaluation = build(tmp_path / "animals", tmp_path / "model", encoder="MFCC", baselines=False).manifest.evaluation
    assert evaluation.n_clips > 400
    assert 0.60 < evaluation.encoder.precision["5"] < 0.75
    assert evaluation.encoder.chance < 0.2
    again = CliRunner().invoke(app, ["evaluate", str(tmp_path / "model"), "--json"])
    figures: dict[str, Any] = json.loads(again.stdout)
    assert figures["encoder"]["precision"] == evaluation.encoder.precision
    assert figures["index"]["recall_at_10"] >= 0.98
