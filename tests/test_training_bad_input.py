"""What a person, a file or the machine can get wrong in a training: one error each, and nothing lost."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainings import TINY, disk_of, make_wavs, one_thread, settings
from typer.testing import CliRunner

from audiorec.cli import app
from audiorec.encoders.vqvae.config import PRESETS
from audiorec.encoders.vqvae.weights import load_model, read_checkpoint
from audiorec.errors import BadCatalogue, BadCheckpoint, BadSetting, Busy, NoSpace, TrainingFailed
from audiorec.files import locked
from audiorec.training.checkpoint import save_last
from audiorec.training.codes import Usage
from audiorec.training.data import Crops, read_clips
from audiorec.training.learner import Learner
from audiorec.training.memory import is_out_of_memory
from audiorec.training.processes import Process
from audiorec.training.run import run
from audiorec.training.settings import make_settings
from audiorec.training.summary import training_summary
from audiorec.training.vqvae import train


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def wav_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wavs(tmp_path_factory.mktemp("wav"))


@pytest.fixture(scope="module")
def trained_dir(wav_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("runs") / "run"
    train(wav_dir, out_dir, settings())
    return out_dir


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint(share: float, trained_dir: Path, tmp_path: Path) -> None:
    content = (trained_dir / "last.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadCheckpoint, match=r"cut\.pt that is no whole checkpoint"):
        read_checkpoint(tmp_path / "cut.pt")


def test_a_checkpoint_of_another_program(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(BadCheckpoint, match="of another program"):
        read_checkpoint(tmp_path / "other.pt")


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"format": "audiorec-vqvae", "version": 1, "config": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(BadCheckpoint):
        read_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"version": 2}, "version 2, expected 1", id="version"),
        pytest.param({"config": {"channels": -1}}, "without a whole config", id="config"),
        pytest.param(
            {"config": TINY.model_copy(update={"channels": 12}).model_dump()}, "not of its config", id="sizes"
        ),
        pytest.param({"model": {}}, "not of its config", id="no weights"),
    ],
)
def test_a_checkpoint_that_contradicts_itself(
    change: dict[str, Any], message: str, trained_dir: Path, tmp_path: Path
) -> None:
    torch.save({**read_checkpoint(trained_dir / "best.pt"), **change}, tmp_path / "best.pt")
    with pytest.raises(BadCheckpoint, match=message):
        load_model(tmp_path / "best.pt")


def test_a_warm_start_from_another_config_names_what_differs(wav_dir: Path, trained_dir: Path, tmp_path: Path) -> None:
    other = settings(model=TINY.model_copy(update={"channels": 12, "n_bottom_codes": 32}))
    with pytest.raises(BadCheckpoint, match=r"channels = 8 \(expected 12\), n_bottom_codes = 16 \(expected 32\)"):
        train(wav_dir, tmp_path / "run", other, start_from=trained_dir / "best.pt")
    assert not (tmp_path / "run/last.pt").exists()


def test_resuming_with_other_settings_names_them(wav_dir: Path, trained_dir: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"seed = 3 \(it has 0\).*--from"):
        run(wav_dir, trained_dir, {"seed": 3}, resume=True)


def test_resuming_where_nothing_is(wav_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"got no file last\.pt"):
        run(wav_dir, tmp_path / "none", {}, resume=True)


def test_resuming_from_a_best_checkpoint(wav_dir: Path, trained_dir: Path, tmp_path: Path) -> None:
    shutil.copy(trained_dir / "best.pt", tmp_path / "last.pt")
    with pytest.raises(BadCheckpoint, match="to use, not to go on from"):
        run(wav_dir, tmp_path, {}, resume=True)


def test_resume_and_from_are_different_things(wav_dir: Path, trained_dir: Path) -> None:
    with pytest.raises(BadSetting, match="--resume and --from"):
        run(wav_dir, trained_dir, {}, resume=True, start_from=trained_dir / "best.pt")


def test_a_run_is_not_overwritten(wav_dir: Path, trained_dir: Path) -> None:
    before = (trained_dir / "last.pt").read_bytes()
    with pytest.raises(BadSetting, match="has a run in it"):
        train(wav_dir, trained_dir, settings())
    assert (trained_dir / "last.pt").read_bytes() == before


def test_two_runs_in_one_folder(wav_dir: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "run/lock", "the run"), pytest.raises(Busy):
        train(wav_dir, tmp_path / "run", settings())


@pytest.mark.parametrize(("n_clips", "group_size"), [(1, 1), (7, 1), (12, 12)])
def test_too_few_clips(n_clips: int, group_size: int, tmp_path: Path) -> None:
    make_wavs(tmp_path / "wav", n_clips, group_size=group_size)
    with pytest.raises(BadCatalogue, match=f"got {n_clips} clips of .* expected at least 8 clips of 2 groups"):
        train(tmp_path / "wav", tmp_path / "run", settings())


def test_a_converted_clip_that_has_gone(tmp_path: Path) -> None:
    wav_dir = make_wavs(tmp_path / "wav")
    next(wav_dir.rglob("*3.wav")).write_bytes(b"")
    with pytest.raises(BadCatalogue, match="convert again"):
        read_clips(wav_dir)


def test_a_loss_that_is_no_number_stops_with_step_and_last_good_checkpoint(
    wav_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = Crops.batch

    def batch(self: Crops, step: int, *arguments: Any, **named: Any) -> np.ndarray[Any, Any]:
        crops = unchanged(self, step, *arguments, **named)
        return crops * np.float32(np.nan) if step == 6 and arguments == (4,) else crops

    monkeypatch.setattr(Crops, "batch", batch)
    with pytest.raises(TrainingFailed, match=r"loss of nan at step 6.*last\.pt of step 4") as caught:
        train(wav_dir, tmp_path / "run", settings(epochs=4))
    assert caught.value.code == "nan_loss"
    for name in ("last.pt", "best.pt"):
        weights = read_checkpoint(tmp_path / "run" / name)["model"]
        assert all(bool(torch.isfinite(value).all()) for value in weights.values() if value.is_floating_point())


@pytest.mark.parametrize(
    ("n_fitting", "message"), [(3, "2 would fit: begin anew with --batch-size 2"), (0, "not even 1")]
)
def test_out_of_memory_says_what_would_fit(
    n_fitting: int, message: str, wav_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = Learner._losses

    def losses(self: Learner, waveforms: np.ndarray[Any, Any]) -> Any:
        if len(waveforms) > n_fitting:
            torch.empty(2**52)
        return unchanged(self, waveforms)

    monkeypatch.setattr(Learner, "_losses", losses)
    with pytest.raises(TrainingFailed, match=message) as caught:
        train(wav_dir, tmp_path / "run", settings(batch_size=8))
    assert caught.value.code == "out_of_memory"


def test_what_is_out_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("sizes do not match"))


def test_a_full_disk_while_saving_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    learner = Learner(settings(), Process(0, 1, torch.device("cpu")))
    save_last(tmp_path / "last.pt", learner.state)
    before = (tmp_path / "last.pt").read_bytes()
    learner.state.step = 7
    with disk_of(len(before) // 2), pytest.raises(NoSpace, match=r"last\.pt"):
        save_last(tmp_path / "last.pt", learner.state)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_run_that_collapses_says_so(wav_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Usage, "is_collapsed", lambda self: len(self._counts) == TINY.n_top_codes)
    said: list[str] = []
    trained = train(wav_dir, tmp_path / "run", settings(), say=said.append)
    assert trained.collapsed == ("top",)
    assert [line.count("COLLAPSED") for line in said if "validation: loss" in line][-1] == 1
    assert training_summary(trained).count("COLLAPSED") == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({}, "^got no end for the run, expected one of epochs, minutes, cpu_minutes", id="no end"),
        pytest.param({"minutes": 1, "epochs": 1}, "^got epochs and minutes for the run, expected one", id="two ends"),
        pytest.param({"minutes": -1}, "minutes = '-1', expected greater than 0", id="negative"),
        pytest.param({"epochs": 1, "batch_size": 0}, "batch_size = '0'", id="nothing in a batch"),
        pytest.param({"epochs": 1, "crop_samples": 512}, "has .* top codes", id="a crop without a code"),
        pytest.param({"epochs": 1, "colour": "red"}, "colour", id="unknown"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        make_settings(given)


def test_an_unknown_preset_lists_them() -> None:
    with pytest.raises(BadSetting, match="got preset 'huge', expected one of default, reference"):
        make_settings({"epochs": 1}, preset="huge")


def test_every_preset_can_be_trained_without_another_word() -> None:
    crops = {preset: make_settings({"epochs": 1}, preset=preset).crop_samples for preset in PRESETS}
    assert crops == {"default": 2**15, "reference": 2**16}


@pytest.mark.parametrize("text", ["seed = ", "epochs = 1\n[model]\nchannels = 'many'", None])
def test_a_config_that_cannot_be_used(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.toml").write_text(text)
    with pytest.raises(BadSetting, match=r"config\.toml|channels"):
        make_settings({}, config_path=tmp_path / "config.toml")


def test_the_command_line_says_it_in_one_line(wav_dir: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["train", "vqvae", str(wav_dir), "--out", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "expected one of epochs, minutes, cpu_minutes" in done.output
    arguments = ["train", "vqvae", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run"), "--epochs", "1"]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.output.count("\n")) == (3, 1)
