"""Metadata with rows left out and put behind: the same files, to the byte, as of writing all the rows."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from audiorec.errors import BadCatalogue
from audiorec.metadata import METADATA_FILES, Metadata, write_metadata
from audiorec.metadata import revision as metadata_revision
from audiorec.metadata.revision import revise_metadata

OWN = ("bpm", "gain", "mood", "code", "empty")

Row = dict[str, str]


def row(number: int, **cells: str) -> Row:
    return {
        "clip_id": f"{'ab'[number % 2]}/clip {number}.wav",
        "title": ("tab\tin it", "two\nlines", "back\\slash", "🎧", "")[number % 5],
        "artist": ("Ada", "", "Bo", f"only {number}")[number % 4],
        "label": ("dog;cat", "", "zebra")[number % 3],
        "duration_s": "" if number % 7 == 0 else str(number / 8),
        "bpm": "" if number % 4 == 1 else str(60 + number),
        "gain": f"{-number / 4}",
        "mood": ("calm", "", "wild")[number % 3],
        "code": f"00{number}",
        "empty": "",
        **cells,
    }


def written(folder: Path, rows: Sequence[Row], own: Sequence[str] = OWN) -> Metadata:
    folder.mkdir()
    write_metadata(folder, rows, own)
    return Metadata.open(folder)


def revised(tmp_path: Path, rows: Sequence[Row], kept: Sequence[int], added: Sequence[Row]) -> Path:
    """The folder of the revision, which is whole."""
    base = written(tmp_path / "base", rows)
    (tmp_path / "revised").mkdir()
    revise_metadata(tmp_path / "revised", tmp_path / "base", base, np.array(kept, np.int64), added)
    Metadata.open(tmp_path / "revised").verify()
    return tmp_path / "revised"


def assert_as_written(folder: Path, tmp_path: Path, rows: Sequence[Row], own: Sequence[str] = OWN) -> None:
    written(tmp_path / "expected", rows, own)
    for name in METADATA_FILES:
        assert (folder / name).read_bytes() == (tmp_path / "expected" / name).read_bytes(), name
    assert sorted(path.name for path in folder.iterdir()) == sorted(METADATA_FILES)


@pytest.mark.parametrize("seed", range(12))
def test_it_is_as_if_all_had_been_written(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(metadata_revision, "BLOCK_BYTES", 100)
    n, n_added = rng.randint(20, 60), rng.randint(0, 6)
    rows = [row(number) for number in range(n)]
    kept = sorted(rng.sample(range(n), rng.randint(n // 2, n)))
    added = [row(number) for number in range(n, n + n_added)]
    monkeypatch.setattr(metadata_revision, "write_metadata", None)  # nothing is written as a whole
    folder = revised(tmp_path, rows, kept, added)
    assert_as_written(folder, tmp_path, [*(rows[number] for number in kept), *added])


@pytest.mark.parametrize("kept", [[0], [9], [0, 9], [3, 4, 5], list(range(10))])
def test_the_first_and_the_last_row(tmp_path: Path, kept: list[int]) -> None:
    rows = [row(number) for number in range(10)]
    assert_as_written(revised(tmp_path, rows, kept, [row(11)]), tmp_path, [*(rows[number] for number in kept), row(11)])


@pytest.mark.parametrize(
    "cells",
    [
        {"bpm": "fast"},  # numbers become words
        {"bpm": "1.5"},  # whole numbers become broken ones
        {"bpm": str(2**70)},
        {"gain": "3"},  # a whole number among broken ones
        {"gain": str(2**60 + 1)},  # one that would lose digits
        {"gain": ""},
        {"mood": "7"},  # a number among words
        {"mood": "new"},
        {"empty": "first"},  # words where there was nothing
        {"empty": "1"},  # numbers where there was nothing
        {"empty": "1.5"},
        {"new": "a column that was not there"},
        {"new": "1"},
        {"label": "new;other", "artist": "Zoë", "url": "https://clips.example/é", "album": "first"},
        {"title": "line\nend\tand\\more"},
        {"duration_s": "0.5000"},
    ],
)
def test_a_new_row_may_be_anything(tmp_path: Path, cells: Row) -> None:
    rows = [row(number) for number in range(10)]
    added = [row(20, **cells)]
    own = [*OWN, *(name for name in cells if name == "new")]
    folder = revised(tmp_path, rows, [0, 1, 2, 4, 5, 8], added)
    assert_as_written(folder, tmp_path, [*(rows[number] for number in (0, 1, 2, 4, 5, 8)), *added], own)


def test_words_stay_words_when_only_numbers_are_left(tmp_path: Path) -> None:
    """What a column is does not change because of a clip that goes."""
    rows = [row(0, bpm="fast"), row(1, bpm="90"), row(2, bpm="100")]
    folder = revised(tmp_path, rows, [1, 2], [row(3, bpm="110")])
    assert [clip["metadata"]["bpm"] for clip in Metadata.open(folder).rows([0, 1, 2])] == ["90", "100", "110"]


def test_rows_that_no_catalogue_can_have(tmp_path: Path) -> None:
    rows = [row(number) for number in range(10)]
    for number, (cells, message) in enumerate(
        [
            ({"clip_id": ""}, "got a clip with an empty clip_id"),
            ({"duration_s": "long"}, "got 'long' as duration_s of clip"),
            ({"title": "\ud800"}, "that is not Unicode"),
        ]
    ):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(BadCatalogue, match=message):
            revised(tmp_path / str(number), rows, [0, 1], [row(20, **cells)])
