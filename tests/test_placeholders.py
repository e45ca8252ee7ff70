"""Artists that are made up: the same each time, marked, and counted nowhere."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sounds import bursts, encoded, noise, tone
from toy import Slopes
from typer.testing import CliRunner

from audiorec import export
from audiorec.audio.decoder import DecoderPool
from audiorec.build import build
from audiorec.catalogue import convert as convert_module
from audiorec.catalogue.convert import DEFAULT_LIMITS, read_conversion
from audiorec.cli import app
from audiorec.encoders import ENCODERS
from audiorec.errors import BadSetting
from audiorec.evaluate import Truth
from audiorec.metadata import Metadata, write_metadata
from audiorec.metadata.placeholders import PLACEHOLDER_COLUMN, fill_artists, is_placeholder
from audiorec.metadata.revision import revise_metadata
from audiorec.nearest import Nearest
from audiorec.publishing.edit import add
from audiorec.publishing.workplace import Workplace
from audiorec.release import open_release

MADE_UP = {PLACEHOLDER_COLUMN: "true"}


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(1, DEFAULT_LIMITS) as pool:
        yield pool


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, pool: DecoderPool) -> None:
    """An encoder of four numbers, and one process that decodes."""
    monkeypatch.setitem(ENCODERS, "Slopes", Slopes)
    monkeypatch.setattr(export, "PARITY_BATCHES", (1,))
    monkeypatch.setattr(convert_module, "DecoderPool", lambda n_workers, limits: nullcontext(pool))


@pytest.fixture
def audio_dir(tmp_path: Path) -> Path:
    """Six clips: two by Ann, one by spaces, three by nobody."""
    folder = tmp_path / "clips"
    folder.mkdir()
    rows = ["path,label,artist"]
    for number in range(6):
        sound = [tone(0.3, 200 + 90 * number), noise(0.3, number), bursts(0.3, number)][number % 3]
        (folder / f"{number}.wav").write_bytes(encoded(sound))
        rows.append(f"{number}.wav,{'ab'[number % 2]},{'Ann' if number < 2 else ' ' if number == 2 else ''}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_names_are_those_of_their_clips() -> None:
    rows = [{"clip_id": f"{number}.wav"} for number in range(50)]
    again = [{"clip_id": f"{number}.wav"} for number in range(49, -1, -1)]
    assert fill_artists(rows) == fill_artists(again) == 50
    assert rows == again[::-1]
    assert len({row["artist"] for row in rows}) > 40
    assert all(row["artist"].strip() and is_placeholder(row) for row in rows)


def test_an_artist_that_is_known_stays() -> None:
    rows = [{"clip_id": "a", "artist": "Ann"}, {"clip_id": "b", "artist": " \t"}, {"clip_id": "c", "artist": ""}]
    assert fill_artists(rows) == 2
    assert rows[0] == {"clip_id": "a", "artist": "Ann"}
    assert [is_placeholder(row) for row in rows] == [False, True, True]


def test_without_the_library_it_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faker", None)
    with pytest.raises(BadSetting, match=r"pip install 'audiorec\[placeholders\]'"):
        fill_artists([{"clip_id": "a"}])


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("true", True), ("True", True), ("yes", True), ("1", True), ("", False), ("false", False), ("0", False)],
)
def test_a_table_of_ones_own_may_say_it_otherwise(cell: str, expected: bool) -> None:
    assert is_placeholder({PLACEHOLDER_COLUMN: cell}) is expected
    assert not is_placeholder({})


class TestGroups:
    @pytest.mark.parametrize("marks", [("true", "true", "", "", "true"), ("1", "1", "0", "", "1")])
    def test_those_who_are_made_up_are_alone(self, marks: tuple[str, ...], tmp_path: Path) -> None:
        artists = ["Jo", "Jo", "Jo", "Jo", "Al"]
        rows = [
            {"clip_id": str(i), "artist": artist, PLACEHOLDER_COLUMN: mark}
            for i, (artist, mark) in enumerate(zip(artists, marks, strict=True))
        ]
        write_metadata(tmp_path, rows, [PLACEHOLDER_COLUMN])
        metadata = Metadata.open(tmp_path)
        metadata.verify()
        groups = metadata.groups.tolist()
        assert groups[2] == groups[3]
        assert len({groups[0], groups[1], groups[2], groups[4]}) == 4

    def test_so_they_are_after_a_change(self, tmp_path: Path) -> None:
        base, revised = tmp_path / "base", tmp_path / "revised"
        base.mkdir()
        revised.mkdir()
        rows = [{"clip_id": str(i), "artist": "Jo", **(MADE_UP if i % 2 else {})} for i in range(6)]
        write_metadata(base, rows, [PLACEHOLDER_COLUMN])
        added = [{"clip_id": "new", "artist": "Jo", **MADE_UP}]
        revise_metadata(revised, base, Metadata.open(base), np.array([0, 1, 2, 4]), added)
        metadata = Metadata.open(revised)
        metadata.verify()
        groups = metadata.groups.tolist()
        assert groups[0] == groups[2] == groups[3]
        assert len(set(groups)) == 3


def test_evaluation_leaves_out_a_clips_own_artist_only_if_there_is_one(tmp_path: Path) -> None:
    rows = [{"clip_id": str(i), "label": "x", "artist": "Jo", **(MADE_UP if i > 1 else {})} for i in range(8)]
    expected = [[0, 1], [0, 1], *[[]] * 6]
    assert [np.concatenate(own).tolist() for own in Truth.of(rows).own] == expected
    write_metadata(tmp_path, rows, [PLACEHOLDER_COLUMN])
    truth = Truth.of_catalogue(Metadata.open(tmp_path), np.arange(8))
    assert [np.concatenate(own).tolist() for own in truth.own] == expected


def test_a_build_fills_marks_and_does_not_count_them(audio_dir: Path, tmp_path: Path) -> None:
    model_dir = tmp_path / "model"
    options: dict[str, Any] = {"encoder": "Slopes", "baselines": False}
    plain = build(audio_dir, model_dir, **options)
    filled = build(audio_dir, model_dir, placeholder_artists=True, **options)
    assert filled.published
    assert filled.manifest.evaluation == plain.manifest.evaluation
    release = open_release(model_dir, verify=True)
    rows = release.metadata.rows(range(6))
    assert [row["metadata"][PLACEHOLDER_COLUMN] for row in rows] == ["", "", *["true"] * 4]
    assert [bool(row["artist"].strip()) for row in rows] == [True] * 6
    assert len(set(release.metadata.groups.tolist())) == 5
    found = Nearest(release).search_id("5.wav", k=5, max_per_artist=1)
    assert len(found) == 4  # one of Ann's two, and all that are by nobody
    assert len(Nearest(release).search_id("5.wav", k=5, filter={PLACEHOLDER_COLUMN: "true"})) == 3
    assert not build(audio_dir, model_dir, placeholder_artists=True, **options).published
    assert "artist_is_placeholder" not in read_back(build(audio_dir, model_dir, **options).release_dir)


def read_back(release_dir: Path) -> tuple[str, ...]:
    return open_release(release_dir).metadata.columns


def test_add_fills_what_is_added_and_nothing_else(audio_dir: Path, tmp_path: Path) -> None:
    model_dir = tmp_path / "model"
    build(audio_dir, model_dir, encoder="Slopes", baselines=False)
    new_dir = tmp_path / "new"
    new_dir.mkdir()
    (new_dir / "new.wav").write_bytes(encoded(noise(0.3, 99)))
    edited = add(model_dir, [new_dir], placeholder_artists=True)
    assert edited.added == ["new.wav"]
    release = open_release(model_dir, verify=True)
    known = {row["clip_id"]: row for row in release.metadata.rows(range(7))}
    assert known["new.wav"]["metadata"][PLACEHOLDER_COLUMN] == "true"
    assert known["new.wav"]["artist"]
    assert known["5.wav"]["artist"] == ""
    assert known["5.wav"]["metadata"][PLACEHOLDER_COLUMN] == ""


def test_the_command_line_says_how_many(audio_dir: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["convert", str(audio_dir), str(tmp_path / "model"), "--placeholder-artists"])
    assert done.exit_code == 0, done.output
    assert "4 artists are made up, as artist_is_placeholder says" in done.output
    conversion = read_conversion(Workplace(tmp_path / "model").wav_dir)
    assert sum(map(is_placeholder, conversion.clips)) == 4
