"""Two releases of one catalogue held against each other: agreement, retrieval, what is not compared, bad input."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_dirs import change_metadata, copied, vouch_for
from typer.testing import CliRunner

from audiorec import compare as module
from audiorec.cli import app
from audiorec.compare import Comparison, compare, read_queries
from audiorec.errors import BadCatalogue, BadModelDir, BadQuery
from audiorec.evaluate import Truth, evaluate
from audiorec.publishing.edit import remove
from audiorec.release import Release, open_release
from audiorec.testing import make_release

N_CLIPS = 90
K = 5


@pytest.fixture(scope="module")
def one_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("one") / "model"
    make_release(model_dir, N_CLIPS, dim=16)
    return model_dir


@pytest.fixture(scope="module")
def other_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clips, by another encoder."""
    model_dir = tmp_path_factory.mktemp("other") / "model"
    make_release(model_dir, N_CLIPS, dim=8, seed=1)
    return model_dir


def ids_of(release: Release) -> list[str]:
    return [str(clip_id) for clip_id in release.metadata.column("clip_id").take(np.arange(len(release.metadata)))]


def nearest(release: Release, clip_id: str, among: set[str]) -> list[str]:
    """By hand: the K ids of `among` nearest to a clip, itself left out."""
    similarity = release.embeddings @ release.embeddings[release.metadata.row_of(clip_id)]
    ids = ids_of(release)
    ranked = [ids[row] for row in np.argsort(-similarity, kind="stable")]
    return [one for one in ranked if one in among - {clip_id}][:K]


