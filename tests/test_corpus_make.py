"""The corpus on disk: shards that are written whole, read back, gone on with after a kill, and refused when broken."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from audiorec.errors import BadCatalogue, BadSetting, Busy, TrainingFailed
from audiorec.files import locked
from audiorec.training.corpus import make as maker
from audiorec.training.corpus.clip import Clip
from audiorec.training.corpus.patch import N_PARAMETERS
from audiorec.training.corpus.reader import Corpus
from audiorec.training.corpus.shards import CORPUS_FILE, shard_paths, write_shard
from audiorec.training.corpus.summary import corpus_summary, credits


@pytest.fixture(autouse=True)
def small_shards_of_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs no fluidsynth and no espeak-ng."""
    monkeypatch.setattr(maker, "SHARES", {"patches": 1.0})
    monkeypatch.setattr(maker, "SHARD_CLIPS", 12)


def contents(corpus_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(corpus_dir.iterdir()) if path.name != ".lock"}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    clips = [
        Clip(np.arange(-5, 200, dtype=np.int16), "a\tb", "one", "x", "CC0-1.0", "me", (0.25, 0.5)),
        Clip(np.full(160, 3, np.int16), "", "one", "y", "MIT", "you"),
    ]
    assert write_shard(tmp_path, 0, "first", clips) == 2
    assert write_shard(tmp_path, 1, "second", [Clip(np.ones(170, np.int16), "c", "two", "z")]) == 1
    (tmp_path / CORPUS_FILE).write_text(json.dumps({"n_shards": 2}))
    corpus = Corpus(tmp_path)
    assert len(corpus) == 3
    assert corpus.n_samples.tolist() == [205, 160, 170]
    for row, clip in enumerate(clips):
        np.testing.assert_array_equal(corpus[row], clip.pcm)
    assert corpus.waveform(2).dtype == np.float32
    assert corpus.waveform(2).max() == pytest.approx(1 / 32767)
    assert corpus.label.names[corpus.label.ids].tolist() == ["a\tb", "", "c"]
    assert corpus.instance.ids[0] == corpus.instance.ids[1] != corpus.instance.ids[2]
    assert corpus.source.names[corpus.source.ids].tolist() == ["first", "first", "second"]
    assert corpus.licence.names[corpus.licence.ids].tolist() == ["CC0-1.0", "MIT", "CC0-1.0"]
    assert corpus.parameters.shape == (3, N_PARAMETERS)
    assert corpus.parameters[0, :2].tolist() == [0.25, 0.5]
    assert np.isnan(corpus.parameters[0, 2:]).all()
    assert np.isnan(corpus.parameters[1:]).all()
    assert credits(corpus) == ["audiorec, CC0-1.0: 1 clips", "me, CC0-1.0: 1 clips", "you, MIT: 1 clips"]
    assert "second: 1 clips, 0.0 hours, 1 labels, 1 instances" in corpus_summary(tmp_path)


def test_clips_are_views_of_the_file(tmp_path: Path) -> None:
    maker.make(tmp_path, n_clips=12)
    clip = Corpus(tmp_path)[3]
    assert not clip.flags.owndata
    assert not clip.flags.writeable


def test_a_corpus_is_a_function_of_its_seed_and_not_of_its_workers(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        maker.make(tmp_path / name, n_clips=30, seed=seed)
    assert contents(tmp_path / "one") == contents(tmp_path / "again")
    assert contents(tmp_path / "one") != contents(tmp_path / "other")
    assert len(Corpus(tmp_path / "one")) == 30


def test_workers_make_what_one_process_makes(tmp_path: Path) -> None:
    maker.make(tmp_path / "one", n_clips=24)
    maker.make(tmp_path / "two", n_clips=24, n_workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_what_is_there_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker.make(tmp_path, n_clips=30)
    monkeypatch.setattr(maker, "fill", lambda *arguments: pytest.fail("made again"))
    maker.make(tmp_path, n_clips=30)


PROGRAM = """
import sys, time
from pathlib import Path
from audiorec.training.corpus import make as maker
maker.SHARES, maker.SHARD_CLIPS = {"patches": 1.0}, 12
maker.make(Path(sys.argv[1]), n_clips=240)
"""


def test_it_goes_on_after_a_kill(tmp_path: Path) -> None:
    killed_dir, whole_dir = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(killed_dir)])
    while process.poll() is None and not shard_paths(killed_dir, 2)[2].exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was through before it could be killed"
    sound_path, _, table_path = shard_paths(killed_dir, 1)
    table_path.unlink()  # as if the kill had come between the sound and the table
    sound_path.write_bytes(b"half")
    (killed_dir / ".part-1-leftover").write_bytes(b"x")
    with pytest.raises(BadCatalogue, match="missing or broken"):
        Corpus(killed_dir)
    for folder in (killed_dir, whole_dir):
        maker.make(folder, n_clips=240)
    assert contents(killed_dir) == contents(whole_dir)


@pytest.mark.parametrize("change", [{"seed": 1}, {"n_clips": 36}])
def test_another_corpus_is_not_gone_on_with(tmp_path: Path, change: dict[str, int]) -> None:
    maker.make(tmp_path, n_clips=24)
    before = contents(tmp_path)
    with pytest.raises(BadSetting, match=r"another corpus.*'n_clips': 24.*expected"):
        maker.make(tmp_path, **{"n_clips": 24, **change})
    assert contents(tmp_path) == before


@pytest.mark.parametrize("wrong", [{"n_clips": 0}, {"n_workers": 0}, {"seed": -1}])
def test_numbers_out_of_range(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(BadSetting, match=rf"got .*{next(iter(wrong.values()))}.*expected at least"):
        maker.make(tmp_path, **{"n_clips": 12, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_two_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / ".lock", "the corpus"), pytest.raises(Busy):
        maker.make(tmp_path, n_clips=12)


def test_a_worker_that_dies_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maker, "fill", die)
    with pytest.raises(TrainingFailed, match="got a worker that died, expected 2") as caught:
        maker.make(tmp_path, n_clips=24, n_workers=2)
    assert caught.value.code == "worker_died"


def die(*arguments: object) -> None:
    import os

    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("file", [*(path.name for path in shard_paths(Path(), 0)), CORPUS_FILE])
@pytest.mark.parametrize("fault", ["missing", "empty", "cut off"])
def test_a_broken_corpus_is_refused(tmp_path: Path, file: str, fault: str) -> None:
    maker.make(tmp_path, n_clips=12)
    path = tmp_path / file
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if fault == "empty" else path.read_bytes()[:-7])
    with pytest.raises(BadCatalogue, match=r"expected a .*corpus"):
        Corpus(tmp_path)


def test_every_source_has_its_share() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)
    assert set(SHARES) == set(maker.MAKERS)


SHARES = dict(maker.SHARES)


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    yield
    import multiprocessing

    assert multiprocessing.active_children() == []
