"""A build killed anywhere: what is published stays whole, and the same command ends as if nothing had happened."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from children import Ended, Kill, audiorec_build
from sounds import bursts, encoded, noise, tone

from audiorec.build import build
from audiorec.release import open_release, release_names

N_POINTS = 16
KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Undisturbed:
    """A build of `audio_dir` that nobody disturbs, and a model directory, `before`, of less than half of its clips.

    fresh, next: how the build ends in an empty directory, and in a copy of `before`.
    """

    audio_dir: Path
    before: Path
    fresh: Ended
    fresh_dir: Path
    next: Ended
    next_dir: Path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    clips = {f"tones/{hz}.wav": tone(0.3, hz) for hz in (200, 900, 2500)}
    clips |= {f"noises/{seed}.wav": noise(0.2 + 0.1 * seed, seed) for seed in range(3)}
    clips |= {"noises/long.wav": bursts(20.0, 3), "noises/again.wav": noise(0.2, 0)}
    for number, (name, sound) in enumerate(clips.items()):
        for part in ("all", "some")[: 1 + (number < 3)]:
            path = folder / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(sound))
    some, every = folder / "some", folder / "all"
    (every / "noises" / "refused.wav").write_text("no sound")
    before = folder / "before"
    assert audiorec_build(some, before, folder / "scratch").code == 0
    shutil.copytree(before, folder / "next", symlinks=True)
    ended = [audiorec_build(every, folder / name, folder / "scratch") for name in ("fresh", "next")]
    assert [(end.code, "refused" in end.output) for end in ended] == [(3, True), (3, True)]
    return Undisturbed(every, before, ended[0], folder / "fresh", ended[1], folder / "next")


def assert_whole(model_dir: Path) -> None:
    """What is served is a release, every byte of it."""
    if (model_dir / "current").is_symlink():
        open_release(model_dir, verify=True)


def assert_as_if_undisturbed(model_dir: Path, undisturbed_dir: Path) -> None:
    got, expected = open_release(model_dir, verify=True), open_release(undisturbed_dir, verify=True)
    assert release_names(model_dir) == release_names(undisturbed_dir)
    np.testing.assert_allclose(got.embeddings, expected.embeddings, atol=1e-6)
    np.testing.assert_allclose(got.windows.astype(np.float32), expected.windows.astype(np.float32), atol=2e-3)
    for name in ("metadata.tsv", "metadata.arrow", "window_rows.npy", "refused.tsv"):
        assert (got.directory / name).read_bytes() == (expected.directory / name).read_bytes()
    assert got.manifest.files.keys() == {path.name for path in got.directory.iterdir()} - {"manifest.json"}
    assert got.manifest.encoder == expected.manifest.encoder


def finish(undisturbed: Undisturbed, model_dir: Path, undisturbed_dir: Path) -> None:
    """The same command again."""
    ended = audiorec_build(undisturbed.audio_dir, model_dir, model_dir.with_name("scratch"))
    assert ended.code == 3, ended.output
    assert_as_if_undisturbed(model_dir, undisturbed_dir)


def killed(undisturbed: Undisturbed, model_dir: Path, kill: Kill) -> Ended:
    ended = audiorec_build(undisturbed.audio_dir, model_dir, model_dir.with_name("scratch"), kill)
    assert ended.code == KILLED, ended.output
    assert_whole(model_dir)
    return ended


@pytest.mark.parametrize("point", range(N_POINTS))
def test_a_first_build_killed_before_a_change_to_the_disk(undisturbed: Undisturbed, tmp_path: Path, point: int) -> None:
    n_changes = len(undisturbed.fresh.changes)
    assert n_changes > 2 * N_POINTS
    kill = Kill(before_change=1 + point * (n_changes - 1) // (N_POINTS - 1))
    ended = killed(undisturbed, tmp_path / "model", kill)
    assert len(ended.changes) == kill.before_change - 1
    assert not (tmp_path / "model" / "current").exists()
    finish(undisturbed, tmp_path / "model", undisturbed.fresh_dir)


@pytest.mark.parametrize(
    "change",
    [
        "rename work/wav/ledger.jsonl",
        "rename work/wav/clips.tsv",
        "rename work/encoder/encoder.pt",
        "rename work/encoder/encoder.json",
        "mkdir work/release",
        "open work/release/manifest.json",
        "rename versions/0002",
        "symlink .current",
        "rename current",
    ],
)
def test_a_next_build_killed_before_a_change_to_the_disk(undisturbed: Undisturbed, tmp_path: Path, change: str) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(undisturbed.before, model_dir, symlinks=True)
    kill = Kill(before_change=1 + undisturbed.next.changes.index(change))
    ended = killed(undisturbed, model_dir, kill)
    assert ended.changes[-1] == undisturbed.next.changes[kill.before_change - 2]
    assert open_release(model_dir).name == "0001"
    finish(undisturbed, model_dir, undisturbed.next_dir)


@pytest.mark.parametrize(("stage", "after_items"), [("convert", 1), ("convert", 7), ("encode", 1), ("encode", 5)])
@pytest.mark.parametrize("torn", [False, True], ids=["", "torn"])
def test_a_build_killed_between_two_clips(
    undisturbed: Undisturbed, tmp_path: Path, stage: str, after_items: int, torn: bool
) -> None:
    """torn: the line that was being written is there by half, as when the machine lost power."""
    model_dir = tmp_path / "model"
    killed(undisturbed, model_dir, Kill(stage=stage, after_items=after_items))
    lines = (model_dir / "work" / "wav" / "ledger.jsonl").read_text().splitlines()
    assert len(lines) == 1 + (after_items if stage == "convert" else 9)  # the first names the recipe
    if torn:
        for path in (model_dir / "work").rglob("*.jsonl"):
            path.write_bytes(path.read_bytes()[:-20])
        for path in (model_dir / "work").rglob("features.f32"):
            path.write_bytes(path.read_bytes() + b"half")
    finish(undisturbed, model_dir, undisturbed.fresh_dir)


def test_a_build_killed_again_and_again(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """It gets further every time, so that in the end nothing is left to kill."""
    model_dir = tmp_path / "model"
    for before_change in (6, 12, 20, 30, 40, 50, 60):
        ended = audiorec_build(
            undisturbed.audio_dir, model_dir, tmp_path / "scratch", Kill(before_change=before_change)
        )
        assert ended.code == KILLED
        assert_whole(model_dir)
    finish(undisturbed, model_dir, undisturbed.fresh_dir)


def test_the_program_itself_killed_in_the_middle(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """As a person has it: the executable, all cores, decoding in children of its own."""
    model_dir = tmp_path / "model"
    command = [sys.executable, "-m", "audiorec.cli", "build", str(undisturbed.audio_dir), str(model_dir)]
    command += ["--encoder", "MeanMel", "--no-baselines"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (model_dir / "work" / "features").exists():
            time.sleep(0.01)
        process.kill()
    assert process.returncode == KILLED
    assert release_names(model_dir) == []
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "0 of the files new" in done.stdout
    assert "published release 0001" in done.stdout
    build(undisturbed.audio_dir, tmp_path / "undisturbed", encoder="MeanMel", baselines=False)
    assert_as_if_undisturbed(model_dir, tmp_path / "undisturbed")
