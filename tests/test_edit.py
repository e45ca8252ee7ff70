"""Clips added and removed: what changes is what was asked for, and every other vector stays, bit for bit."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from api_fixtures import N_CLIPS, Catalogue
from model_dirs import change_array, copied, edit_manifest, tree_state
from sounds import bursts, encoded, noise, tone

from audiorec import features
from audiorec.audio import CLIP_S
from audiorec.audio.decoder import DecoderPool
from audiorec.catalogue import convert
from audiorec.catalogue.convert import DEFAULT_LIMITS
from audiorec.errors import BadCatalogue, BadModelDir, Busy
from audiorec.files.tsv import read_tsv
from audiorec.nearest import Nearest
from audiorec.publishing.edit import Edited, add, remove
from audiorec.publishing.workplace import Workplace
from audiorec.release import Release, make_current, open_release, release_names
from audiorec.release.guard import Guard
from audiorec.release.manifest import read_manifest

WORSE = Guard(tolerance=-2.0)  # nothing is good enough for it


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(1, DEFAULT_LIMITS) as pool:
        yield pool


@pytest.fixture(autouse=True)
def one_decoder(monkeypatch: pytest.MonkeyPatch, pool: DecoderPool) -> None:
    monkeypatch.setattr(convert, "DecoderPool", lambda n_workers, limits: nullcontext(pool))


@pytest.fixture
def model_dir(catalogue: Catalogue, tmp_path: Path) -> Path:
    """A copy of the small catalogue, as somebody else's machine has it: without a work folder."""
    return copied(catalogue.model_dir, tmp_path / "model")


