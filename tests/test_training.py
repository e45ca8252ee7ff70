"""Training: data, schedule, resuming to the last digit, warm starts, logs, several processes."""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainings import TINY, make_wavs, one_thread, settings

from audiorec.audio import CLIP_SAMPLES, windows
from audiorec.encoders.vqvae.weights import load_model, read_checkpoint
from audiorec.training.data import Clip, Crops, ahead, crop, read_clips, split
from audiorec.training.logs import sound_of
from audiorec.training.processes import Process
from audiorec.training.run import run
from audiorec.training.schedule import one_cycle
from audiorec.training.settings import make_settings, to_toml
from audiorec.training.vqvae import train


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def wav_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wavs(tmp_path_factory.mktemp("wav"))


def state_of(path: Path) -> dict[str, Any]:
    return read_checkpoint(path)


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal that Ctrl-C sends, while that step is learnt."""
    from audiorec.training.learner import Learner

    unchanged = Learner.step

    def step_and_stop(self: Learner, *arguments: Any) -> dict[str, float]:
        if self.state.step + 1 == step:
            signal.raise_signal(signal.SIGINT)
        return unchanged(self, *arguments)

    monkeypatch.setattr(Learner, "step", step_and_stop)


@pytest.mark.parametrize("step", [1, 4, 7])
def test_a_resumed_run_equals_an_unbroken_one(
    step: int, wav_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(epochs=3)
    unbroken = train(wav_dir, tmp_path / "unbroken", asked)
    with monkeypatch.context() as patched:
        stop_at(step, patched)
        with pytest.raises(KeyboardInterrupt):
            train(wav_dir, tmp_path / "broken", asked)
    assert state_of(tmp_path / "broken/last.pt")["step"] == step
    torch.manual_seed(99)  # whatever a new process begins with
    resumed = train(wav_dir, tmp_path / "broken", asked, resume=True)
    assert resumed.n_steps == unbroken.n_steps > step
    assert resumed.figures == pytest.approx(unbroken.figures, rel=1e-5)
    for name in ("last.pt", "best.pt"):
        one, other = state_of(tmp_path / "unbroken" / name), state_of(tmp_path / "broken" / name)
        for unlike in ("seconds", "cpu_seconds", "figures"):
            del one[unlike], other[unlike]
        assert_same(one, other)


def test_ctrl_c_is_heard_again_after_a_training(wav_dir: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    train(wav_dir, tmp_path / "run", settings(epochs=0.1))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_resumed_changes_nothing(wav_dir: Path, tmp_path: Path) -> None:
    first = train(wav_dir, tmp_path / "run", settings())
    before = (tmp_path / "run/last.pt").read_bytes()
    again = train(wav_dir, tmp_path / "run", settings(), resume=True)
    assert (again.n_steps, again.figures) == (first.n_steps, first.figures)
    assert (tmp_path / "run/last.pt").read_bytes() == before


def test_a_run_ends_after_its_steps(wav_dir: Path, tmp_path: Path) -> None:
    assert train(wav_dir, tmp_path / "run", settings(steps=3)).n_steps == 3


def test_best_is_kept_apart_from_last(wav_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audiorec.training.learner import Learner

    losses = iter([3.0, 1.0, 2.0])
    unchanged = Learner.validate

    def validate(self: Learner, crops: Crops) -> Any:
        validation = unchanged(self, crops)
        validation.figures["loss"] = next(losses)
        return validation

    monkeypatch.setattr(Learner, "validate", validate)
    trained = train(wav_dir, tmp_path / "run", settings(epochs=4.5, validate_steps=4, batch_size=5))
    assert trained.n_steps == 9
    best, last = state_of(tmp_path / "run/best.pt"), state_of(tmp_path / "run/last.pt")
    assert (best["step"], last["step"]) == (8, 9)
    assert last["training"]["best_loss"] == best["figures"]["loss"] == 1.0
    assert "training" not in best


def test_a_warm_start_takes_the_weights_and_nothing_else(wav_dir: Path, tmp_path: Path) -> None:
    first = train(wav_dir, tmp_path / "first", settings())
    asked = settings(epochs=0.1, learning_rate=1e-12, weight_decay=0, seed=5)
    train(wav_dir, tmp_path / "second", asked, start_from=first.best_path)
    one, other = state_of(first.best_path), state_of(tmp_path / "second/last.pt")
    assert other["step"] == 1
    name = "top.down.weight"
    torch.testing.assert_close(one["model"][name], other["model"][name])


def test_a_checkpoint_is_enough_to_use_the_model(wav_dir: Path, tmp_path: Path) -> None:
    trained = train(wav_dir, tmp_path / "run", settings())
    stored = state_of(trained.best_path)
    assert stored["config"] == TINY.model_dump()
    assert stored["settings"]["seed"] == 0
    assert {"audiorec", "torch", "git"} == stored["made_with"].keys()
    model = load_model(trained.best_path)
    assert not model.training
    assert model.config == TINY


def test_minutes_end_a_run(wav_dir: Path, tmp_path: Path) -> None:
    trained = train(wav_dir, tmp_path / "run", settings(minutes=0.02))
    assert trained.n_steps > 1
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in lines if "learning_rate" in line]
    assert rates == [] or max(rates) <= 1e-3


def test_minutes_of_cpu_end_a_run_and_go_on_when_it_is_resumed(wav_dir: Path, tmp_path: Path) -> None:
    asked = settings(cpu_minutes=0.03)
    trained = train(wav_dir, tmp_path / "run", asked)
    assert trained.n_steps > 1
    last = state_of(tmp_path / "run/last.pt")
    assert last["cpu_seconds"] >= 0.03 * 60
    again = train(wav_dir, tmp_path / "run", asked, resume=True)  # its time is over
    assert again.n_steps == trained.n_steps


def test_the_log_says_what_was_asked_for(wav_dir: Path, tmp_path: Path) -> None:
    said: list[str] = []
    train(wav_dir, tmp_path / "run", settings(epochs=4), say=said.append)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    names = {name for line in lines for name in line}
    levels = {f"validation/{level}_{figure}" for level in ("top", "bottom") for figure in ("usage", "perplexity")}
    assert levels | {"learning_rate", "train/loss", "train/reconstruction", "validation/loss"} <= names
    assert any("validation: loss" in line and "in use, perplexity" in line for line in said)
    assert make_settings({}, config_path=tmp_path / "run/config.toml") == settings(epochs=4)


def test_tensorboard_has_figures_pictures_and_sounds(wav_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert train(wav_dir, tmp_path / "run", settings()).has_board
    events = EventAccumulator(str(tmp_path / "run/tensorboard"), size_guidance={"images": 0, "audio": 0})
    events.Reload()
    tags = events.Tags()
    assert {"validation/top_usage", "validation/bottom_perplexity"} <= set(tags["scalars"])
    assert "reconstruction/0" in tags["images"]
    assert {"input/0", "reconstruction/0"} <= set(tags["audio"])
    image = events.Images("reconstruction/0")[-1]
    assert (image.height, image.width) == (80, 2 * 65 + 2)


def test_without_tensorboard_it_goes_on_and_says_so(
    wav_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert not train(wav_dir, tmp_path / "run", settings()).has_board
    assert (tmp_path / "run/log.jsonl").exists()


def test_griffin_lim_gives_back_the_pitch_and_draws_no_random_numbers() -> None:
    from audiorec.audio.mel import LogMel

    wave = torch.sin(torch.arange(2**15) * (2 * math.pi * 1000 / 16_000))[None, None]
    before = torch.get_rng_state()
    sound = sound_of(LogMel()(wave)[0])
    assert torch.equal(before, torch.get_rng_state())
    assert float(sound.abs().max()) == pytest.approx(1)
    spectrum = torch.fft.rfft(sound[0]).abs()
    assert int(spectrum.argmax()) * 16_000 / sound.shape[1] == pytest.approx(1000, abs=40)


def test_one_cycle_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=101, pct_start=11 / 101)
    for step in range(101):
        mine = one_cycle(step / 100)
        assert mine == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        optimizer.step()
        if step < 100:
            schedule.step()


def test_groups_are_never_split(tmp_path: Path) -> None:
    clips = read_clips(make_wavs(tmp_path, 24, group_size=3))
    learn, validate = split(clips, 0.2, seed=3)
    assert sorted([*learn, *validate], key=str) == sorted(clips, key=str)
    assert not {clip.group for clip in learn} & {clip.group for clip in validate}
    assert 0.2 * 24 <= len(validate) <= 0.2 * 24 + 3
    assert split(clips, 0.2, seed=3) == (learn, validate)
    assert split(clips, 0.2, seed=4) != (learn, validate)
    assert min(map(len, split(clips, 0.999, seed=0))) > 0


def test_crops_are_parts_of_what_an_encoder_is_given(wav_dir: Path) -> None:
    for clip in read_clips(wav_dir)[:3]:
        pcm = np.fromfile(clip.path, "<i2", offset=44)
        whole = windows(pcm)[0] if len(pcm) < CLIP_SAMPLES else (pcm / np.float32(32767)).astype(np.float32)
        for seed in range(5):
            part = crop(clip, 2**12, np.random.default_rng(seed))
            starts = np.flatnonzero(np.isclose(whole[: len(whole) - 2**12 + 1], part[0], atol=1e-6))
            assert any(np.allclose(whole[start : start + 2**12], part, atol=1e-6) for start in starts)


def test_an_epoch_has_each_clip_once_and_long_ones_more_often(wav_dir: Path) -> None:
    clips = [
        Clip(clip.path, n_samples, clip.group)
        for clip, n_samples in zip(read_clips(wav_dir), [100, 5 * 2**15], strict=False)
    ]
    crops = Crops(clips, 2**15, seed=0)
    assert len(crops) == 6


def test_batches_are_a_function_of_seed_and_step(wav_dir: Path) -> None:
    clips = read_clips(wav_dir)
    batch = Crops(clips, 2**14, seed=0).batch(5, 8)
    assert batch.shape == (8, 1, 2**14)
    assert np.abs(batch).max() <= 1
    np.testing.assert_array_equal(Crops(clips, 2**14, seed=0).batch(5, 8), batch)
    assert not np.array_equal(Crops(clips, 2**14, seed=1).batch(5, 8), batch)
    shares = [Crops(clips, 2**14, seed=0).batch(5, 8, process=p, n_processes=2) for p in (0, 1)]
    np.testing.assert_array_equal(np.stack(shares, axis=1).reshape(batch.shape), batch)


def test_what_is_done_ahead_comes_in_order_and_errors_arrive() -> None:
    assert list(ahead(lambda i: i * i, range(20))) == [i * i for i in range(20)]

    def fail(i: int) -> int:
        if i == 3:
            raise ValueError("three")
        return i

    with pytest.raises(ValueError, match="three"):
        list(ahead(fail, range(20)))


def test_a_folder_of_clips_is_converted_and_a_model_directory_is_used(wav_dir: Path, tmp_path: Path) -> None:
    from audiorec.training.run import converted

    assert converted(wav_dir, tmp_path) == wav_dir
    (tmp_path / "model/work").mkdir(parents=True)
    (tmp_path / "model/work/wav").symlink_to(wav_dir)
    assert converted(tmp_path / "model", tmp_path) == tmp_path / "model/work/wav"


def test_run_takes_settings_from_everywhere(wav_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(to_toml(settings(epochs=2, seed=7)))
    trained = run(wav_dir, tmp_path / "run", {"epochs": 0.2, "batch_size": None}, config_path=config)
    stored = state_of(trained.best_path)["settings"]
    assert (stored["epochs"], stored["seed"], stored["batch_size"]) == (0.2, 7, 4)
    assert run(wav_dir, tmp_path / "run", {}, resume=True).n_steps == trained.n_steps


def test_two_processes_learn_what_one_does(wav_dir: Path, tmp_path: Path) -> None:
    """torchrun on two CPU processes, each half of every batch, against one process with all of it."""
    config = tmp_path / "config.toml"
    config.write_text(to_toml(settings(epochs=1, top_alone_share=0)))
    train(wav_dir, tmp_path / "one", settings(epochs=1, top_alone_share=0))
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "audiorec.cli", "train", "vqvae", str(wav_dir), "--out", str(tmp_path / "two")]
    done = subprocess.run(
        [*command, "--config", str(config), "--threads", "1"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    one, two = state_of(tmp_path / "one/last.pt"), state_of(tmp_path / "two/last.pt")
    assert one["step"] == two["step"]
    assert two["figures"]["loss"] == pytest.approx(one["figures"]["loss"], rel=0.05)
    assert done.stdout.count("clips to learn from") == 1


def test_one_process_needs_nobody() -> None:
    process = Process(0, 1, torch.device("cpu"))
    process.wait()
    assert process.any_of_us(True)
    assert not process.any_of_us(False)
    assert process.of_first(0.3) == 0.3
