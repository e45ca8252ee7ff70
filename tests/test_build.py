"""The pipeline as a whole: what a release holds, what a second run does, and what it does about trouble."""

import csv
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from children import audiorec_build
from model_dirs import copied, tree_state
from sounds import Sound, bursts, encoded, noise, tone
from toy import Slopes, slopes_of

from audiorec import export, features
from audiorec.audio import CLIP_S, windows
from audiorec.audio.decoder import Decoder, DecoderPool
from audiorec.audio.wav import read_wav
from audiorec.build import Built, build, convert_step, export_step, index_step
from audiorec.catalogue import convert
from audiorec.catalogue.convert import DEFAULT_LIMITS
from audiorec.encoders import ENCODERS
from audiorec.errors import BadCatalogue, BadModelDir, BadSetting, Busy, NoSpace
from audiorec.files.npy import new_npy
from audiorec.files.tsv import read_tsv
from audiorec.nearest import Nearest
from audiorec.publishing.edit import add, remove
from audiorec.publishing.workplace import Workplace
from audiorec.release import Release, make_current, open_release, release_names
from audiorec.release.guard import Guard

Array = npt.NDArray[np.float32]
Change = Callable[[Path], object]

NOBODY = 65534  # the user id


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    """One process that decodes for all builds; and one thread that computes, as there is little to do."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with DecoderPool(1, DEFAULT_LIMITS) as pool:
        yield pool
    torch.set_num_threads(n_threads)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, pool: DecoderPool) -> None:
    """The toy among the encoders, and a short proof that its export is it."""
    monkeypatch.setitem(ENCODERS, "Slopes", Slopes)
    monkeypatch.setattr(export, "PARITY_BATCHES", (1,))
    monkeypatch.setattr(convert, "DecoderPool", lambda n_workers, limits: nullcontext(pool))


@pytest.fixture
def audio_dir(tmp_path: Path) -> Path:
    """Four clips of two labels."""
    folder = tmp_path / "clips"
    write(folder, "tones/low.wav", tone(0.3, 200))
    write(folder, "tones/high.wav", tone(0.4, 2500))
    write(folder, "noises/white.wav", noise(0.3, 1))
    write(folder, "noises/bursts.wav", bursts(0.6, 2))
    return folder


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """Where there is nothing yet."""
    return tmp_path / "model"


def write(folder: Path, name: str, sound: Sound) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(encoded(sound))


def write_labels(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def built(audio_dir: Path, model_dir: Path, **options: Any) -> Built:
    return build(audio_dir, model_dir, **{"encoder": "Slopes", "n_workers": 1, "baselines": False, **options})


def vector_of(release: Release, clip_id: str) -> Array:
    vector: Array = release.embeddings[release.metadata.row_of(clip_id)]
    return vector


def rows_of(release_dir: Path) -> list[dict[str, str]]:
    return list(read_tsv(release_dir / "metadata.tsv"))


def assert_same(release_dir: Path, other: Path, tolerance: float) -> None:
    """Equal clips, refusals and metadata; embeddings and windows up to the tolerance."""
    one, two = open_release(release_dir, verify=True), open_release(other, verify=True)
    for name in ("metadata.tsv", "refused.tsv", "clip_ids.npy", "groups.npy", "window_rows.npy"):
        assert (release_dir / name).read_bytes() == (other / name).read_bytes()
    assert np.abs(one.embeddings - two.embeddings).max() <= tolerance
    assert np.abs(one.windows.astype(np.float32) - two.windows).max() <= tolerance + 1e-3  # float16


def test_embeddings_are_those_worked_out_by_hand(audio_dir: Path, model_dir: Path) -> None:
    made = built(audio_dir, model_dir)
    release = open_release(model_dir, verify=True)
    pcms = [read_wav(model_dir / "work" / "wav", sha256) for sha256 in made.conversion.sha256s]
    slopes = slopes_of(np.concatenate([windows(pcm) for pcm in pcms]))
    expected = (slopes - slopes.mean(axis=0)) / slopes.std(axis=0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(release.embeddings, expected, atol=1e-4)
    assert [row["clip_id"] for row in rows_of(release.directory)] == sorted(
        ["tones/low.wav", "tones/high.wav", "noises/white.wav", "noises/bursts.wav"]
    )
    assert made.manifest == release.manifest
    assert (made.published, made.release_dir, release.name) == (True, model_dir / "versions" / "0001", "0001")
    assert set(made.seconds) == {"convert", "encode", "embed", "index", "evaluate", "publish"}


def test_windows_belong_to_their_clips_and_a_pause_is_zero(audio_dir: Path, model_dir: Path) -> None:
    pause = np.zeros(round(1.25 * CLIP_S * 16_000), np.float32)
    write(audio_dir, "tones/pause.wav", np.concatenate([tone(CLIP_S, 300), pause, tone(1.5 * CLIP_S, 900)]))
    release = open_release(built(audio_dir, model_dir).release_dir, verify=True)
    row = release.metadata.row_of("tones/pause.wav")
    assert np.bincount(release.window_rows).tolist() == [4 if i == row else 1 for i in range(5)]
    of_clip = release.windows[release.window_rows == row].astype(np.float32)
    assert np.abs(of_clip).max(axis=1).astype(bool).tolist() == [True, False, True, True]
    assert release.manifest.catalogue.n_windows == len(release.windows) == 8
    for clip in range(5):
        sounding = release.windows[release.window_rows == clip].astype(np.float32)
        mean = sounding[np.abs(sounding).max(axis=1) > 0].mean(axis=0)
        np.testing.assert_allclose(mean / np.linalg.norm(mean), release.embeddings[clip], atol=1e-3)


def test_the_catalogue_gives_its_own_sounds_back(audio_dir: Path, model_dir: Path) -> None:
    write(audio_dir, "noises/long.wav", bursts(2.6 * CLIP_S, 3))
    nearest = Nearest(built(audio_dir, model_dir).release_dir)
    for path in audio_dir.rglob("*.wav"):
        clip_id = path.relative_to(audio_dir).as_posix()
        assert nearest.embed_file(path).vector @ vector_of(nearest.release, clip_id) > 1 - 1e-4
        assert nearest.search_file(path, k=1)[0].clip_id == clip_id


def sounds_of(number: int) -> list[Sound]:
    return [tone(0.2 + 0.01 * i, 150 + 60 * i) + 0.1 * noise(0.2 + 0.01 * i, i) for i in range(number)]


@pytest.mark.parametrize("n_clips", [1, 2, 3])
def test_a_small_catalogue_is_one(tmp_path: Path, model_dir: Path, n_clips: int) -> None:
    for number, sound in enumerate(sounds_of(n_clips)):
        write(tmp_path / "few", f"{number}.wav", sound)
    made = built(tmp_path / "few", model_dir)
    nearest = Nearest(model_dir)
    assert len(nearest.search(nearest.release.embeddings[0], k=10)) == n_clips
    assert len(nearest.search_id("0.wav")) == n_clips - 1
    assert made.manifest.evaluation.encoder.n_queries == 0
    assert {row["label"] for row in rows_of(made.release_dir)} == {""}
    assert made.manifest.index.recall_at_10 == 1


def test_copies_of_a_sound_are_clips_of_their_own(tmp_path: Path, model_dir: Path) -> None:
    for name in ("a/one.wav", "a/two.wav", "b/three.wav"):
        write(tmp_path / "same", name, tone(0.5, 330))
    made = built(tmp_path / "same", model_dir)
    release = open_release(model_dir, verify=True)
    assert np.abs(release.embeddings - release.embeddings[0]).max() == 0
    assert len(set(made.conversion.sha256s)) == 1
    assert len(list((model_dir / "work" / "wav").rglob("*.wav"))) == 1
    assert {clip.clip_id for clip in Nearest(release).search_id("a/one.wav")} == {"a/two.wav", "b/three.wav"}


def test_labels_and_columns_arrive(audio_dir: Path, model_dir: Path) -> None:
    rows = [
        {"path": "tones/low.wav", "clip_id": "one", "label": "dog;cat", "title": "tab\tnew\nline", "year": "1999"},
        {"path": "tones/high.wav", "clip_id": "two", "label": "cat", "title": "🎧", "year": ""},
        {"path": "noises/white.wav", "clip_id": "two", "label": "cat", "title": "", "year": "2001"},
    ]
    write_labels(audio_dir, rows)
    made = built(audio_dir, model_dir)
    assert [(refusal.clip_id, refusal.code) for refusal in made.conversion.refusals] == [("two", "duplicate_id")]
    assert "got a second clip with the id two, expected each id once" in made.conversion.refusals[0].message
    assert made.manifest.catalogue.n_refused == 1
    assert [row["clip_id"] for row in read_tsv(made.release_dir / "refused.tsv")] == ["two"]
    kept = {row["clip_id"]: row for row in rows_of(made.release_dir)}
    assert kept.keys() == {"one", "two", "noises/bursts.wav"}
    assert kept["one"]["title"] == "tab\tnew\nline"
    assert Nearest(model_dir).release.metadata.row(1)["metadata"]["year"] == 1999
    scores = made.manifest.evaluation.encoder
    assert {label: figures.n_queries for label, figures in scores.per_label.items()} == {"cat": 2, "dog": 1}
    assert scores.n_queries == 2  # the third has a label of its own


def test_the_baselines_stand_beside_the_encoder(audio_dir: Path, model_dir: Path) -> None:
    evaluation = built(audio_dir, model_dir, baselines=True).manifest.evaluation
    assert evaluation.encoder.name == "Slopes"
    assert evaluation.baselines.keys() == {"MeanMel", "MFCC"}
    assert {scores.n_queries for scores in (evaluation.encoder, *evaluation.baselines.values())} == {4}
    assert evaluation.encoder.chance == pytest.approx(1 / 3, abs=1e-4)


def converted_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the name of each file that is given to a decoder from now on."""
    paths: list[str] = []
    call = Decoder.call

    def counted(decoder: Decoder, operation: str, request: dict[str, Any], payload: bytes = b"") -> Any:
        paths.append(Path(request["path"]).name)
        return call(decoder, operation, request, payload)

    monkeypatch.setattr(Decoder, "call", counted)
    return paths