@pytest.fixture
def new_dir(tmp_path: Path) -> Path:
    """Three clips; one has a window of silence between two that sound."""
    pause = np.zeros(round(1.25 * CLIP_S * 16_000), np.float32)
    folder = tmp_path / "new"
    write(folder, "tones/low.wav", encoded(tone(0.3, 200)))
    write(folder, "tones/pause.wav", encoded(np.concatenate([tone(CLIP_S, 300), pause, tone(CLIP_S, 900)])))
    write(folder, "noises/bursts.wav", encoded(bursts(0.6, 2)))
    return folder


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_labels(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def rows_of(release: Release) -> dict[str, dict[str, str]]:
    return {row["clip_id"]: row for row in read_tsv(release.directory / "metadata.tsv")}


def table_of(release: Release, name: str) -> dict[str, str]:
    """The second column of a small table by the first."""
    rows = (list(row.values()) for row in read_tsv(release.directory / name))
    return {row[0]: row[1] for row in rows}


def assert_kept(new: Release, old: Release, clip_ids: set[str]) -> None:
    """These clips are in both, in the same order, and nothing about them is different."""
    old_rows, new_rows = rows_of(old), rows_of(new)
    for clip_id in clip_ids:
        before, after = old.metadata.row_of(clip_id), new.metadata.row_of(clip_id)
        assert np.array_equal(new.embeddings[after], old.embeddings[before])
        assert np.array_equal(new.windows[new.window_rows == after], old.windows[old.window_rows == before])
        assert new.metadata.row(after) == old.metadata.row(before)
        assert {name: cell for name, cell in new_rows[clip_id].items() if name in old_rows[clip_id]} == old_rows[
            clip_id
        ]
    assert [clip_id for clip_id in new_rows if clip_id in clip_ids] == [
        clip_id for clip_id in old_rows if clip_id in clip_ids
    ]


def ids_of(release: Release) -> set[str]:
    return set(rows_of(release))


def counted(edited: Edited) -> dict[str, int]:
    names = ("added", "replaced", "removed", "unchanged", "refusals", "unknown")
    return {name: len(getattr(edited, name)) for name in names if getattr(edited, name)}


def test_added_clips_are_found_and_all_others_stay(model_dir: Path, new_dir: Path) -> None:
    before = open_release(model_dir)
    state = tree_state(model_dir / "versions" / "0001")
    edited = add(model_dir, [new_dir])
    nearest = Nearest(open_release(model_dir, verify=True))
    release = nearest.release
    assert (edited.published.new, edited.published.is_current, edited.published.held_back) == (True, True, "")
    assert edited.published.manifest == release.manifest
    assert edited.added == ["noises/bursts.wav", "tones/low.wav", "tones/pause.wav"]
    assert (release.name, len(release.embeddings)) == ("0002", N_CLIPS + 3)
    assert_kept(release, before, ids_of(before))
    assert tree_state(model_dir / "versions" / "0001") == state
    for clip_id in edited.added:
        heard = nearest.embed_file(new_dir / clip_id)
        row = release.metadata.row_of(clip_id)
        assert release.embeddings[row] @ heard.vector > 1 - 1e-4
        np.testing.assert_allclose(release.windows[release.window_rows == row], heard.window_vectors, atol=1e-3)
        assert nearest.search_file(new_dir / clip_id, k=1)[0].clip_id == clip_id
    assert rows_of(release)["tones/low.wav"]["label"] == "tones"
    assert not (model_dir / "work" / "added").exists()


def test_a_release_says_what_it_was_made_from(model_dir: Path, new_dir: Path) -> None:
    before = read_manifest(model_dir / "current")
    manifest = add(model_dir, [new_dir]).published.manifest
    assert manifest.encoder == before.encoder
    assert manifest.change is not None
    assert manifest.change.model_dump() == {"of": "0001", "n_added": 3, "n_replaced": 0, "n_removed": 0}
    assert (manifest.catalogue.n_clips, manifest.catalogue.n_windows) == (N_CLIPS + 3, before.catalogue.n_windows + 5)
    assert manifest.catalogue.hours == pytest.approx(before.catalogue.hours + (0.9 + 3.25 * CLIP_S) / 3600, abs=1e-4)
    assert manifest.index.n_trees == before.index.n_trees
    assert manifest.index.tuned_clips == N_CLIPS
    assert manifest.index.recall_at_10 >= 0.99
    assert manifest.evaluation.n_clips == N_CLIPS + 3
    assert manifest.evaluation.baselines == before.evaluation.baselines
    assert manifest.build_key != before.build_key


def test_what_does_not_change_is_on_the_disk_once(model_dir: Path, new_dir: Path) -> None:
    add(model_dir, [new_dir])
    remove(model_dir, ["tones/low.wav"])
    one, two, three = (model_dir / "versions" / name for name in ("0001", "0002", "0003"))
    assert (one / "encoder.pt").samefile(two / "encoder.pt")
    assert (three / "encoder.pt").samefile(two / "encoder.pt")
    assert (one / "refused.tsv").samefile(three / "refused.tsv")
    assert not (one / "embeddings.npy").samefile(two / "embeddings.npy")


def test_without_hard_links_files_are_copied(model_dir: Path, new_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    add(model_dir, [new_dir])
    release = open_release(model_dir, verify=True)
    assert release.name == "0002"
    assert not (release.directory / "encoder.pt").samefile(model_dir / "versions" / "0001" / "encoder.pt")


def test_the_same_again_changes_nothing(model_dir: Path, new_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(model_dir, [new_dir])
    state = tree_state(model_dir / "versions")
    monkeypatch.setattr(features.FeatureStore, "append", None)  # nothing is heard a second time
    again = add(model_dir, [new_dir])
    assert (again.published.new, again.published.is_current) == (False, True)
    assert counted(again) == {"unchanged": 3}
    assert tree_state(model_dir / "versions") == state


def test_labels_come_from_the_folder_as_in_a_build(model_dir: Path, new_dir: Path) -> None:
    before = open_release(model_dir)
    rows = [
        {"path": "tones/low.wav", "clip_id": "one", "label": "dog;cat", "artist": "Ada", "bpm": "90", "key": "a\tb"},
        {"path": "noises/bursts.wav", "clip_id": "two", "label": "", "artist": "New", "bpm": "fast", "key": ""},
    ]
    write_labels(new_dir, rows)
    assert add(model_dir, [new_dir]).added == ["one", "tones/pause.wav", "two"]
    release = open_release(model_dir, verify=True)
    assert_kept(release, before, set())
    assert ids_of(release) == ids_of(before) | {"one", "two", "tones/pause.wav"}
    one = release.metadata.row(release.metadata.row_of("one"))
    assert (one["label"], one["artist"], one["metadata"]["key"]) == ("dog;cat", "Ada", "a\tb")
    assert one["metadata"]["bpm"] == "90"  # one of the new is no number: now all are words
    assert rows_of(release)["emoji 🎧👩‍🚀.wav"] == {**rows_of(before)["emoji 🎧👩‍🚀.wav"], "key": ""}
    found = Nearest(release).search(release.embeddings[0], k=50, filter={"artist": "Ada"})
    assert "one" in {clip.clip_id for clip in found}


def test_single_files_are_added_by_their_names(model_dir: Path, new_dir: Path) -> None:
    write_labels(new_dir / "tones", [{"path": "low.wav", "label": "hum"}, {"path": "gone.wav", "label": "x"}])
    edited = add(model_dir, [new_dir / "tones" / "low.wav", new_dir / "noises" / "bursts.wav", new_dir / "noises"])
    assert edited.added == ["bursts.wav", "low.wav"]  # the same file under the same id is one clip
    release = open_release(model_dir)
    assert [rows_of(release)[clip_id]["label"] for clip_id in edited.added] == ["", "hum"]


def test_sidecars_among_the_files_are_passed_over(model_dir: Path, new_dir: Path) -> None:
    write_labels(new_dir, [{"path": "x.wav", "label": "x"}])
    (new_dir / "notes.txt").write_text("no sound")
    paths = [new_dir / "labels.csv", new_dir / "notes.txt", new_dir / "tones" / "low.wav"]
    assert counted(add(model_dir, paths)) == {"added": 1}
    with pytest.raises(BadCatalogue, match=r"got no clip, but 2 other files, expected sound files"):
        add(model_dir, paths[:2])
    assert not (model_dir / "work" / "added").exists()


def test_a_clip_with_the_id_of_another_is_refused_and_the_rest_goes_in(model_dir: Path, new_dir: Path) -> None:
    before = open_release(model_dir)
    taken = "100%.wav"
    write_labels(new_dir, [{"path": "tones/low.wav", "clip_id": taken}])
    edited = add(model_dir, [new_dir])
    assert counted(edited) == {"added": 2, "refusals": 1}
    (refusal,) = edited.refusals
    assert (refusal.clip_id, refusal.code) == (taken, "id_taken")
    assert refusal.message.startswith(f"got another sound for the id {taken}, which the catalogue has, expected one")
    release = open_release(model_dir, verify=True)
    assert_kept(release, before, ids_of(before))
    assert table_of(release, "refused.tsv") == {taken: "id_taken"}
    assert release.manifest.catalogue.n_refused == 1


def test_a_clip_is_replaced_when_told_so(model_dir: Path, new_dir: Path) -> None:
    before = open_release(model_dir)
    taken = "100%.wav"
    write_labels(new_dir, [{"path": "tones/low.wav", "clip_id": taken, "title": "New"}])
    add(model_dir, [new_dir])
    edited = add(model_dir, [new_dir], replace=True)
    assert (edited.replaced, counted(edited)) == ([taken], {"replaced": 1, "unchanged": 2})
    nearest = Nearest(open_release(model_dir, verify=True))
    release = nearest.release
    assert_kept(release, before, ids_of(before) - {taken})
    assert rows_of(release)[taken]["title"] == "New"
    heard = nearest.embed_file(new_dir / "tones" / "low.wav").vector
    assert release.embeddings[release.metadata.row_of(taken)] @ heard > 1 - 1e-4
    assert len(release.embeddings) == N_CLIPS + 2
    assert release.manifest.change is not None
    assert (release.manifest.change.n_replaced, release.manifest.change.n_removed) == (1, 0)
    assert table_of(release, "refused.tsv") == {}  # it is in now


def test_what_is_said_of_a_clip_is_replaced_without_hearing_it_again(
    model_dir: Path, new_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(model_dir, [new_dir])
    before = open_release(model_dir)
    write_labels(new_dir, [{"path": "tones/pause.wav", "title": "Rest"}])
    assert counted(add(model_dir, [new_dir])) == {"unchanged": 3}
    monkeypatch.setattr(features.FeatureStore, "append", None)
    assert add(model_dir, [new_dir], replace=True).replaced == ["tones/pause.wav"]
    release = open_release(model_dir, verify=True)
    old, new = (one.metadata.row_of("tones/pause.wav") for one in (before, release))
    assert np.array_equal(release.embeddings[new], before.embeddings[old])
    assert np.array_equal(release.windows[release.window_rows == new], before.windows[before.window_rows == old])
    assert rows_of(release)["tones/pause.wav"]["title"] == "Rest"
    assert counted(add(model_dir, [new_dir], replace=True)) == {"unchanged": 3}


def test_a_broken_file_is_refused_and_stops_nothing(model_dir: Path, new_dir: Path) -> None:
    write(new_dir, "tones/broken.wav", b"no sound")
    edited = add(model_dir, [new_dir])
    assert counted(edited) == {"added": 3, "refusals": 1}
    assert table_of(open_release(model_dir), "refused.tsv") == {"tones/broken.wav": "text"}
    write(new_dir, "tones/broken.wav", encoded(noise(0.4, 9)))
    assert add(model_dir, [new_dir]).added == ["tones/broken.wav"]
    assert table_of(open_release(model_dir), "refused.tsv") == {}


def test_nothing_but_broken_files_is_no_release(model_dir: Path, new_dir: Path) -> None:
    edited = add(model_dir, [write(new_dir, "broken.wav", b"no sound")])
    assert (edited.published.new, counted(edited)) == (False, {"refusals": 1})
    assert release_names(model_dir) == ["0001"]


def test_a_path_where_there_is_nothing_is_named(model_dir: Path, new_dir: Path) -> None:
    with pytest.raises(BadCatalogue, match=r"got \S+/nowhere\.wav, which does not exist, expected a clip or a folder"):
        add(model_dir, [new_dir, new_dir / "nowhere.wav"])


def test_removed_clips_are_gone_and_all_others_stay(model_dir: Path) -> None:
    before = open_release(model_dir)
    gone = ["100%.wav", "tab\tand\nnewline.wav", rows_of(before).popitem()[0]]
    edited = remove(model_dir, [*gone, gone[0]])
    release = open_release(model_dir, verify=True)
    assert (edited.removed, counted(edited)) == (gone, {"removed": 3})
    assert ids_of(release) == ids_of(before) - set(gone)
    assert_kept(release, before, ids_of(release))
    assert release.manifest.change is not None
    assert release.manifest.change.n_removed == 3
    vector = before.embeddings[before.metadata.row_of(gone[0])]
    assert {clip.clip_id for clip in Nearest(release).search(vector, k=100)} == ids_of(release)


def test_unknown_ids_are_named_and_the_others_go(model_dir: Path) -> None:
    edited = remove(model_dir, ["nope", "100%.wav", "nor this"])
    assert (edited.removed, edited.unknown) == (["100%.wav"], ["nope", "nor this"])
    again = remove(model_dir, ["nope", "100%.wav"])
    assert (again.published.new, again.published.is_current) == (False, True)
    assert (again.removed, again.unchanged, again.unknown) == ([], ["100%.wav"], ["nope"])
    assert release_names(model_dir) == ["0001", "0002"]


def test_the_last_clip_stays(model_dir: Path) -> None:
    ids = sorted(ids_of(open_release(model_dir)))
    with pytest.raises(BadCatalogue, match=f"got all {N_CLIPS} clips to remove, expected at least one to stay"):
        remove(model_dir, ids)
    remove(model_dir, ids[1:])
    release = open_release(model_dir, verify=True)
    assert list(ids_of(release)) == ids[:1]
    assert len(Nearest(release).search(release.embeddings[0])) == 1


def test_changes_since_the_build_are_remembered(model_dir: Path, new_dir: Path) -> None:
    add(model_dir, [new_dir])
    remove(model_dir, ["tones/low.wav", "100%.wav", "what?.wav?k=3"])
    write_labels(new_dir, [{"path": "noises/bursts.wav", "clip_id": "100%.wav"}])
    add(model_dir, [new_dir / "noises"])
    add(model_dir, [new_dir])
    assert table_of(open_release(model_dir), "changes.tsv") == {
        "bursts.wav": "added",
        "100%.wav": "added",
        "noises/bursts.wav": "added",
        "tones/low.wav": "added",
        "tones/pause.wav": "added",
        "what?.wav?k=3": "removed",
    }


def test_a_release_by_itself_is_no_model_directory(model_dir: Path, new_dir: Path) -> None:
    release_dir = model_dir / "versions" / "0001"
    state = tree_state(release_dir)
    message = r"0001, which is a release, expected a model directory.* `audiorec use"
    with pytest.raises(BadModelDir, match=message):
        add(release_dir, [new_dir])
    with pytest.raises(BadModelDir, match=message):
        remove(release_dir, ["100%.wav"])
    assert tree_state(release_dir) == state


def test_what_is_no_model_directory_is_left_alone(tmp_path: Path, new_dir: Path) -> None:
    with pytest.raises(BadModelDir, match=r"got \S+/none, which does not exist"):
        add(tmp_path / "none", [new_dir])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadModelDir, match=r"got \S+/empty without a published release"):
        remove(tmp_path / "empty", ["x"])
    assert not (tmp_path / "none").exists()
    (tmp_path / "versions" / "0001").mkdir(parents=True)
    with pytest.raises(BadModelDir, match=r"without a current release, expected it to be one of 0001: choose it by"):
        remove(tmp_path, ["x"])
    assert list((tmp_path / "empty").iterdir()) == []


def test_two_at_once_are_one_too_many(model_dir: Path, new_dir: Path) -> None:
    message = r"in use by another process \(process \d+, since"
    with Workplace(model_dir).locked():
        with pytest.raises(Busy, match=message):
            add(model_dir, [new_dir])
        with pytest.raises(Busy, match=message):
            remove(model_dir, ["100%.wav"])


@pytest.mark.parametrize("name", ["embeddings.npy", "metadata.arrow", "encoder.pt"])
def test_damage_is_not_carried_on(model_dir: Path, new_dir: Path, name: str) -> None:
    path = model_dir / "versions" / "0001" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadModelDir):
        add(model_dir, [new_dir])
    assert release_names(model_dir) == ["0001"]


def test_a_column_whose_rows_do_not_fit_is_refused(model_dir: Path, new_dir: Path) -> None:
    change_array(model_dir / "versions" / "0001" / "window_rows.npy", {0: 1})
    with pytest.raises(BadModelDir, match=r"got window_rows\.npy with SHA-256"):
        add(model_dir, [new_dir])


def test_what_is_worse_is_there_but_not_current(model_dir: Path, new_dir: Path) -> None:
    edited = add(model_dir, [new_dir], guard=WORSE)
    assert (edited.published.new, edited.published.is_current, edited.published.release_dir.name) == (
        True,
        False,
        "0002",
    )
    assert edited.published.held_back.startswith(
        "recall@10 is 1.0000, expected at least 3.0000, as release 0001 has 1.0"
    )
    assert "; mAP is " in edited.published.held_back
    assert open_release(model_dir).name == "0001"
    assert open_release(model_dir / "versions" / "0002", verify=True).manifest.held_back == edited.published.held_back
    again = add(model_dir, [new_dir], guard=WORSE)
    assert (again.published.new, again.published.is_current) == (False, False)
    assert again.published.held_back == edited.published.held_back
    assert release_names(model_dir) == ["0001", "0002"]
    told = add(model_dir, [new_dir], guard=Guard(make_current=True))
    assert (told.published.new, told.published.is_current, told.published.release_dir.name) == (False, True, "0002")
    assert open_release(model_dir).name == "0002"


def test_the_next_change_is_made_to_what_is_current(model_dir: Path, new_dir: Path) -> None:
    add(model_dir, [new_dir])
    make_current(model_dir, "0001")
    remove(model_dir, ["100%.wav"])
    release = open_release(model_dir, verify=True)
    assert (release.name, len(release.embeddings)) == ("0003", N_CLIPS - 1)
    again = add(model_dir, [new_dir])
    assert (again.published.new, again.published.release_dir.name) == (True, "0004")


def test_a_release_from_before_changes_were_written_down(model_dir: Path, new_dir: Path) -> None:
    """As an older audiorec made it: its manifest does not say what its index was tuned on."""
    edit_manifest(model_dir / "versions" / "0001", {"index.tuned_clips": None})
    assert add(model_dir, [new_dir]).published.manifest.index.tuned_clips == N_CLIPS


def test_a_model_directory_that_was_copied_as_releases_alone(model_dir: Path, new_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir / "versions", tmp_path / "other" / "versions")
    (tmp_path / "other" / "current").symlink_to("versions/0001")
    assert counted(add(tmp_path / "other", [new_dir])) == {"added": 3}
    assert open_release(tmp_path / "other", verify=True).name == "0002"


def test_removing_needs_no_torch(model_dir: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from audiorec.publishing.edit import remove; import json; "
        f"edited = remove(Path({str(model_dir)!r}), ['100%.wav']); "
        "print(json.dumps([edited.to_json()['removed'], 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [["100%.wav"], False]
