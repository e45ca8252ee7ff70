"""The files for TensorBoard's projector: what it shows of each clip is the clip's own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from api_fixtures import N_CLIPS, Catalogue
from model_dirs import unit_rows

from audiorec.files.tsv import read_tsv
from audiorec.metadata import write_metadata
from audiorec.release import open_release, projector
from audiorec.release.projector import CONFIG_FILE, SAMPLE_FILE, TENSORS_FILE, revise_projector, write_projector

N = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Metadata of N clips, some of it hard to keep on one line."""
    titles = ["tab\tin it", "two\nlines", "back\\slash", "🎧", ""]
    rows = [{"clip_id": f"{i}.wav", "title": titles[i % len(titles)], "label": "ab"[i % 2]} for i in range(N)]
    write_metadata(tmp_path, rows, [])
    return tmp_path


def config_of(folder: Path) -> dict[str, str]:
    """The fields of the one entry in the configuration, read as TensorBoard does where it is installed."""
    text = (folder / CONFIG_FILE).read_text(encoding="utf-8")
    first, *fields, last = text.splitlines()
    assert (first, last) == ("embeddings {", "}")
    return {name.strip(): value.strip().strip('"') for name, value in (field.split(":", 1) for field in fields)}


def shown(folder: Path, metadata_file: str) -> list[dict[str, str]]:
    """As the projector reads it: lines split at line ends, cells at tabs, the first line names the columns."""
    header, *lines = [line.split("\t") for line in (folder / metadata_file).read_text("utf-8").split("\n")[:-1]]
    assert {len(line) for line in lines} == {len(header)}
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_every_clip_has_its_point(folder: Path) -> None:
    vectors = unit_rows(N, 5)
    write_projector(folder, vectors)
    assert config_of(folder) == {"tensor_name": "clips", "tensor_path": TENSORS_FILE, "metadata_path": "metadata.tsv"}
    np.testing.assert_allclose(np.loadtxt(folder / TENSORS_FILE, delimiter="\t"), vectors, atol=1e-5)
    assert [row["clip_id"] for row in shown(folder, "metadata.tsv")] == [f"{i}.wav" for i in range(N)]
    assert not (folder / SAMPLE_FILE).exists()


@pytest.mark.parametrize("max_clips", [1, 7, N - 1])
def test_of_many_clips_a_sample_is_shown(folder: Path, monkeypatch: pytest.MonkeyPatch, max_clips: int) -> None:
    monkeypatch.setattr(projector, "MAX_CLIPS", max_clips)
    vectors = unit_rows(N, 5)
    write_projector(folder, vectors, seed=3)
    assert config_of(folder)["metadata_path"] == SAMPLE_FILE
    points = np.loadtxt(folder / TENSORS_FILE, delimiter="\t", ndmin=2)
    rows = list(read_tsv(folder / SAMPLE_FILE))
    assert len(points) == len(rows) == len(shown(folder, SAMPLE_FILE)) == max_clips
    everything = list(read_tsv(folder / "metadata.tsv"))
    numbers = [int(row["clip_id"].removesuffix(".wav")) for row in rows]
    assert numbers == sorted(set(numbers))
    assert rows == [everything[number] for number in numbers]
    np.testing.assert_allclose(points, vectors[numbers], atol=1e-5)
    before = (folder / TENSORS_FILE).read_bytes()
    write_projector(folder, vectors, seed=3)
    assert (folder / TENSORS_FILE).read_bytes() == before


def revised(folder: Path, tmp_path: Path, gone: Sequence[str], n: int) -> Path:
    """The projector's files of a release of n clips made from that in `folder`."""
    target = tmp_path / "revised"
    target.mkdir()
    write_metadata(target, [{"clip_id": f"{i}.wav"} for i in range(n)], [])
    revise_projector(target, folder, unit_rows(n, 5, seed=1), gone)
    return target


def test_the_sample_stays_when_clips_are_added(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "MAX_CLIPS", 10)
    write_projector(folder, unit_rows(N, 5))
    target = revised(folder, tmp_path, [], N + 3)
    for name in (TENSORS_FILE, SAMPLE_FILE, CONFIG_FILE):
        assert (target / name).samefile(folder / name)


def test_a_clip_that_is_gone_is_not_in_the_sample(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "MAX_CLIPS", 10)
    write_projector(folder, unit_rows(N, 5))
    before = list(read_tsv(folder / SAMPLE_FILE))
    points = (folder / TENSORS_FILE).read_text().splitlines()
    gone = [before[0]["clip_id"], before[4]["clip_id"], "no such clip"]
    target = revised(folder, tmp_path, gone, N - 2)
    left = [number for number in range(10) if number not in (0, 4)]
    assert list(read_tsv(target / SAMPLE_FILE)) == [before[number] for number in left]
    assert (target / TENSORS_FILE).read_text().splitlines() == [points[number] for number in left]
    assert config_of(target)["metadata_path"] == SAMPLE_FILE


@pytest.mark.parametrize(("max_before", "max_after", "n_points"), [(N, N + 3, N + 3), (10, N + 3, N + 3), (N, 10, 10)])
def test_all_points_are_written_anew_where_there_is_no_sample_to_keep(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_before: int, max_after: int, n_points: int
) -> None:
    monkeypatch.setattr(projector, "MAX_CLIPS", max_before)
    write_projector(folder, unit_rows(N, 5))
    monkeypatch.setattr(projector, "MAX_CLIPS", max_after)
    target = revised(folder, tmp_path, [], N + 3)
    points = np.loadtxt(target / TENSORS_FILE, delimiter="\t")
    assert len(points) == n_points
    assert len(shown(target, config_of(target)["metadata_path"])) == n_points
    if n_points == N + 3:
        np.testing.assert_allclose(points, unit_rows(N + 3, 5, seed=1), atol=1e-5)


def test_one_clip_is_a_point(tmp_path: Path) -> None:
    write_metadata(tmp_path, [{"clip_id": "only"}], [])
    write_projector(tmp_path, unit_rows(1, 3))
    assert np.loadtxt(tmp_path / TENSORS_FILE, delimiter="\t").shape == (3,)


def test_a_release_has_them(catalogue: Catalogue) -> None:
    release = open_release(catalogue.model_dir)
    points = np.loadtxt(release.directory / TENSORS_FILE, delimiter="\t")
    np.testing.assert_allclose(points, release.embeddings, atol=1e-4)
    assert len(shown(release.directory, config_of(release.directory)["metadata_path"])) == N_CLIPS
    assert {TENSORS_FILE, CONFIG_FILE} <= release.manifest.files.keys()


def test_tensorboard_reads_them(catalogue: Catalogue) -> None:
    plugin = pytest.importorskip("tensorboard.plugins.projector.projector_plugin", exc_type=ImportError)
    text_format = pytest.importorskip("google.protobuf.text_format")
    release = open_release(catalogue.model_dir)
    config = plugin.ProjectorConfig()
    text_format.Parse((release.directory / CONFIG_FILE).read_text(), config)
    (entry,) = config.embeddings
    expected: Sequence[str] = ("clips", TENSORS_FILE, "metadata.tsv")
    assert (entry.tensor_name, entry.tensor_path, entry.metadata_path) == expected
    points = plugin._read_tensor_tsv_file(str(release.directory / entry.tensor_path))
    np.testing.assert_allclose(points, release.embeddings, atol=1e-4)