def write_csv(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_agreement_is_what_one_would_count(one_dir: Path, other_dir: Path) -> None:
    one, other = open_release(one_dir), open_release(other_dir)
    every = set(ids_of(one))
    pairs = [(set(nearest(one, i, every)), set(nearest(other, i, every))) for i in sorted(every)]
    compared = compare(one_dir, other_dir, k=K)
    assert (compared.n_shared, compared.n_queries, compared.k) == (N_CLIPS, N_CLIPS, K)
    assert compared.overlap == pytest.approx(np.mean([len(a & b) / K for a, b in pairs]), abs=1e-4)
    assert compared.jaccard == pytest.approx(np.mean([len(a & b) / len(a | b) for a, b in pairs]), abs=1e-4)
    assert compared.chance == pytest.approx(K / (N_CLIPS - 1), abs=1e-4)
    assert 0 < compared.overlap < 0.6
    assert (compared.a.dim, compared.b.dim) == (16, 8)


def test_those_that_differ_most_come_with_the_neighbours_of_both(one_dir: Path, other_dir: Path) -> None:
    one, other = open_release(one_dir), open_release(other_dir)
    every = set(ids_of(one))
    compared = compare(one_dir, other_dir, k=K)
    assert len(compared.most_differing) == 5
    overlaps = [differing.overlap for differing in compared.most_differing]
    assert overlaps == sorted(overlaps)
    for differing in compared.most_differing:
        assert differing.a == nearest(one, differing.clip_id, every)
        assert differing.b == nearest(other, differing.clip_id, every)
        assert differing.overlap == len(set(differing.a) & set(differing.b)) / K


def test_a_release_agrees_with_itself(one_dir: Path) -> None:
    compared = compare(one_dir, one_dir)
    assert (compared.overlap, compared.jaccard, compared.same_nearest) == (1.0, 1.0, 1.0)
    assert compared.most_differing == []
    assert compared.a.scores == compared.b.scores


def test_retrieval_is_that_of_evaluate_on_the_same_clips(one_dir: Path, other_dir: Path) -> None:
    compared = compare(one_dir, other_dir)
    for side, model_dir in ((compared.a, one_dir), (compared.b, other_dir)):
        release = open_release(model_dir)
        rows = np.array([release.metadata.row_of(i) for i in sorted(ids_of(release))])
        assert side.scores == evaluate(release.embeddings[rows], Truth.of_catalogue(release.metadata, rows))
        assert side.scores.n_queries > 0


def test_clips_that_one_lacks_are_counted_and_not_compared(one_dir: Path, other_dir: Path, tmp_path: Path) -> None:
    ids = sorted(ids_of(open_release(one_dir)))
    smaller = copied(other_dir, tmp_path / "model")
    remove(smaller, ids[:20])
    compared = compare(one_dir, smaller, k=K)
    assert (compared.n_shared, compared.a.n_only, compared.b.n_only) == (N_CLIPS - 20, 20, 0)
    shared = set(ids[20:])
    differing = compared.most_differing[0]
    assert differing.a == nearest(open_release(one_dir), differing.clip_id, shared)
    assert compared.a.scores.n_queries == compared.b.scores.n_queries <= N_CLIPS - 20


def test_an_id_that_is_another_sound_is_another_clip(one_dir: Path, other_dir: Path, tmp_path: Path) -> None:
    changed = copied(other_dir, tmp_path / "model")
    release_dir = open_release(changed).directory
    change_metadata(release_dir, {3: {"sha256": "f" * 64}, 4: {"sha256": "e" * 64}})
    vouch_for(release_dir)
    compared = compare(one_dir, changed)
    assert (compared.n_shared, compared.n_changed, compared.a.n_only) == (N_CLIPS - 2, 2, 2)


def test_k_is_cut_to_what_there_is(one_dir: Path, other_dir: Path, tmp_path: Path) -> None:
    ids = sorted(ids_of(open_release(one_dir)))
    tiny = copied(other_dir, tmp_path / "model")
    remove(tiny, ids[3:])
    compared = compare(one_dir, tiny, k=10)
    assert (compared.k, compared.n_shared, compared.overlap, compared.chance) == (2, 3, 1.0, 1.0)


def test_copies_of_a_clip_do_not_crowd_it_out(tmp_path: Path) -> None:
    vectors = np.repeat(np.eye(2, dtype=np.float32), [6, 2], axis=0)
    found = module._neighbours(vectors, np.array([0, 5, 7]), 3)
    assert found[:2].tolist() == [[1, 2, 3], [0, 1, 2]]
    assert found[2].tolist() == [6, 0, 1]


def test_a_large_catalogue_is_sampled_in_batches(
    one_dir: Path, other_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compare(one_dir, other_dir)
    monkeypatch.setattr(module, "BATCH_QUERIES", 7)
    assert compare(one_dir, other_dir) == whole
    monkeypatch.setattr(module, "MAX_QUERIES", 20)
    monkeypatch.setattr(module, "MAX_CLIPS", 60)
    sampled = compare(one_dir, other_dir)
    assert sampled.n_queries == 20
    assert abs(sampled.overlap - whole.overlap) < 0.15
    assert sampled.a.scores.n_queries <= 60
    assert compare(one_dir, other_dir) == sampled


class TestQueries:
    def test_only_they_are_asked_for_with_their_labels(self, one_dir: Path, other_dir: Path, tmp_path: Path) -> None:
        release = open_release(one_dir)
        ids = sorted(ids_of(release))[:8]
        table = write_csv(tmp_path / "q.csv", "path,label", *(f"{i},mine" for i in ids), "gone.wav,mine")
        compared = compare(one_dir, other_dir, queries_path=table, k=K)
        assert (compared.n_queries, compared.n_unknown) == (8, 1)
        assert {one.clip_id for one in compared.most_differing} <= set(ids)
        assert set(compared.a.scores.per_label) == {"mine"}
        assert compared.a.scores.n_queries == 8

    def test_labels_of_the_release_stand_where_the_table_has_none(
        self, one_dir: Path, other_dir: Path, tmp_path: Path
    ) -> None:
        release = open_release(one_dir)
        every = sorted(ids_of(release))
        table = write_csv(tmp_path / "q.csv", "clip_id", *every)
        assert compare(one_dir, other_dir, queries_path=table) == compare(one_dir, other_dir)

    def test_a_query_is_answered_from_a_catalogue_that_is_sampled(
        self, one_dir: Path, other_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_CLIPS", 30)
        ids = sorted(ids_of(open_release(one_dir)))[-6:]
        table = write_csv(tmp_path / "q.csv", "clip_id,label", *(f"{i},mine" for i in ids))
        assert compare(one_dir, other_dir, queries_path=table).a.scores.n_queries == 6

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"name,label\na.wav,dog\n", "with the columns name, label, expected one named clip_id or path"),
            (b"", r"with the columns \(none\)"),
            (b"path,label\n", "without a row"),
            (b"path,label\n ,dog\n", "without a row"),
            (b"path\n\xff\xfe\n", "not UTF-8 CSV"),
            (b'path\n"a\n', "not UTF-8 CSV"),
            (b"path,label\nnowhere.wav,dog\n", "got 1 queries in .*none of which is a clip of both"),
        ],
    )
    def test_tables_that_cannot_be_used(
        self, content: bytes, message: str, one_dir: Path, other_dir: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "q.csv").write_bytes(content)
        with pytest.raises(BadCatalogue, match=message):
            compare(one_dir, other_dir, queries_path=tmp_path / "q.csv")

    def test_a_table_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(BadCatalogue, match=r"got q\.csv, which cannot be read"):
            read_queries(tmp_path / "q.csv")


