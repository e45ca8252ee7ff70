"""Clips for a finished sound: of the release that is current then, and of one release alone."""

import logging
from pathlib import Path
from typing import Any

import pytest
from model_dirs import copied, make_current_anyway
from sounds import noise

from audiorec.generate.prompt import Prompt
from audiorec.generate.sound import Sound, encode_sound
from audiorec.jobs.job import Outcome, Wishes
from audiorec.jobs.recommender import Recommender
from audiorec.nearest import Nearest
from audiorec.release import Release, make_current
from audiorec.release.holds import is_held
from audiorec.testing import make_release

RAIN = Prompt(prompt="rain")
MARKS = {"0001": " of a", "0002": " of b", "0003": " of c"}


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("recommend") / "model"
    for seed, mark in enumerate(MARKS.values()):
        make_release(model_dir, 60, seed=seed, mark=mark)
    return model_dir


@pytest.fixture
def model_dir(releases: Path, tmp_path: Path) -> Path:
    model_dir = copied(releases, tmp_path / "model")
    make_current(model_dir, "0001")
    return model_dir


@pytest.fixture(scope="module")
def wav() -> bytes:
    return encode_sound(Sound(noise(1.0), 16_000))


def shown(recommender: Recommender, wav: bytes, **wishes: Any) -> tuple[str, list[str]]:
    """(the release, the titles)"""
    found = recommender.recommend(wav, RAIN, Wishes(**{"k": 5, **wishes}))
    Outcome(generator={}, is_shared=False, seed=1, took_s={}, **found)
    assert found["recommendations"]["release"] == found["release"]
    return found["release"], [result["title"] for result in found["recommendations"]["results"]]


def are_of(titles: list[str], name: str) -> bool:
    return len(titles) == 5 and all(title.endswith(MARKS[name]) for title in titles)


def test_they_are_of_the_release_that_is_current_when_the_sound_is_done(model_dir: Path, wav: bytes) -> None:
    recommender = Recommender(model_dir)
    for name in ("0001", "0002", "0001"):
        make_current(model_dir, name)
        released, titles = shown(recommender, wav)
        assert released == name
        assert are_of(titles, name)
        assert is_held(model_dir / "versions" / name)


def test_they_are_those_that_the_library_finds(model_dir: Path, wav: bytes, tmp_path: Path) -> None:
    file = tmp_path / "sound.wav"
    file.write_bytes(wav)
    options: dict[str, Any] = {"k": 5, "max_per_artist": 1, "filter": {"year": {"gte": 1980}}}
    truth = Nearest(model_dir).search_file(file, **options).to_dicts()
    assert shown(Recommender(model_dir), wav, **options) == ("0001", [result["title"] for result in truth])


def test_a_release_that_is_refused_leaves_the_one_before(
    model_dir: Path, wav: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    recommender = Recommender(model_dir)
    encoder = model_dir / "versions" / "0002" / "encoder.pt"
    encoder.write_bytes(encoder.read_bytes()[:-10] + bytes(10))
    make_current_anyway(model_dir, "0002")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert shown(recommender, wav)[0] == "0001"
    assert len(caplog.records) == 1, "once is enough"
    make_current(model_dir, "0003")
    assert shown(recommender, wav)[0] == "0003"


def test_a_model_directory_that_goes_leaves_the_release_that_is_open(model_dir: Path, wav: bytes) -> None:
    recommender = Recommender(model_dir)
    (model_dir / "current").unlink()
    assert shown(recommender, wav)[0] == "0001"


def test_a_filter_that_the_release_cannot_read_is_told_beside_the_sound(model_dir: Path, wav: bytes) -> None:
    found = Recommender(model_dir).recommend(wav, RAIN, Wishes(k=5, filter={"colour": "red"}))
    assert found["recommendations"] is None
    assert found["trouble"]["code"] == "bad_query"
    assert "colour" in found["trouble"]["message"]
    assert (found["duration_s"], found["sample_rate_hz"], found["n_channels"]) == (1.0, 16_000, 1)


def test_with_a_text_encoder_also_by_the_words_and_which_agree(
    model_dir: Path, wav: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = Recommender(model_dir)
    by_sound = recommender.recommend(wav, RAIN, Wishes(k=5))["recommendations"]
    assert (by_sound["by_prompt"], by_sound["agreed"]) == (None, None)
    ids = [result["clip_id"] for result in by_sound["results"]]
    asked = []

    def embed_texts(self: Nearest, texts: list[str]) -> Any:
        asked.extend(texts)
        return self.release.embeddings[[self.release.metadata.row_of(ids[3])]]

    monkeypatch.setattr(Release, "has_text", True)
    monkeypatch.setattr(Nearest, "embed_texts", embed_texts)
    found = recommender.recommend(wav, RAIN, Wishes(k=5, max_per_artist=1))["recommendations"]
    assert asked == ["rain"]
    by_prompt = [result["clip_id"] for result in found["by_prompt"]]
    assert (by_prompt[0], len(by_prompt)) == (ids[3], len(found["results"]))
    assert len({result["artist"] for result in found["by_prompt"]}) == len(by_prompt)
    assert found["agreed"] == [result["clip_id"] for result in found["results"] if result["clip_id"] in by_prompt]