def encoded_clips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the SHA-256 of each clip whose features are computed from now on."""
    sha256s: list[str] = []
    append = features.FeatureStore.append

    def counted(store: features.FeatureStore, sha256: str, *rest: Any) -> None:
        sha256s.append(sha256)
        append(store, sha256, *rest)

    monkeypatch.setattr(features.FeatureStore, "append", counted)
    return sha256s


def kept_state(model_dir: Path) -> dict[str, tuple[int, int, int]]:
    """The state of all that a build with nothing new must not touch: all but its lock, its ledger and its tables."""
    state = tree_state(model_dir)
    for name in ("lock", "wav/ledger.jsonl", "wav/clips.tsv", "wav/refused.tsv"):
        state.pop(f"work/{name}", None)
    return state


def test_a_second_run_changes_nothing(audio_dir: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = built(audio_dir, model_dir)
    state = kept_state(model_dir)
    converted, computed = converted_paths(monkeypatch), encoded_clips(monkeypatch)
    second = built(audio_dir, model_dir)
    assert (second.published, second.release_dir, second.manifest) == (False, first.release_dir, first.manifest)
    assert (second.conversion.n_new, converted, computed) == (0, [], [])
    assert kept_state(model_dir) == state


def test_a_new_clip_costs_only_itself(audio_dir: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = built(audio_dir, model_dir)
    state = kept_state(model_dir)
    write(audio_dir, "tones/new.wav", tone(0.5, 1234))
    converted, computed = converted_paths(monkeypatch), encoded_clips(monkeypatch)
    second = built(audio_dir, model_dir)
    assert (second.published, second.release_dir.name) == (True, "0002")
    assert (converted, second.conversion.n_new, len(computed)) == (["new.wav"], 1, 1)
    old, new = open_release(first.release_dir, verify=True), open_release(model_dir, verify=True)
    for clip_id in map(old.metadata.clip_id, range(4)):
        np.testing.assert_allclose(vector_of(new, clip_id), vector_of(old, clip_id), atol=1e-6)
    after = kept_state(model_dir)
    changed = {name for name in state if state[name] != after.get(name)}
    assert changed == {"current", *(name for name in state if name.startswith("work/features/"))}


def remove_a_clip(audio_dir: Path) -> None:
    (audio_dir / "tones/low.wav").unlink()


def relabel(audio_dir: Path) -> None:
    write_labels(audio_dir, [{"path": "tones/low.wav", "label": "changed"}])


def replace_a_file(audio_dir: Path) -> None:
    write(audio_dir, "tones/low.wav", tone(0.3, 210))


def break_a_file(audio_dir: Path) -> None:
    (audio_dir / "tones/low.wav").write_bytes(b"no longer a sound")


def rename_a_file(audio_dir: Path) -> None:
    (audio_dir / "tones/low.wav").rename(audio_dir / "tones/lower.wav")


@pytest.mark.parametrize(
    ("change", "n_converted", "n_encoded"),
    [
        (remove_a_clip, 0, 0),
        (relabel, 0, 0),
        (replace_a_file, 1, 1),
        (break_a_file, 1, 0),
        (rename_a_file, 1, 0),
    ],
)
def test_a_change_gives_a_release(
    audio_dir: Path,
    model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    n_converted: int,
    n_encoded: int,
) -> None:
    built(audio_dir, model_dir)
    change(audio_dir)
    converted, computed = converted_paths(monkeypatch), encoded_clips(monkeypatch)
    made = built(audio_dir, model_dir)
    assert (made.published, made.release_dir.name) == (True, "0002")
    assert (len(converted), len(computed)) == (n_converted, n_encoded)
    assert rows_of(made.release_dir) != rows_of(model_dir / "versions" / "0001")
    fresh = built(audio_dir, model_dir.with_name("fresh"), refit=True)
    assert rows_of(made.release_dir) == rows_of(fresh.release_dir)
    assert not built(audio_dir, model_dir).published


def test_a_touched_file_is_looked_at_and_nothing_comes_of_it(
    audio_dir: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(audio_dir, model_dir)
    os.utime(audio_dir / "tones/low.wav", (1, 1))
    converted = converted_paths(monkeypatch)
    assert not built(audio_dir, model_dir).published
    assert converted == ["low.wav"]


def test_another_encoder_gives_a_release(audio_dir: Path, model_dir: Path) -> None:
    built(audio_dir, model_dir)
    made = built(audio_dir, model_dir, encoder="MeanMel")
    assert (made.published, made.release_dir.name, made.manifest.encoder.name) == (True, "0002", "MeanMel")
    assert open_release(model_dir, verify=True).dim == 160
    assert open_release(model_dir / "versions" / "0001", verify=True).dim == 4


@pytest.mark.parametrize(
    ("n_before", "n_after", "refitted"), [(3, 6, False), (3, 7, True), (6, 3, False), (7, 3, True)]
)
def test_the_encoder_is_kept_until_the_catalogue_has_more_than_doubled_or_halved(
    tmp_path: Path, model_dir: Path, n_before: int, n_after: int, refitted: bool
) -> None:
    folder = tmp_path / "growing"

    def hold(n_clips: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        for number, sound in enumerate(sounds_of(n_clips)):
            write(folder, f"{number}.wav", sound)

    hold(n_before)
    before = open_release(built(folder, model_dir).release_dir)
    hold(n_after)
    after = open_release(built(folder, model_dir).release_dir)
    assert (after.manifest.encoder.key != before.manifest.encoder.key) is refitted
    assert after.manifest.encoder.fitted_windows == (n_after if refitted else n_before)
    kept = [vector_of(after, clip_id) @ vector_of(before, clip_id) for clip_id in ("0.wav", "1.wav", "2.wav")]
    assert bool(min(kept) > 1 - 1e-6) is not refitted
    if refitted:
        assert_same(after.directory, built(folder, tmp_path / "fresh").release_dir, tolerance=1e-5)


def test_refit_gives_what_a_fresh_build_gives(audio_dir: Path, model_dir: Path) -> None:
    built(audio_dir, model_dir)
    write(audio_dir, "tones/new.wav", tone(0.5, 1234))
    kept = built(audio_dir, model_dir)
    made = built(audio_dir, model_dir, refit=True)
    assert (made.published, made.release_dir.name) == (True, "0003")
    assert made.manifest.encoder.key != kept.manifest.encoder.key
    assert_same(made.release_dir, built(audio_dir, model_dir.with_name("fresh")).release_dir, tolerance=1e-5)
    assert not built(audio_dir, model_dir).published


@pytest.mark.parametrize("lost", ["", "wav", "features", "encoder", "release"])
def test_the_work_folder_may_be_deleted(audio_dir: Path, model_dir: Path, lost: str) -> None:
    built(audio_dir, model_dir)
    write(audio_dir, "tones/new.wav", tone(0.5, 1234))
    kept = built(audio_dir, model_dir)
    shutil.rmtree(model_dir / "work" / lost, ignore_errors=True)
    made = built(audio_dir, model_dir)
    assert (made.published, made.release_dir) == (False, kept.release_dir)
    write(audio_dir, "tones/newer.wav", tone(0.5, 700))
    newest = open_release(built(audio_dir, model_dir).release_dir)
    np.testing.assert_allclose(
        vector_of(newest, "tones/new.wav"), vector_of(open_release(kept.release_dir), "tones/new.wav"), atol=1e-5
    )


def test_the_steps_one_by_one_are_the_build(audio_dir: Path, model_dir: Path) -> None:
    by_steps = model_dir.with_name("steps")
    conversion = convert_step(audio_dir, by_steps, n_workers=1)
    fitted = export_step(by_steps, encoder="Slopes")
    made = index_step(by_steps, baselines=False)
    whole = built(audio_dir, model_dir)
    assert conversion == whole.conversion
    assert fitted.facts == whole.manifest.encoder
    assert made.published
    assert_same(made.release_dir, whole.release_dir, tolerance=0)
    assert made.manifest.build_key == whole.manifest.build_key
    assert not built(audio_dir, by_steps).published
    assert not index_step(by_steps, baselines=False).published


def test_a_step_too_early_says_which_comes_first(audio_dir: Path, model_dir: Path) -> None:
    with pytest.raises(BadCatalogue, match="expected converted clips: run `audiorec convert`"):
        export_step(model_dir)
    with pytest.raises(
        BadModelDir, match=f"got {model_dir} without an encoder .*, expected one: run `audiorec export`"
    ):
        index_step(model_dir)
    convert_step(audio_dir, model_dir, n_workers=1)
    with pytest.raises(
        BadModelDir, match=f"got {model_dir} without an encoder .*, expected one: run `audiorec export`"
    ):
        index_step(model_dir)


def test_an_encoder_of_other_code_is_exported_again(
    audio_dir: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(audio_dir, model_dir)
    monkeypatch.setattr(Slopes, "version", 2)
    with pytest.raises(BadModelDir, match="without an encoder exported by this audiorec, expected one"):
        index_step(model_dir)
    assert built(audio_dir, model_dir).release_dir.name == "0002"


def test_an_unknown_encoder_is_refused_before_converting(audio_dir: Path, model_dir: Path) -> None:
    with pytest.raises(BadSetting, match=r"got encoder 'MFFC', expected one of .*base, .*MeanMel, MFCC, Slopes"):
        build(audio_dir, model_dir, encoder="MFFC")
    assert not model_dir.exists()


@pytest.mark.parametrize("inside", [".", "model", "tones/../deep/er"])
@pytest.mark.parametrize("step", [build, convert_step])
def test_a_model_directory_among_the_clips_is_refused(audio_dir: Path, inside: str, step: Callable[..., Any]) -> None:
    with pytest.raises(
        BadSetting, match=rf"got the model directory {audio_dir}.* inside the folder of clips {audio_dir}"
    ):
        step(audio_dir, audio_dir / inside)
    assert sorted(path.name for path in audio_dir.iterdir()) == ["noises", "tones"]


@pytest.mark.parametrize("name", ["empty", "only_text", "missing"])
def test_a_folder_with_nothing_usable_is_refused(tmp_path: Path, model_dir: Path, name: str) -> None:
    if name != "missing":
        (tmp_path / name).mkdir()
    if name == "only_text":
        (tmp_path / name / "clip.wav").write_text("this is not a sound")
    expected = {
        "empty": "a folder without a clip",
        "only_text": "got 1 files, none of them usable",
        "missing": "does not exist, expected a folder of clips",
    }
    with pytest.raises(BadCatalogue, match=expected[name]):
        built(tmp_path / name, model_dir)
    assert release_names(model_dir) == []


def test_a_catalogue_that_lost_everything_keeps_its_release(audio_dir: Path, model_dir: Path) -> None:
    built(audio_dir, model_dir)
    shutil.rmtree(audio_dir)
    audio_dir.mkdir()
    with pytest.raises(BadCatalogue, match="got a folder without a clip in it"):
        built(audio_dir, model_dir)
    assert open_release(model_dir, verify=True).name == "0001"


def cut_short(model_dir: Path) -> None:
    path = model_dir / "versions" / "0001" / "index.ann"
    path.chmod(0o644)
    os.truncate(path, 100)


def flip_a_bit(model_dir: Path) -> None:
    path = model_dir / "versions" / "0001" / "encoder.pt"
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_the_manifest(model_dir: Path) -> None:
    (model_dir / "versions" / "0001" / "manifest.json").unlink()


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, lose_the_manifest])
def test_building_again_mends_a_damaged_release(audio_dir: Path, model_dir: Path, damage: Change) -> None:
    intact = copied(built(audio_dir, model_dir).release_dir, model_dir.with_name("intact"))
    damage(model_dir)
    with pytest.raises(BadModelDir):
        open_release(model_dir, verify=True)
    made = built(audio_dir, model_dir)
    assert (made.published, made.release_dir.name) == (True, "0002")
    assert_same(open_release(model_dir).directory, intact, tolerance=0)


def without_current(model_dir: Path) -> None:
    (model_dir / "current").unlink()


def half_swapped(model_dir: Path) -> None:
    (model_dir / "current").rename(model_dir / ".current")
    (model_dir / "current").symlink_to("versions/0001")


def dangling(model_dir: Path) -> None:
    without_current(model_dir)
    (model_dir / "current").symlink_to("versions/0009")


@pytest.mark.parametrize("change", [without_current, half_swapped, dangling])
def test_a_release_that_is_there_is_made_current(audio_dir: Path, model_dir: Path, change: Change) -> None:
    """As after a build that was killed between its last two steps."""
    built(audio_dir, model_dir)
    write(audio_dir, "tones/new.wav", tone(0.5, 1234))
    built(audio_dir, model_dir)
    state = tree_state(model_dir / "versions")
    change(model_dir)
    made = built(audio_dir, model_dir)
    assert (made.published, made.release_dir.name) == (False, "0002")
    assert os.readlink(model_dir / "current") == "versions/0002"
    assert tree_state(model_dir / "versions") == state
    assert (made.held_back, (model_dir / ".current").is_symlink()) == ("", False)


def test_what_a_person_went_back_to_stays_until_told_otherwise(audio_dir: Path, model_dir: Path) -> None:
    built(audio_dir, model_dir)
    write(audio_dir, "tones/new.wav", tone(0.5, 1234))
    built(audio_dir, model_dir)
    make_current(model_dir, "0001")
    again = built(audio_dir, model_dir)
    assert (again.published, again.release_dir.name) == (False, "0002")
    assert again.held_back == "another one was made current since"
    assert os.readlink(model_dir / "current") == "versions/0001"
    told = built(audio_dir, model_dir, guard=Guard(make_current=True))
    assert (told.published, told.held_back, told.release_dir.name) == (False, "", "0002")
    assert os.readlink(model_dir / "current") == "versions/0002"


def test_a_release_that_is_worse_does_not_become_current(audio_dir: Path, model_dir: Path) -> None:
    built(audio_dir, model_dir)
    write(audio_dir, "tones/new.wav", tone(0.5, 1234))
    made = built(audio_dir, model_dir, guard=Guard(tolerance=-2.0))
    assert (made.published, made.release_dir.name) == (True, "0002")
    assert made.held_back.startswith("recall@10 is 1.0000, expected at least 3.0000, as release 0001 has 1.0000; P@5")
    assert made.manifest.held_back == made.held_back
    assert os.readlink(model_dir / "current") == "versions/0001"
    again = built(audio_dir, model_dir)
    assert (again.published, again.held_back, again.release_dir) == (False, made.held_back, made.release_dir)
    write(audio_dir, "tones/newer.wav", tone(0.5, 1500))
    third = built(audio_dir, model_dir)
    assert (third.published, third.held_back, third.release_dir.name) == (True, "", "0003")


def test_a_build_does_not_undo_what_was_added_and_removed(audio_dir: Path, model_dir: Path, tmp_path: Path) -> None:
    """Unless it is told so; and what is in the folder by then, or no longer, is nothing undone."""
    built(audio_dir, model_dir)
    write(tmp_path / "more", "tones/added.wav", tone(0.5, 700))
    write(tmp_path / "more", "tones/low.wav", tone(0.5, 250))
    add(model_dir, [tmp_path / "more"], replace=True)
    remove(model_dir, ["noises/white.wav"])
    made = built(audio_dir, model_dir)
    assert (made.published, made.release_dir.name) == (True, "0004")
    assert made.held_back == (
        "lacks 2 clips that had been added ('tones/added.wav'): put them into the folder; "
        "has a clip again that had been removed ('noises/white.wav'): take them out of the folder"
    )
    assert os.readlink(model_dir / "current") == "versions/0003"
    assert not built(audio_dir, model_dir).published
    shutil.copytree(tmp_path / "more", audio_dir, dirs_exist_ok=True)
    (audio_dir / "noises/white.wav").unlink()
    done = built(audio_dir, model_dir)
    assert (done.published, done.held_back, done.release_dir.name) == (True, "", "0005")
    edited_dir = model_dir / "versions" / "0003"
    assert sorted(row["clip_id"] for row in rows_of(edited_dir)) == [r["clip_id"] for r in rows_of(done.release_dir)]
    assert not (done.release_dir / "changes.tsv").exists()


def test_a_build_undoes_what_was_added_when_told_so(audio_dir: Path, model_dir: Path, tmp_path: Path) -> None:
    first = built(audio_dir, model_dir)
    write(tmp_path / "more", "tones/added.wav", tone(0.5, 700))
    add(model_dir, [tmp_path / "more"])
    made = built(audio_dir, model_dir, guard=Guard(make_current=True))
    assert (made.published, made.held_back, made.release_dir.name) == (True, "", "0003")
    assert rows_of(made.release_dir) == rows_of(first.release_dir)
    assert (made.release_dir / "encoder.pt").samefile(first.release_dir / "encoder.pt")


def test_a_current_that_was_copied_as_a_folder_is_refused(audio_dir: Path, model_dir: Path) -> None:
    release_dir = built(audio_dir, model_dir).release_dir
    without_current(model_dir)
    copied(release_dir, model_dir / "current")
    made = built(audio_dir, model_dir)
    assert (made.published, made.held_back) == (False, "")  # it is whole, and of this build
    write(audio_dir, "tones/new.wav", tone(0.5, 1234))
    with pytest.raises(BadModelDir, match=rf"got {model_dir / 'current'}, which is a folder, expected a link"):
        built(audio_dir, model_dir)
    shutil.rmtree(model_dir / "current")
    assert built(audio_dir, model_dir).release_dir.name == "0002"
    assert open_release(model_dir, verify=True).name == "0002"


def test_two_builds_at_once_are_one_and_a_refusal(audio_dir: Path, model_dir: Path) -> None:
    refused = []

    def meanwhile(items: Any, **_: Any) -> Any:
        with pytest.raises(
            Busy, match=rf"got the model directory {model_dir} in use .*\(process {os.getpid()}, since 2"
        ):
            built(audio_dir, model_dir)
        refused.append(True)
        return items

    assert built(audio_dir, model_dir, progress=meanwhile).published
    assert len(refused) > 1
    with Workplace(model_dir).locked(), pytest.raises(Busy):
        index_step(model_dir)
    assert not built(audio_dir, model_dir).published


@pytest.fixture
def somebody_else(audio_dir: Path) -> Iterator[Path]:
    """A folder, with the clips in it, that this process may read and not write to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(audio_dir, folder / "clips")
        built(folder / "clips", folder / "model")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        is_root = os.geteuid() == 0
        if is_root:  # who may write everywhere
            os.seteuid(NOBODY)
        yield folder
        if is_root:
            os.seteuid(0)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)


