"""Queries by the library: against brute force, for every option, and what is refused."""

import doctest
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from api_fixtures import N_CLIPS, Catalogue
from model_dirs import copied, edit_manifest, unit_rows
from sounds import encoded, tone

import audiorec
from audiorec import Nearest, embed_file, open_release
from audiorec import nearest as nearest_module
from audiorec.errors import BadAudio, BadModelDir, BadQuery, BadVector, UnknownClip
from audiorec.files.tsv import read_tsv
from audiorec.nearest import Neighbour, distance_of

Row = dict[str, str]


@pytest.fixture(scope="module", params=["exact", "annoy"])
def asked(request: pytest.FixtureRequest, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Nearest:
    """The small release, answered by either engine."""
    release_dir = copied((catalogue.model_dir / "current").resolve(), tmp_path_factory.mktemp("engine") / "release")
    edit_manifest(release_dir, {"index.kind": request.param})
    opened = Nearest(release_dir)
    assert opened.release.engine.kind == request.param
    return opened


def brute_force(
    nearest: Nearest,
    vector: npt.ArrayLike,
    k: int,
    *,
    keep: Callable[[Row], bool] = lambda row: True,
    exclude: Collection[str] = (),
    max_per_artist: int | None = None,
) -> list[tuple[str, float]]:
    """(clip id, cosine) of the k nearest, one clip after the other."""
    rows = list(read_tsv(nearest.release.directory / "metadata.tsv"))
    unit = np.asarray(vector, np.float64) / np.linalg.norm(vector)
    cosines = nearest.release.embeddings.astype(np.float64) @ unit
    found: list[tuple[str, float]] = []
    by_artist: Counter[str] = Counter()
    for number in sorted(range(len(rows)), key=lambda number: -cosines[number]):
        row = rows[number]
        if not keep(row) or row["clip_id"] in exclude:
            continue
        by_artist[row["artist"]] += 1
        if max_per_artist and row["artist"] and by_artist[row["artist"]] > max_per_artist:
            continue
        found.append((row["clip_id"], float(cosines[number])))
    return found[:k]


def assert_found(got: Any, expected: list[tuple[str, float]]) -> None:
    assert [clip.clip_id for clip in got] == [clip_id for clip_id, _ in expected]
    assert [clip.similarity for clip in got] == pytest.approx([cosine for _, cosine in expected], abs=2e-6)
    assert [clip.rank for clip in got] == list(range(1, len(expected) + 1))


FILTERS: dict[str, tuple[dict[str, Any] | None, Callable[[Row], bool]]] = {
    "none": (None, lambda row: True),
    "empty": ({}, lambda row: True),
    "label": ({"label": "dog"}, lambda row: "dog" in row["label"].split(";")),
    "any of": ({"label": ["cat", "hotdog"]}, lambda row: bool({"cat", "hotdog"} & set(row["label"].split(";")))),
    "not": ({"artist": {"not": ["Ada", ""]}}, lambda row: row["artist"] not in ("Ada", "")),
    "range": ({"bpm": {"gte": 70, "lt": 83}}, lambda row: bool(row["bpm"]) and 70 <= int(row["bpm"]) < 83),
    "two": (
        {"mood": "calm", "duration_s": {"gt": 0.5}},
        lambda row: row["mood"] == "calm" and float(row["duration_s"]) > 0.5,
    ),
    "nobody": ({"label": "unicorn"}, lambda row: False),
}


@pytest.mark.parametrize("k", [1, 7, N_CLIPS, 10**9])
@pytest.mark.parametrize("max_per_artist", [None, 1, 3])
@pytest.mark.parametrize("name", FILTERS)
def test_search_is_brute_force(asked: Nearest, name: str, max_per_artist: int | None, k: int) -> None:
    filter, keep = FILTERS[name]
    for vector in unit_rows(3, asked.release.dim, seed=k % 97):
        exclude = [clip_id for clip_id, _ in brute_force(asked, vector, 3)]
        got = asked.search(vector, k, filter=filter, exclude=exclude, max_per_artist=max_per_artist)
        assert_found(got, brute_force(asked, vector, k, keep=keep, exclude=exclude, max_per_artist=max_per_artist))


def test_ten_is_what_is_given_when_nothing_is_said(asked: Nearest) -> None:
    assert len(asked.search(asked.release.embeddings[0])) == len(asked.search_id("100%.wav")) == 10


def test_a_clip_is_left_out_of_its_own_answer(asked: Nearest) -> None:
    for row in range(N_CLIPS):
        clip_id, vector = asked.release.metadata.clip_id(row), asked.release.embeddings[row]
        assert asked.search(vector, 1)[0].clip_id == clip_id
        assert_found(asked.search_id(clip_id, 5), brute_force(asked, vector, 5, exclude=[clip_id]))
    assert len(asked.search_id("100%.wav", N_CLIPS)) == N_CLIPS - 1


def test_by_id_the_options_are_the_same(asked: Nearest) -> None:
    vector = asked.release.embeddings[asked.release.metadata.row_of("100%.wav")]
    got = asked.search_id(
        "100%.wav", 4, filter={"label": {"not": "dog"}}, exclude=["what?.wav?k=3", "nowhere"], max_per_artist=2
    )
    expected = brute_force(
        asked,
        vector,
        4,
        keep=lambda row: "dog" not in row["label"].split(";"),
        exclude=["100%.wav", "what?.wav?k=3"],
        max_per_artist=2,
    )
    assert_found(got, expected)


def test_a_file_is_found_by_its_sound(nearest: Nearest, catalogue: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "query.bin"  # the content counts, not the name
    path.write_bytes(catalogue.sound("100%.wav"))
    first, second = nearest.search_file(path, 2, filter={"label": {"not": "nothing"}})
    assert first.clip_id == "100%.wav"
    assert first.similarity > 1 - 1e-4 > second.similarity
    embedding = nearest.embed_file(path)
    assert embedding.vector @ nearest.release.embeddings[nearest.release.metadata.row_of("100%.wav")] > 1 - 1e-4
    for release in (nearest.release, catalogue.model_dir, str(catalogue.model_dir / "current")):
        assert np.array_equal(embed_file(str(path), release).vector, embedding.vector)


def test_a_file_may_be_as_long_as_a_clip_of_a_build(nearest: Nearest, tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    path.write_bytes(encoded(tone(610), container="FLAC"))
    assert nearest.embed_file(path).duration_s == pytest.approx(610)
    with pytest.raises(BadAudio, match=r"got 610.0 s, expected at most 600 s of sound: .*raise the limit"):
        nearest.search_file(path, max_s=600)


def test_a_sound_that_is_none_is_refused(nearest: Nearest, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound at all")
    with pytest.raises(BadAudio, match="expected"):
        nearest.search_file(tmp_path / "text.wav")
    for name, reason in (("missing.wav", "No such file or directory"), ("", "Is a directory")):
        path = tmp_path / name
        message = re.escape(f"got a file that cannot be read ({reason}): {path}, expected a file of sound")
        with pytest.raises(BadAudio, match=message):
            nearest.search_file(path)
    (tmp_path / "good.wav").write_bytes(encoded(tone(0.2)))
    with pytest.raises(BadModelDir, match="which does not exist, expected a model directory"):
        embed_file(tmp_path / "good.wav", tmp_path / "nowhere")


@pytest.mark.parametrize("scale", [1, 3.7, 1e-300, 1e300, -2])
def test_only_the_direction_of_a_vector_counts(nearest: Nearest, scale: float) -> None:
    vector = nearest.release.embeddings[5].astype(np.float64)
    unit = nearest.unit_vector((vector * scale).tolist())
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, vector * math.copysign(1, scale), atol=1e-6)
    assert nearest.search(vector * scale, 1).similarities[0] == pytest.approx(nearest.search(unit, 1).similarities[0])


def test_any_sequence_of_numbers_is_a_vector(nearest: Nearest) -> None:
    numbers = [(-1) ** i * i for i in range(nearest.release.dim)]
    expected = nearest.unit_vector(numbers)
    vectors: list[npt.ArrayLike] = [tuple(numbers), np.array(numbers), np.array(numbers, np.float16)]
    for vector in [*vectors, np.array(numbers, object)]:
        np.testing.assert_allclose(nearest.unit_vector(vector), expected, atol=1e-6)


def with_one(value: Any) -> Callable[[int], list[Any]]:
    return lambda dim: [0.5] * (dim - 1) + [value]


BAD_VECTORS: dict[str, tuple[Callable[[int], Any], str]] = {
    "none": (lambda dim: [], "got an embedding of 0 numbers, expected 160: make it with this release's encoder"),
    "too few": (lambda dim: [1.0] * (dim - 1), "got an embedding of 159 numbers, expected 160: .*, MeanMel"),
    "too many": (lambda dim: [1.0] * (dim + 1), "got an embedding of 161 numbers, expected 160"),
    "nested": (lambda dim: [[1.0] * dim], r"got an embedding of shape \(1, 160\), expected 160"),
    "a number": (lambda dim: 1.0, r"got an embedding of shape \(\), expected 160"),
    "zeros": (lambda dim: [0] * dim, "got an embedding of zeros, expected one that has a direction"),
    "NaN": (with_one(math.nan), "NaN or infinity in it, expected finite numbers"),
    "infinity": (with_one(-math.inf), "NaN or infinity in it, expected finite numbers"),
    "null": (with_one(None), "expected"),
    "text": (with_one("1.5"), "not a list of numbers, expected 160"),
    "only text": (lambda dim: ["1.5"] * dim, "not a list of numbers, expected 160"),
    "truth": (lambda dim: [True] * dim, "not a list of numbers, expected 160"),
    "huge": (with_one(10**400), "not a list of numbers, expected 160"),
    "ragged": (with_one([1.0]), "not a list of numbers, expected 160"),
    "complex": (with_one(1j), "not a list of numbers, expected 160"),
    "a dict": (lambda dim: {"embedding": [1.0] * dim}, "expected 160"),
    "a string": (lambda dim: "1" * dim, "not a list of numbers, expected 160"),
    "nothing": (lambda dim: None, "expected 160"),
}


@pytest.mark.parametrize("name", BAD_VECTORS)
def test_what_is_no_embedding_is_refused(nearest: Nearest, name: str) -> None:
    make, message = BAD_VECTORS[name]
    with pytest.raises(BadVector, match=message):
        nearest.search(make(nearest.release.dim))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "got k = 0, expected 1 or more"),
        ({"k": -1}, "got k = -1, expected 1 or more"),
        ({"max_per_artist": 0}, "got max_per_artist = 0, expected 1 or more"),
        ({"max_per_artist": -3}, "got max_per_artist = -3, expected 1 or more"),
        ({"filter": {"colour": "red"}}, "'colour'.*label"),
        ({"filter": {"bpm": "fast"}}, "bpm"),
        ({"filter": []}, "as filter, expected an object"),
        ({"filter": "label"}, "as filter, expected an object"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(nearest: Nearest, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadQuery, match=message):
        nearest.search(nearest.release.embeddings[0], **options)
    with pytest.raises(BadQuery, match=message):
        nearest.search_id("100%.wav", **options)


@pytest.mark.parametrize("clip_id", ["nowhere", "", "100%.WAV", "\ud800", "x" * 10_000])
def test_an_unknown_clip_is_refused(nearest: Nearest, clip_id: str) -> None:
    with pytest.raises(UnknownClip, match=f"got the clip id '.*', expected one of the {N_CLIPS} clips"):
        nearest.search_id(clip_id)


def test_an_answer_is_a_sequence(nearest: Nearest) -> None:
    answer = nearest.search(nearest.release.embeddings[3], 6)
    everything = list(answer)
    assert len(answer) == len(everything) == 6
    assert [Neighbour(**known) for known in answer.to_dicts()] == everything
    assert [answer[i] for i in range(6)] == [answer[i - 6] for i in range(6)] == everything
    assert answer[1:4] == everything[1:4]
    assert answer[::-2] == everything[::-2]
    assert answer[-2:] == everything[-2:]
    assert answer[4:4] == answer[10:] == []
    assert [clip.rank for clip in answer[2:4]] == [3, 4]
    assert list(reversed(answer)) == everything[::-1]
    assert everything[2] in answer
    assert answer.index(everything[2]) == 2
    for beyond in (6, -7):
        with pytest.raises(IndexError):
            answer[beyond]


def test_an_empty_answer_is_one(nearest: Nearest) -> None:
    answer = nearest.search(nearest.release.embeddings[3], filter={"label": "unicorn"})
    assert (len(answer), list(answer), answer[:], answer.to_dicts(), bool(answer)) == (0, [], [], [], False)


def test_an_answer_says_what_is_known_of_a_clip(nearest: Nearest, catalogue: Catalogue) -> None:
    by_id = {row["clip_id"]: row for row in catalogue.rows}
    for clip in nearest.search(nearest.release.embeddings[0], N_CLIPS):
        row = by_id[clip.clip_id]
        assert (clip.url, clip.title, clip.artist, clip.label) == tuple(
            row[name] for name in ("url", "title", "artist", "label")
        )
        assert clip.metadata["bpm"] == (int(row["bpm"]) if row["bpm"] else None)
        assert clip.metadata["mood"] == row["mood"]
        assert "clip_id" not in clip.metadata
        assert clip.distance == pytest.approx(math.sqrt(2 - 2 * clip.similarity), abs=1e-3)
        assert not clip.metadata["source"].startswith("/")


@pytest.mark.parametrize(("similarity", "distance"), [(1, 0), (0, math.sqrt(2)), (-1, 2), (0.5, 1), (1.0000001, 0)])
def test_distance_is_annoys(similarity: float, distance: float) -> None:
    assert distance_of(similarity) == pytest.approx(distance)


def test_the_example_runs(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = doctest.DocTestParser().get_examples(Nearest.__doc__ or "")
    assert len(examples) == 2
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "demo").symlink_to(catalogue.model_dir)
    monkeypatch.chdir(tmp_path)
    vector = open_release(catalogue.model_dir).embeddings[0]
    names = {"Nearest": Nearest, "vector": vector}
    for example in examples:
        exec(example.source.replace("bells", "dog"), names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]


def test_the_public_names_are_there() -> None:
    assert audiorec.Nearest is nearest_module.Nearest
    for name in audiorec.__all__:
        assert getattr(audiorec, name)
    with pytest.raises(AttributeError, match="module 'audiorec' has no attribute 'nonsense'"):
        _ = audiorec.nonsense


def test_importing_costs_nothing_and_answering_needs_no_torch(catalogue: Catalogue) -> None:
    script = """
import sys
import audiorec
assert not {"numpy", "pydantic", "torch"} & set(sys.modules), "imported with the package"
nearest = audiorec.Nearest(sys.argv[1])
nearest.search(nearest.release.embeddings[0], filter={"label": "dog"}).to_dicts()
nearest.search_id("100%.wav", max_per_artist=1).to_dicts()
audiorec.open_release(sys.argv[1], verify=True)
assert not {"torch", "transformers", "soundfile"} & set(sys.modules), "imported for an answer"
"""
    done = subprocess.run([sys.executable, "-c", script, str(catalogue.model_dir)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
