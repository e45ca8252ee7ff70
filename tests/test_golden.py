"""Releases of every format that there has been still open and answer as they did."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiorec.index import ENGINES, open_engine
from audiorec.nearest import Nearest
from audiorec.release import EMBEDDINGS_FILE, INDEX_FILE, open_release

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


@pytest.fixture(params=FORMATS)
def model_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    copied = tmp_path / "model"
    shutil.copytree(GOLDEN / request.param, copied, symlinks=True)
    return copied


def answers(model_dir: Path) -> Any:
    return json.loads((model_dir / "answers.json").read_text(encoding="utf-8"))


def assert_same(neighbours: Any, expected: list[list[Any]]) -> None:
    assert [neighbour.clip_id for neighbour in neighbours] == [clip_id for clip_id, _ in expected]
    similarities = [neighbour.similarity for neighbour in neighbours]
    np.testing.assert_allclose(similarities, [similarity for _, similarity in expected], atol=1e-3)


def test_every_byte_is_as_it_was(model_dir: Path) -> None:
    release = open_release(model_dir, verify=True)
    assert release.manifest.catalogue.n_clips == 42
    assert release.manifest.catalogue.n_refused == 1


@pytest.mark.parametrize("kind", sorted(ENGINES))
def test_every_engine_opens_it(model_dir: Path, kind: str) -> None:
    release = model_dir / "current"
    embeddings = np.load(release / EMBEDDINGS_FILE)
    engine = open_engine(kind, release / INDEX_FILE, embeddings, n_trees=4, search_k=1_000)
    hits = engine.search(embeddings, 1)
    assert hits.rows[:, 0].tolist() == list(range(len(embeddings)))


def test_neighbours_of_its_clips(model_dir: Path) -> None:
    nearest = Nearest(model_dir)
    for clip_id, expected in answers(model_dir)["by_clip_id"].items():
        assert_same(nearest.search_id(clip_id, k=5), expected)


def test_a_sound_has_the_vector_it_had(model_dir: Path, tmp_path: Path) -> None:
    time_s = np.arange(3 * 16_000) / 16_000
    sweep = (0.5 * np.sin(2 * np.pi * (200 + 150 * time_s) * time_s)).astype(np.float32)
    soundfile.write(tmp_path / "sweep.wav", sweep, 16_000, subtype="PCM_16")
    nearest = Nearest(model_dir)
    expected = answers(model_dir)["by_sound"]
    vector = nearest.embed_file(tmp_path / "sweep.wav").vector
    assert vector @ np.array(expected["embedding"]) > 1 - 1e-4
    assert_same(nearest.search(vector, k=5), expected["nearest"])