def test_nothing_in_common(one_dir: Path, tmp_path: Path) -> None:
    make_release(tmp_path / "model", 12, dim=8)
    with pytest.raises(BadCatalogue, match="got 90 and 12 clips with 0 in common"):
        compare(one_dir, tmp_path / "model")


@pytest.mark.parametrize("k", [0, -1])
def test_a_k_that_makes_no_sense(k: int, one_dir: Path, other_dir: Path) -> None:
    with pytest.raises(BadQuery, match=f"got k = {k}"):
        compare(one_dir, other_dir, k=k)


@pytest.mark.parametrize(
    "damage", [shutil.rmtree, lambda path: (path / "manifest.json").write_text("{")], ids=["gone", "damaged"]
)
def test_a_release_that_cannot_be_opened(
    damage: Callable[[Path], Any], one_dir: Path, other_dir: Path, tmp_path: Path
) -> None:
    broken = copied(other_dir, tmp_path / "model") / "versions" / "0001"
    damage(broken)
    with pytest.raises(BadModelDir):
        compare(one_dir, broken)


class TestCommandLine:
    def invoke(self, *arguments: object) -> Any:
        return CliRunner().invoke(app, ["compare", *map(str, arguments)])

    def test_it_says_who_is_better_and_where_they_differ(self, one_dir: Path, other_dir: Path) -> None:
        done = self.invoke(one_dir, other_dir, "-k", K)
        compared: Comparison = compare(one_dir, other_dir, k=K)
        assert done.exit_code == 0, done.output
        assert f"{compared.overlap:.1%} of the {K} nearest are the same" in done.output
        assert "B - A" in done.output
        assert compared.most_differing[0].clip_id in done.output
        assert f"mean Jaccard {compared.jaccard:.3f}" in done.output

    def test_json(self, one_dir: Path, other_dir: Path) -> None:
        done = self.invoke(one_dir, other_dir, "--json")
        assert json.loads(done.output) == json.loads(json.dumps(compare(one_dir, other_dir).to_json()))

    def test_releases_without_labels_say_how_to_give_some(self, one_dir: Path, tmp_path: Path) -> None:
        bare = copied(one_dir, tmp_path / "model")
        release_dir = open_release(bare).directory
        change_metadata(release_dir, {row: {"label": ""} for row in range(N_CLIPS)})
        vouch_for(release_dir)
        done = self.invoke(bare, bare)
        assert done.exit_code == 0
        assert "no retrieval figures" in done.output
        assert "--queries names a table with labels" in done.output

    def test_an_error_is_one_line_and_its_exit_code(self, one_dir: Path, tmp_path: Path) -> None:
        done = self.invoke(one_dir, tmp_path / "nowhere")
        assert (done.exit_code, done.output.count("\n")) == (5, 1)
