"""Folders here and in stores, with the tables that data sets have."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from crawl_site import QUICK, mp3, table
from sounds import encoded, tone

from audiorec.crawl import Crawled, crawl
from audiorec.errors import BadCatalogue

WAV = encoded(tone(0.2))


def crawled(source: str | Path, out_dir: Path) -> Crawled:
    return crawl(str(source), out_dir, options=QUICK, n_decoders=1)


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(tone(0.2, 200 + 10 * len(name))))


def rows_by_id(out_dir: Path) -> dict[str, dict[str, str]]:
    return {row["clip_id"]: row for row in table(out_dir)}


def test_a_plain_folder(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    put(folder, "dogs/a.wav", "cats/old/b.wav", "c.wav", ".hidden/d.wav")
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "broken.wav").write_bytes(b"RIFF, said the text")
    run = crawled(folder, tmp_path / "out")
    assert set(run.status.failures) == {"text"}
    rows = rows_by_id(tmp_path / "out")
    assert {clip_id: row["label"] for clip_id, row in rows.items()} == {
        "dogs/a.wav": "dogs",
        "cats/old/b.wav": "cats",
        "c.wav": "",
    }
    row = rows["dogs/a.wav"]
    assert (row["source"], row["path"][-4:]) == ("sounds", ".wav")
    assert (tmp_path / "out" / row["path"]).read_bytes() == (folder / "dogs/a.wav").read_bytes()
    assert str(tmp_path) not in (tmp_path / "out/clips.tsv").read_text()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_audio_folder_of_hugging_face(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "set"
    put(folder, "train/dog/a.wav", "train/dog/b.wav", "test/dog/a.wav")
    rows = [{"file_name": "dog/a.wav", "text": "a dog", "label": "hound"}]
    lines = ["file_name,text,label", "dog/a.wav,a dog,hound"] if kind == "csv" else [json.dumps(row) for row in rows]
    (folder / f"train/metadata.{kind}").write_text("\n".join(lines) + "\n")
    crawled(folder, tmp_path / "out")
    rows_of = rows_by_id(tmp_path / "out")
    assert (rows_of["train/dog/a.wav"]["text"], rows_of["train/dog/a.wav"]["label"]) == ("a dog", "hound")
    assert (rows_of["train/dog/b.wav"]["label"], rows_of["train/dog/b.wav"]["split"]) == ("dog", "train")
    assert (rows_of["test/dog/a.wav"]["label"], rows_of["test/dog/a.wav"]["split"]) == ("dog", "test")


def test_a_data_set_of_kaggle(tmp_path: Path) -> None:
    """A table elsewhere that calls the files by name, without a folder or without an extension; and one of nothing."""
    folder = tmp_path / "set"
    put(folder, "audio/fold1/1-100.wav", "audio/fold2/2-200.wav")
    (folder / "meta").mkdir()
    (folder / "meta/esc.csv").write_text("filename,fold,category\n1-100.wav,1,dog\n2-200,2,rain\n9-900.wav,3,gone\n")
    (folder / "prices.csv").write_text("filename,price\nnot-here.wav,3\n")
    run = crawled(folder, tmp_path / "out")
    rows = rows_by_id(tmp_path / "out")
    assert {clip_id: row["label"] for clip_id, row in rows.items()} == {
        "audio/fold1/1-100.wav": "dog",
        "audio/fold2/2-200.wav": "rain",
    }
    assert run.status.failures["not_found"][0] == 1
    (refused,) = table(tmp_path / "out", "refused.tsv")
    assert refused["clip_id"] == "meta/9-900.wav"


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    put(folder, "a/x.wav")
    (folder / "a/back").symlink_to(folder)
    (folder / "linked.wav").symlink_to(folder / "a/x.wav")
    (folder / "broken.wav").symlink_to(folder / "nowhere")
    run = crawled(folder, tmp_path / "out")
    assert set(rows_by_id(tmp_path / "out")) == {"a/x.wav", "linked.wav"}
    assert set(run.status.failures) == {"not_found"}


def test_names_that_are_not_text(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    put(folder, "a.wav")
    os.rename(folder / "a.wav", bytes(folder) + b"/\xff\n.wav")
    assert crawled(folder, tmp_path / "out").status.n_new == 1
    (row,) = table(tmp_path / "out")
    assert len(row["clip_id"]) == 16


def test_a_folder_without_sound(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds/readme.txt").write_text("nothing")
    with pytest.raises(BadCatalogue, match=r"without a sound file in it \(1 other files\)"):
        crawled(tmp_path / "sounds", tmp_path / "out")


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/bucket", recursive=True)


def test_an_object_store(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    store.pipe("/bucket/sounds/dogs/a.wav", WAV)
    store.pipe("/bucket/sounds/dogs/b.mp3", mp3(0.3))
    store.pipe("/bucket/sounds/labels.csv", b"path,artist\ndogs/a.wav,Her\n")
    store.pipe("/bucket/other/c.wav", WAV)
    crawled("memory://bucket/sounds/", tmp_path / "out")
    rows = rows_by_id(tmp_path / "out")
    assert {clip_id: row["artist"] for clip_id, row in rows.items()} == {"dogs/a.wav": "Her", "dogs/b.mp3": ""}
    assert crawled("memory://bucket/sounds", tmp_path / "out").status.n_known == 2


def test_a_file_over_the_limit_is_left(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    store.pipe("/bucket/a.wav", WAV)
    run = crawl("memory://bucket", tmp_path / "out", options=replace(QUICK, max_file_bytes=100), n_decoders=1)
    assert set(run.status.failures) == {"too_large"}
