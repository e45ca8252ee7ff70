"""Training by contrast: clips, views, losses, batches, resuming to the last digit, what can go wrong."""

import json
import math
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from trainings import TINY_CONV, contrast_settings, make_wavs, one_thread

from audiorec.catalogue.convert import CLIPS_FILE, read_conversion, write_rows
from audiorec.encoders import make_encoder
from audiorec.encoders.pretrained import Base
from audiorec.encoders.shipped import load_base, read_contrast
from audiorec.errors import BadCatalogue, BadCheckpoint, BadSetting, TrainingFailed
from audiorec.evaluate import Truth
from audiorec.training.contrast.clips import Clips, from_corpus, from_wavs, held_back
from audiorec.training.contrast.learner import Batch, ContrastLearner
from audiorec.training.contrast.losses import contrast
from audiorec.training.contrast.measure import Measure, reciprocal_rank
from audiorec.training.contrast.model import ContrastModel
from audiorec.training.contrast.sampler import Sampler
from audiorec.training.contrast.settings import make_settings
from audiorec.training.contrast.train import train
from audiorec.training.contrast.views import FLOOR, augmented, crop, view
from audiorec.training.corpus.clip import Clip
from audiorec.training.corpus.reader import Corpus
from audiorec.training.corpus.shards import CORPUS_FILE, write_shard
from audiorec.training.processes import Process
from audiorec.training.run_settings import to_toml

CPU = Process(0, 1, torch.device("cpu"))
STILL = {"noise_share": 0, "lead_in_share": 0, "stretch": 0, "shift_share": 0, "equaliser": 0, "mix_share": 0}
STILL |= {"low_pass_share": 0}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return from_wavs(make_wavs(tmp_path_factory.mktemp("wav"), 24, labelled=True))


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return from_wavs(make_wavs(tmp_path_factory.mktemp("wav"), 12))


def learner(clips: Clips, **fields: Any) -> ContrastLearner:
    asked = contrast_settings(**fields)
    rows, held = held_back(clips, asked.validation_share, seed=0)
    return ContrastLearner(asked, CPU, clips, rows, Measure.of(clips, held, asked))


def test_nt_xent_and_supcon_by_hand() -> None:
    vectors = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    one = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]]) > 0
    expected = math.log(math.e**2 + 1) - 2  # cosines 1 and 0, over a temperature of 0.5; the third has no positive
    assert float(contrast(vectors, one, 0.5)) == pytest.approx(expected)
    every = torch.ones(3, 3) > 0
    of_each = [math.log(math.e**2 + 1) - 1] * 2 + [math.log(2)]
    assert float(contrast(vectors, every, 0.5)) == pytest.approx(sum(of_each) / 3)
    assert float(contrast(vectors, torch.eye(3) > 0, 0.5)) == 0