@pytest.mark.parametrize("name", ["model", "new"])
def test_a_read_only_disk_is_told(somebody_else: Path, name: str) -> None:
    with pytest.raises(NoSpace, match=r"got 'Permission denied' while writing .*, expected room and permission"):
        built(somebody_else / "clips", somebody_else / name)
    assert open_release(somebody_else / "model", verify=True).name == "0001"


@pytest.mark.parametrize("way", ["model", "model/work", "model/versions"])
def test_a_file_in_the_way_is_told(audio_dir: Path, model_dir: Path, way: str) -> None:
    path = model_dir.parent / way
    path.parent.mkdir(exist_ok=True)
    path.write_text("somebody's notes")
    with pytest.raises((BadSetting, NoSpace), match="expected"):
        built(audio_dir, model_dir)
    assert path.read_text() == "somebody's notes"


@pytest.mark.parametrize("max_file_bytes", [600, 5_000, 12_000, 15_000])
def test_a_file_that_cannot_be_written_is_told(
    audio_dir: Path, model_dir: Path, tmp_path: Path, max_file_bytes: int
) -> None:
    """As by a quota: the system refuses every byte beyond the limit, in whatever file."""
    ended = audiorec_build(audio_dir, model_dir, tmp_path / "scratch", max_file_bytes=max_file_bytes)
    assert ended.code == NoSpace.exit_code == 7, ended.output
    assert ended.output.startswith("error: ")
    assert "expected room and permission" in ended.output or "free space" in ended.output
    assert ended.output.count("\n") == 1
    assert release_names(model_dir) == []
    assert audiorec_build(audio_dir, model_dir, tmp_path / "scratch").code == 0
    assert_same(open_release(model_dir).directory, built(audio_dir, tmp_path / "fresh").release_dir, tolerance=1e-6)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_build_on_a_full_disk_goes_on_when_there_is_room(audio_dir: Path, small_disk: Path, tmp_path: Path) -> None:
    model_dir = small_disk / "model"
    told = []
    for kilobytes in range(4, 1000, 12):
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", small_disk], check=True)
        ended = audiorec_build(audio_dir, model_dir, tmp_path / "scratch")
        if ended.code == 0:
            break
        assert ended.code == NoSpace.exit_code, (kilobytes, ended)
        assert ended.output.count("\n") == 1
        told.append(ended.output)
    assert len(told) > 10
    assert all("No space left on device" in message for message in told)
    assert_same(open_release(model_dir).directory, built(audio_dir, tmp_path / "fresh").release_dir, tolerance=1e-6)


def test_room_is_taken_before_it_is_written_to(small_disk: Path) -> None:
    """Its first page and its last would fit; writing through a map to one between them would end the process."""
    subprocess.run(["mount", "-o", "remount,size=16k", small_disk], check=True)
    with pytest.raises(OSError, match="No space left on device"):
        new_npy(small_disk / "embeddings.npy", (10_000, 4), np.float32)