def test_the_gradient_of_the_loss_is_finite() -> None:
    vectors = torch.randn(6, 4, requires_grad=True)
    contrast(vectors, torch.arange(6)[:, None] // 2 == torch.arange(6) // 2, 0.1).backward()
    assert vectors.grad is not None
    assert bool(torch.isfinite(vectors.grad).all())


def test_a_crop_of_a_short_clip_repeats_and_one_of_a_long_clip_is_a_part() -> None:
    rng = np.random.default_rng(0)
    short = np.arange(1, 6, dtype=np.int16)
    repeated = crop(short, 12, rng) * 5
    assert np.array_equal(np.diff(repeated.round()) % 5, np.ones(11))
    long = np.arange(1000, 30_000, dtype=np.int16)
    part = crop(long, 100, rng)
    assert part.max() == 1
    assert part.dtype == np.float32
    np.testing.assert_allclose(np.diff(part), 1 / (1 / np.diff(part)[0]), rtol=1e-2)


@pytest.mark.parametrize("n_samples", [5, 60, 1000])
def test_silence_comes_first(n_samples: int) -> None:
    pcm = np.full(n_samples, 100, np.int16)
    sound = crop(pcm, 100, np.random.default_rng(1), 50)
    assert set(sound.tolist()) == {0.0, 1.0}
    if n_samples >= 60:  # longer than what is left of the crop
        assert sound.tolist() == [0.0] * 50 + [1.0] * 50


def test_a_crop_avoids_what_cannot_be_heard() -> None:
    pcm = np.zeros(16_000, np.int16)
    pcm[:8_000] = 20_000
    heard = [crop(pcm, 1_000, np.random.default_rng(seed)).max() for seed in range(50)]
    assert np.mean(heard) > 0.9  # without, half of them


def test_silence_stays_silence() -> None:
    assert not crop(np.zeros(50, np.int16), 100, np.random.default_rng(0)).any()


def test_views_with_everything_off_are_crops_and_spectrograms_as_they_are() -> None:
    asked = contrast_settings(**STILL)
    pcm = np.random.default_rng(0).integers(-1000, 1000, 20_000).astype(np.int16)
    one, other = view(pcm, asked, np.random.default_rng(3)), view(pcm, asked, np.random.default_rng(3))
    np.testing.assert_array_equal(one, other)
    log_mel = torch.randn(4, 64, 21) - 5
    assert torch.equal(augmented(log_mel, asked, torch.Generator()), log_mel)


@pytest.mark.parametrize("name", ["stretch", "shift_share", "equaliser", "mix_share", "low_pass_share"])
def test_every_augmentation_changes_something_and_is_repeated_by_its_seed(name: str) -> None:
    asked = contrast_settings(**STILL | {name: {"stretch": 0.5, "equaliser": 1.0}.get(name, 1.0)})
    log_mel = torch.randn(16, 64, 21, generator=torch.Generator().manual_seed(0)) - 5
    first, again, other = (augmented(log_mel, asked, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == log_mel.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first != log_mel).any(dim=(1, 2)).float().mean() > 0.4
    assert float(first.min()) >= FLOOR - 1e-5


def test_a_shift_moves_bands_and_a_low_pass_silences_the_upper_ones() -> None:
    log_mel = torch.full((64, 64, 21), -10.0)
    log_mel[:, 32] = 0
    moved = augmented(log_mel, contrast_settings(**STILL | {"shift_share": 1.0}), torch.Generator().manual_seed(0))
    places = moved[:, :, 10].argmax(1)
    assert int(places.min()) < 32 < int(places.max())
    assert int((places - 32).abs().max()) <= 4
    low = augmented(log_mel, contrast_settings(**STILL | {"low_pass_share": 1.0}), torch.Generator().manual_seed(0))
    assert bool((low[:, 0] == -10).all())
    assert float((low[:, 62] == FLOOR).float().mean()) > 0.8


def test_mixing_adds_power_of_another() -> None:
    log_mel = torch.full((8, 64, 21), -12.0)
    log_mel[0] = 0
    asked = contrast_settings(**STILL | {"mix_share": 1.0, "mix": 0.5})
    mixed = augmented(log_mel, asked, torch.Generator().manual_seed(0))
    louder = (mixed[1:] > -11).all(dim=(1, 2))
    assert int(louder.sum()) == 1
    assert float(mixed[0].max()) < 0


def test_labels_and_instances_of_converted_clips(clips: Clips, unlabelled: Clips) -> None:
    assert clips.labels[:4] == [("tone",), ("noise",), ("burst",), ("tone",)]
    assert len(set(clips.instance.tolist())) == len(clips) == 24
    assert set(unlabelled.labels) == {()}
    assert Truth.of(clips.truth).labels[0] == ("tone",)


def test_a_label_said_twice_is_one(tmp_path: Path) -> None:
    wav_dir = make_wavs(tmp_path, 12, labelled=True)
    rows = [{**row, "label": "a;a" if i < 3 else ""} for i, row in enumerate(read_conversion(wav_dir).clips)]
    write_rows(wav_dir / CLIPS_FILE, list(rows[0]), rows)
    clips = from_wavs(wav_dir)
    assert clips.labels[:4] == [("a",), ("a",), ("a",), ()]
    sampler = Sampler(clips, np.arange(12), source_power=0, by_label_share=1, mate_share=0)
    drawn, _ = sampler.pairs(8, np.random.default_rng(0))
    assert len(set(drawn.tolist())) > 3, "three clips of a label are too few to draw four of"


def make_corpus(corpus_dir: Path) -> Corpus:
    corpus_dir.mkdir()
    rng = np.random.default_rng(0)
    for shard, source in enumerate(("patches", "real")):
        sounds = [
            Clip(
                pcm=rng.integers(-9_000, 9_000, 5_000).astype(np.int16),
                label="" if i == 0 else f"label {i % 2}",
                instance=f"{i // 2}",
                take="",
                licence="CC0-1.0",
                credit="",
                parameters=(),
            )
            for i in range(10)
        ]
        write_shard(corpus_dir, shard, source, sounds)
    (corpus_dir / CORPUS_FILE).write_text(json.dumps({"n_shards": 2}))
    return Corpus(corpus_dir)


def test_a_corpus_as_clips(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus")
    clips = from_corpus(corpus)
    assert len(clips) == 20
    assert clips.labels[:3] == [(), ("label 1",), ("label 0",)]
    assert len(set(clips.instance.tolist())) == 10, "instances of two sources are two"
    np.testing.assert_array_equal(clips.pcm(13), corpus[13])
    fewer = from_corpus(corpus, ["patches"])
    assert len(fewer) == 10
    np.testing.assert_array_equal(fewer.pcm(0), corpus[10])
    with pytest.raises(BadSetting, match=r"leave_out = birds, expected of patches, real"):
        from_corpus(corpus, ["birds"])


def test_groups_are_held_back_whole(tmp_path: Path) -> None:
    clips = from_wavs(make_wavs(tmp_path, 24, group_size=3))
    rows, held = held_back(clips, 0.2, seed=1)
    assert sorted([*rows, *held]) == list(range(24))
    assert not set(clips.group[rows]) & set(clips.group[held])
    assert len(held) == 6
    assert held_back(clips, 0.2, seed=2)[1].tolist() != held.tolist()
    assert len(held_back(clips, 0.999, seed=0)[0]) == 3


def test_too_few_groups_to_hold_one_back(clips: Clips) -> None:
    alone = Clips(clips.pcm, clips.truth, clips.labels, clips.source, clips.instance, np.zeros(24, np.int64))
    with pytest.raises(BadCatalogue, match=r"got 24 clips of 1 groups.*at least 8 clips of 2 groups: add"):
        held_back(alone, 0.2, seed=0)


def test_small_sources_are_drawn_more_often_than_by_their_numbers(clips: Clips) -> None:
    source = np.array([0] * 20 + [1] * 4)
    mixed = Clips(clips.pcm, clips.truth, clips.labels, source, clips.instance, clips.group)
    sampler = Sampler(mixed, np.arange(24), source_power=-0.5, by_label_share=0, mate_share=0)
    drawn, mates = sampler.pairs(4_000, np.random.default_rng(0))
    assert np.array_equal(drawn, mates)
    expected = 4**0.5 / (20**0.5 + 4**0.5)
    assert np.mean(source[drawn] == 1) == pytest.approx(expected, abs=0.03)


def test_half_of_a_batch_is_drawn_by_label_and_mates_are_takes_of_the_same(clips: Clips) -> None:
    instance = np.arange(24) // 6
    takes = Clips(clips.pcm, clips.truth, clips.labels, clips.source, instance, clips.group)
    sampler = Sampler(takes, np.arange(24), source_power=0, by_label_share=0.5, mate_share=1)
    rows, mates = sampler.pairs(16, np.random.default_rng(0))
    assert np.array_equal(instance[rows], instance[mates])
    assert not np.array_equal(rows, mates)
    for four in (rows[8:12], rows[12:16]):
        assert len({clips.labels[row] for row in four}) == 1
        assert len(set(four.tolist())) == 4


def test_a_batch_is_a_function_of_seed_and_step(clips: Clips) -> None:
    one, again, other = learner(clips), learner(clips), learner(clips, seed=1)
    batch = one.batch(7)
    assert batch.waveforms.shape == (16, 1, 2**13)
    assert batch.waveforms.dtype == np.float32
    assert (batch.labels.sum(1) == 1).all()
    np.testing.assert_array_equal(batch.labels[:8], batch.labels[8:])  # of the same clips
    for mine, same in zip(batch, again.batch(7), strict=True):
        np.testing.assert_array_equal(mine, same)
    assert not np.array_equal(batch.waveforms, one.batch(8).waveforms)
    assert not np.array_equal(batch.waveforms, other.batch(7).waveforms)
    assert not set(batch.instances.tolist()) & set(clips.instance[held_back(clips, 0.3, seed=0)[1]].tolist())


@pytest.mark.parametrize("seed", [1, 2])
def test_views_are_disturbed_by_seed_and_step(seed: int, clips: Clips) -> None:
    one, other = learner(clips), learner(clips, seed=seed)
    other.model.load_state_dict(one.model.state_dict())
    waveforms = one.batch(7).waveforms
    first, again = (one._vectors(waveforms, 7) for _ in range(2))
    assert torch.equal(first, again)
    for differing in (one._vectors(waveforms, 8), other._vectors(waveforms, 7)):
        assert not torch.allclose(first, differing)


def test_the_average_follows_the_weights() -> None:
    model = ContrastModel(TINY_CONV)
    with torch.no_grad():
        model.network.out.weight.fill_(1.0)
        model.encoder.network.out.weight.fill_(0.0)
    model.average(0.9, step=1000)
    assert float(model.encoder.network.out.weight[0, 0]) == pytest.approx(0.1)
    model.average(0.999, step=0)
    assert float(model.encoder.network.out.weight[0, 0]) == pytest.approx(0.1 + 0.9 * 0.9)
    assert not model.train().encoder.training
    assert all(not parameter.requires_grad for parameter in model.encoder.parameters())


def test_reciprocal_rank_by_hand() -> None:
    vectors = F.normalize(torch.tensor([[1.0, 0], [0, 1], [1, 1]])).numpy()
    queries = F.normalize(torch.tensor([[1.0, 0.1], [1, 0], [1, 1]])).numpy()
    assert reciprocal_rank(queries, vectors) == pytest.approx((1 + 1 / 3 + 1) / 3)


def test_figures_with_labels_and_without(clips: Clips, unlabelled: Clips) -> None:
    figures = learner(clips).validate().figures
    assert figures["loss"] == pytest.approx(1 - (figures["p5"] + figures["map"]) / 2)
    measured = learner(unlabelled).validate()
    assert measured.figures["loss"] == pytest.approx(1 - measured.figures["mrr"])
    assert "p5" not in measured.figures
    assert "P@5" not in measured.said


def test_one_label_for_all_is_none(clips: Clips) -> None:
    alike = replace(clips, truth=[{**row, "label": "clips"} for row in clips.truth], labels=[("clips",)] * len(clips))
    one = learner(alike)
    assert "p5" not in one.validate().figures
    assert one.batch(0).labels.shape == (16, 0)
    losses = one.step(one.batch(0), 1e-3)
    assert (losses["label"], losses["loss"]) == (0, losses["instance"] / 2)


def test_an_encoder_that_gives_no_numbers_is_no_best_one(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"validation loss of nan at step 1.*last\.pt of step 0"):
        train(clips, tmp_path / "run", contrast_settings(learning_rate=1e30, validate_steps=1))
    assert not (tmp_path / "run/best.pt").exists()
    weights = read_contrast(tmp_path / "run/last.pt")["model"]
    assert all(bool(torch.isfinite(value).all()) for value in weights.values() if value.is_floating_point())


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


@pytest.mark.parametrize(("step", "is_warm"), [(1, False), (4, True)])
def test_a_resumed_run_equals_an_unbroken_one(
    step: int, is_warm: bool, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    asked, start = contrast_settings(), Base(TINY_CONV) if is_warm else None
    unbroken = train(clips, tmp_path / "unbroken", asked, start_from=start)
    unchanged = ContrastLearner.step

    def step_and_stop(self: ContrastLearner, *arguments: Any) -> dict[str, float]:
        if self.state.step + 1 == step:
            signal.raise_signal(signal.SIGTERM)
        return unchanged(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(ContrastLearner, "step", step_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(clips, tmp_path / "broken", asked, start_from=start)
    assert read_contrast(tmp_path / "broken/last.pt")["step"] == step
    torch.manual_seed(99)  # whatever a new process begins with
    resumed = train(clips, tmp_path / "broken", asked, resume=True)
    assert resumed.n_steps == unbroken.n_steps == 8
    for name in ("last.pt", "best.pt"):
        one, other = (read_contrast(tmp_path / run / name) for run in ("unbroken", "broken"))
        for unlike in ("seconds", "cpu_seconds"):
            del one[unlike], other[unlike]
        assert_same(one, other)


def test_it_learns_what_it_is_shown(clips: Clips) -> None:
    one = learner(clips, **STILL)
    losses = [one.step(one.batch(0), 1e-2) for _ in range(40)]
    assert losses[-1]["label"] < losses[0]["label"] - 0.5
    assert losses[-1]["instance"] < losses[0]["instance"]


def test_the_log_and_what_is_said(clips: Clips, tmp_path: Path) -> None:
    said: list[str] = []
    train(clips, tmp_path / "run", contrast_settings(epochs=6), say=said.append)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    names = {name for line in lines for name in line}
    assert {"learning_rate", "train/instance", "train/label", "validation/p5", "validation/mrr"} <= names
    assert said[0] == "16 clips to learn from, 8 to validate on"
    assert "validation: neighbours by label P@5" in said[-1]
    assert make_settings({}, config_path=tmp_path / "run/config.toml") == contrast_settings(epochs=6)


def test_a_run_that_was_killed_logs_no_step_twice(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = contrast_settings(epochs=10, validate_steps=8)  # 20 steps; a line of every tenth
    train(clips, tmp_path / "unbroken", asked)
    unchanged = ContrastLearner.step

    def step_and_die(self: ContrastLearner, *arguments: Any) -> dict[str, float]:
        if self.state.step == 12:
            raise SystemExit  # as little is saved as when it is killed
        return unchanged(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(ContrastLearner, "step", step_and_die)
        with pytest.raises(SystemExit):
            train(clips, tmp_path / "broken", asked)
    with (tmp_path / "broken/log.jsonl").open("a") as log:
        log.write('{"step": 11, "train/lo')
    train(clips, tmp_path / "broken", asked, resume=True)
    one, other = ((tmp_path / run / "log.jsonl").read_text() for run in ("unbroken", "broken"))
    assert [json.loads(line)["step"] for line in other.splitlines()] == [8, 10, 16, 20, 20]
    assert one == other


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_a_checkpoint_is_an_encoder(name: str, clips: Clips, tmp_path: Path) -> None:
    train(clips, tmp_path / "run", contrast_settings(epochs=1))
    encoder = make_encoder("base", tmp_path / "run" / name)
    windows = torch.randn(2, 1, 2**17, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    with torch.no_grad():
        vectors = encoder(windows)
    assert vectors.shape == (2, 128)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


def test_a_warm_start_takes_an_encoders_weights(clips: Clips, tmp_path: Path) -> None:
    torch.manual_seed(3)
    encoder = Base(TINY_CONV)
    asked = contrast_settings(epochs=0.1, learning_rate=1e-12, weight_decay=0)
    ended = train(clips, tmp_path / "run", asked, start_from=encoder)
    assert ended.n_steps == 1
    torch.testing.assert_close(load_base(ended.best_path).network.out.weight, encoder.network.out.weight)


def test_a_loss_that_is_no_number_stops_and_names_the_last_checkpoint(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = ContrastLearner.batch

    def batch(self: ContrastLearner, step: int) -> Batch:
        made = unchanged(self, step)
        return made._replace(waveforms=made.waveforms * np.float32(np.nan)) if step == 4 else made

    monkeypatch.setattr(ContrastLearner, "batch", batch)
    with pytest.raises(TrainingFailed, match=r"loss of nan at step 4.*last\.pt of step 3") as caught:
        train(clips, tmp_path / "run", contrast_settings())
    assert caught.value.code == "nan_loss"
    weights = read_contrast(tmp_path / "run/last.pt")["model"]
    assert all(bool(torch.isfinite(value).all()) for value in weights.values() if value.is_floating_point())


@pytest.mark.parametrize(
    ("n_views", "advice"),
    [(9, "4 would fit: begin anew with --batch-size 4"), (4, "not even 4 would fit: take a smaller model")],
)
def test_out_of_memory_says_how_many_clips_would_fit(
    n_views: int, advice: str, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = ContrastLearner._vectors

    def vectors(self: ContrastLearner, waveforms: np.ndarray[Any, Any], step: int) -> torch.Tensor:
        if len(waveforms) > n_views:
            torch.empty(2**52)
        return unchanged(self, waveforms, step)

    monkeypatch.setattr(ContrastLearner, "_vectors", vectors)
    with pytest.raises(TrainingFailed, match=f"batch of 8 clips, {advice}"):
        train(clips, tmp_path / "run", contrast_settings())


def test_several_processes_would_all_learn_the_same(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(BadSetting, match="got torchrun, expected one process"):
        train(clips, tmp_path / "run", contrast_settings())


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(clips: Clips, tmp_path: Path) -> None:
    train(clips, tmp_path / "run", contrast_settings(epochs=0.1))
    with pytest.raises(BadSetting, match="has a run in it"):
        train(clips, tmp_path / "run", contrast_settings(epochs=0.1))
    with pytest.raises(BadCheckpoint, match=r"temperature = 0\.2 \(it has 0\.1\)"):
        train(clips, tmp_path / "run", contrast_settings(epochs=0.1, temperature=0.2), resume=True)


def test_settings_as_toml_and_back(tmp_path: Path) -> None:
    asked = contrast_settings(leave_out=("music", "speech"), amp=False)
    (tmp_path / "config.toml").write_text(to_toml(asked))
    assert make_settings({}, config_path=tmp_path / "config.toml") == asked
    with pytest.raises(BadSetting, match="batch_size = '1'"):
        make_settings({"batch_size": 1}, config_path=tmp_path / "config.toml")
    for name in ("minutes", "learning_rate"):
        with pytest.raises(BadSetting, match=f"{name} = 'inf', expected a finite number"):
            make_settings({"minutes": 1, name: math.inf})
    with pytest.raises(BadSetting, match=r"model\.widths"):
        make_settings({"epochs": 1, "model": {"widths": [1, 2]}})
