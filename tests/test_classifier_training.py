"""Fine-tuning a classifier, from labels to figures: on a wav2vec2 of the real class that learns in milliseconds."""

import json
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import edit_json, save_ast, save_wave
from trainings import make_wavs, one_thread
from typer.testing import CliRunner

from audiorec.audio import CLIP_SAMPLES, sounding, windows
from audiorec.catalogue.convert import CLIPS_FILE, read_conversion, write_rows
from audiorec.cli import app
from audiorec.encoders.classifier import load_classifier
from audiorec.errors import BadCatalogue, BadCheckpoint, BadModel, BadSetting, Busy, NoSpace, TrainingFailed
from audiorec.files import locked
from audiorec.training.classifier.course import read_last
from audiorec.training.classifier.data import Crops, heard_starts
from audiorec.training.classifier.figures import figures_of
from audiorec.training.classifier.picture import draw_confusion
from audiorec.training.classifier.settings import make_settings
from audiorec.training.classifier.split import LEARN, TEST, VALIDATE, split, together
from audiorec.training.classifier.summary import trained_summary
from audiorec.training.classifier.train import Trained, train
from audiorec.training.classifier.trainer import label_weights
from audiorec.training.loop import CONFIG_FILE

TINY: dict[str, Any] = {"epochs": 4, "batch_size": 4, "crop_samples": 2**13, "learning_rate": 1e-3}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_wave(tmp_path_factory.mktemp("models") / "tiny", "wav2vec2", num_hidden_layers=2)


@pytest.fixture(scope="module")
def wav_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wavs(tmp_path_factory.mktemp("wav"), 24, labelled=True)


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def trained(base_dir: Path, wav_dir: Path, said: list[str], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out_dir = tmp_path_factory.mktemp("runs") / "run"
    return train(wav_dir, out_dir, {"base": str(base_dir), **TINY}, say=said.append)


@pytest.fixture(scope="module")
def run_dir(trained: Trained) -> Path:
    return trained.best_path.parent


def relabelled(wav_dir: Path, target: Path, **columns: list[str]) -> Path:
    """The same clips with other cells in these columns."""
    rows = [dict(row) for row in read_conversion(wav_dir).clips]
    for name, cells in columns.items():
        for row, cell in zip(rows, cells, strict=True):
            row[name] = cell
    target.mkdir()
    for folder in wav_dir.iterdir():
        if folder.is_dir():
            (target / folder.name).symlink_to(folder)
    write_rows(target / CLIPS_FILE, list(rows[0]), rows)
    (target / "refused.tsv").write_bytes((wav_dir / "refused.tsv").read_bytes())
    return target


class TestSplit:
    def rows(self, *pairs: tuple[str, str]) -> list[dict[str, str]]:
        return [{"group": group, "artist": artist} for group, artist in pairs]

    def test_a_group_and_an_artist_bind_at_second_hand_too(self) -> None:
        rows = self.rows(("g1", "a"), ("g2", "a"), ("g2", "b"), ("", "b"), ("", ""), ("", ""), ("g3", "c"), ("", "d"))
        ids = together(rows).tolist()
        assert len({*ids[:4]}) == 1
        assert len({*ids[3:]}) == 5

    def test_an_artist_of_most_clips_binds_nothing(self) -> None:
        assert len(set(together(self.rows(*[("", "a")] * 6, ("", "b"), ("", "b"))))) == 7

    @pytest.mark.parametrize("seed", range(3))
    def test_labels_are_spread_and_groups_are_whole(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        group = rng.integers(120, size=600)
        group = np.unique(group, return_inverse=True)[1]
        label = rng.choice(5, p=[0.5, 0.3, 0.1, 0.07, 0.03], size=group.max() + 1)[group]
        targets = np.eye(5, dtype=np.float32)[label]
        part = split(targets, group, (0.65, 0.15, 0.2), seed=seed)
        assert all(len(set(part[group == one])) == 1 for one in set(group.tolist()))
        for one in range(3):
            share = [(part[label == one] == which).mean() for which in (LEARN, VALIDATE, TEST)]
            np.testing.assert_allclose(share, (0.65, 0.15, 0.2), atol=0.08)
        assert np.array_equal(part, split(targets, group, (0.65, 0.15, 0.2), seed=seed))

    def test_a_label_of_three_groups_is_in_all_parts_and_one_of_two_is_tested(self) -> None:
        label = np.array([0] * 40 + [1] * 3 + [2] * 2)
        part = split(np.eye(3, dtype=np.float32)[label], np.arange(45), (0.65, 0.15, 0.2), seed=0)
        assert set(part[label == 1]) == {LEARN, VALIDATE, TEST}
        assert set(part[label == 2]) == {LEARN, TEST}


class TestFigures:
    def test_by_hand(self) -> None:
        scores = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.1, 0.2, 0.7]], np.float32)
        targets = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
        figures = figures_of(scores, targets, "abc", is_multi=False)
        assert figures.accuracy == 0.75
        assert figures.confusion == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
        assert (figures.per_label["a"].precision, figures.per_label["b"].recall) == (0.5, 0.5)
        assert figures.macro_f1 == round((2 / 3 + 2 / 3 + 1) / 3, 4)

    def test_of_several_labels_a_clip(self) -> None:
        scores = np.array([[0.9, 0.7], [0.9, 0.1], [0.2, 0.3]], np.float32)
        targets = np.array([[1, 1], [1, 1], [0, 1]], np.float32)
        figures = figures_of(scores, targets, "ab", is_multi=True)
        assert figures.accuracy == round(1 / 3, 4)
        assert figures.confusion == [[2, 1], [2, 1]]
        assert figures.per_label["b"].recall == round(1 / 3, 4)

    def test_a_label_that_no_clip_has_does_not_count(self) -> None:
        figures = figures_of(np.eye(3, dtype=np.float32)[:2], np.eye(3, dtype=np.float32)[:2], "abc", is_multi=False)
        assert figures.macro_f1 == 1

    def test_weights_even_out_and_are_bounded(self) -> None:
        targets = np.eye(2, dtype=np.float32)[[0] * 6 + [1] * 2]
        weights = label_weights(targets, is_multi=False)
        assert float(weights[1] / weights[0]) == pytest.approx(3)
        assert float((torch.from_numpy(targets) @ weights).mean()) == pytest.approx(1)
        rare = np.eye(2, dtype=np.float32)[[0] * 999 + [1]]
        assert float(label_weights(rare, is_multi=True)[1]) == 20

    def test_a_picture_of_any_labels(self, tmp_path: Path) -> None:
        labels = ["$x^2$", "名前", "a\nb", "x" * 200, "é"]
        draw_confusion(tmp_path / "one.png", np.eye(5, dtype=int).tolist(), labels)
        draw_confusion(tmp_path / "many.png", np.eye(80, dtype=int).tolist(), [str(i) for i in range(80)])
        assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in tmp_path.iterdir())


@pytest.mark.parametrize("n_windows", [0.2, 1, 2.4, 2.6, 40.3, 48.6])
def test_windows_are_those_of_the_whole_clip(n_windows: float) -> None:
    pcm = np.full(int(n_windows * CLIP_SAMPLES), 30_000, np.int16)
    pcm[: int(0.4 * len(pcm))] = 0 if n_windows > 40 else 20_000
    expected = (np.flatnonzero(sounding(windows(pcm))) * CLIP_SAMPLES).tolist()
    assert heard_starts(pcm, 10**6) == expected
    assert heard_starts(pcm, 2) == expected[:2]


class TestRun:
    def test_it_ends_with_figures_on_clips_held_back(self, trained: Trained, run_dir: Path, said: list[str]) -> None:
        assert said[0] == "3 labels: 15 clips to learn from, 3 to validate on, 6 held back to test on"
        assert "measuring the best model" in said[-1]
        result = json.loads((run_dir / "result.json").read_text())
        figures = trained.result.figures
        assert result["test"] == figures.to_json()
        assert (figures.n_clips, [sum(row) for row in figures.confusion]) == (6, [2, 2, 2])
        assert list(result["retrieval"]) == ["classifier", "MeanMel", "MFCC"]
        assert result["labels"] == ["burst", "noise", "tone"]
        assert (run_dir / "confusion.png").stat().st_size > 1000
        summary = trained_summary(trained, run_dir)
        assert f"accuracy {figures.accuracy:.3f}" in summary
        assert f"--encoder classifier --checkpoint {run_dir}" in summary

    def test_the_best_is_apart_from_the_last_and_knows_its_figures(self, trained: Trained, run_dir: Path) -> None:
        best = torch.load(run_dir / "best.pt", weights_only=True)
        assert best["step"] == trained.progress.best_step
        encoder = load_classifier(run_dir)
        assert (encoder.config.accuracy, encoder.config.n_tested) == (trained.result.figures.accuracy, 6)
        assert encoder.layer is not None
        assert (encoder.layer.index, "too few" in encoder.layer.why) == (2, True)
        last = read_last(run_dir)
        assert last["checkpoint"].name == f"checkpoint-{trained.progress.step}"
        assert [path.name for path in (run_dir / "checkpoints").iterdir()] == [last["checkpoint"].name]

    def test_the_head_gives_what_the_model_gives(self, run_dir: Path) -> None:
        from audiorec.encoders.classifier import config_in, model_of

        stored = torch.load(run_dir / "best.pt", weights_only=True)
        model = model_of(config_in(stored), stored["model"]).eval()
        encoder = load_classifier(run_dir)
        x = torch.randn(2, 1, 2**17, generator=torch.Generator().manual_seed(0)).clamp_(-1, 1)
        with torch.no_grad():
            expected = model(encoder.pre(x)).logits.softmax(dim=1)
            torch.testing.assert_close(encoder.head()(encoder.features(x)), expected, atol=1e-5, rtol=1e-4)

    def test_a_killed_run_that_is_resumed_equals_an_unbroken_one(
        self, base_dir: Path, wav_dir: Path, run_dir: Path, trained: Trained, tmp_path: Path
    ) -> None:
        class Killed(BaseException):
            """As SIGKILL: nothing is saved any more."""

        def dying(line: str) -> None:
            if line.startswith("step 12, validation"):
                raise Killed

        with pytest.raises(Killed):
            train(wav_dir, tmp_path, {"base": str(base_dir), **TINY}, say=dying)
        assert read_last(tmp_path)["progress"].step == 8
        (tmp_path / "checkpoints" / "checkpoint-12").mkdir()  # half of a checkpoint
        said: list[str] = []
        again = train(wav_dir, tmp_path, {}, resume=True, say=said.append)
        assert "resumed at step 8" in said
        name = f"checkpoints/checkpoint-{trained.progress.step}/model.safetensors"
        mine, theirs = load_file(tmp_path / name), load_file(run_dir / name)
        for key, value in theirs.items():
            torch.testing.assert_close(mine[key], value, atol=1e-6, rtol=1e-5)
        assert again.result.figures == trained.result.figures
        assert again.progress.best_step == trained.progress.best_step

    def test_a_finished_run_that_is_resumed_only_measures(self, wav_dir: Path, run_dir: Path, trained: Trained) -> None:
        before = (run_dir / "log.jsonl").read_bytes()
        assert train(wav_dir, run_dir, {}, resume=True).result.figures == trained.result.figures
        assert (run_dir / "log.jsonl").read_bytes() == before

    def test_a_signal_saves_first(self, base_dir: Path, wav_dir: Path, tmp_path: Path) -> None:
        def stopping(line: str) -> None:
            if line.startswith("step 4, validation"):
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(KeyboardInterrupt):
            train(wav_dir, tmp_path, {"base": str(base_dir), **TINY}, say=stopping)
        assert read_last(tmp_path)["progress"].step == 5

    def test_a_signal_before_the_first_validation(
        self, base_dir: Path, wav_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unchanged = Crops.__getitem__

        def crop(self: Crops, number: int) -> Any:
            if number == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return unchanged(self, number)

        monkeypatch.setattr(Crops, "__getitem__", crop)
        with pytest.raises(KeyboardInterrupt):
            train(wav_dir, tmp_path, {"base": str(base_dir), **TINY})
        monkeypatch.undo()
        assert not (tmp_path / "best.pt").exists()
        assert train(wav_dir, tmp_path, {}, resume=True).progress.step == 15

    def test_it_stops_when_it_gets_no_better(self, base_dir: Path, wav_dir: Path, tmp_path: Path) -> None:
        said: list[str] = []
        given = {"base": str(base_dir), **TINY, "learning_rate": 1e-12, "patience": 2, "epochs": 50}
        ended = train(wav_dir, tmp_path, given, say=said.append)
        assert ended.progress.has_stopped_early
        assert ended.progress.step == 12
        assert any(line.startswith("stopped early: 2 validations") for line in said)

    def test_a_run_by_the_clock_ends(self, base_dir: Path, wav_dir: Path, tmp_path: Path) -> None:
        given = {"base": str(base_dir), **TINY, "epochs": None, "cpu_minutes": 0.01}
        ended = train(wav_dir, tmp_path, given)
        assert ended.progress.is_over
        assert ended.progress.cpu_seconds >= 0.6

    def test_several_labels_a_clip(self, base_dir: Path, wav_dir: Path, tmp_path: Path) -> None:
        labels = [("low;tone", "low", "tone", "noise")[i % 4] for i in range(24)]
        several = relabelled(wav_dir, tmp_path / "wav", label=labels)
        ended = train(several, tmp_path / "run", {"base": str(base_dir), **TINY, "epochs": 1})
        assert ended.result.config.is_multi
        encoder = load_classifier(tmp_path / "run")
        with torch.no_grad():
            scores = encoder.head()(encoder.features(torch.randn(1, 1, 2**17)))
        assert float(scores.sum()) != pytest.approx(1, abs=1e-3)

    def test_the_command(self, base_dir: Path, wav_dir: Path, run_dir: Path, tmp_path: Path) -> None:
        out = str(tmp_path / "run")
        config = str(run_dir / CONFIG_FILE)
        arguments = ["train", "classifier", str(wav_dir), "--out", out, "--config", config, "--epochs", "1"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert "neighbours by label, MFCC: P@5" in result.output
        assert "label, and what it is taken for" in result.output
        again = CliRunner().invoke(app, arguments)
        assert again.exit_code == 2
        assert "has a run in it" in again.output


class TestBadLabels:
    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            pytest.param([""] * 24, "got 24 clips without a label, expected at least two labels", id="none"),
            pytest.param(["dog"] * 24, "got one label, 'dog', expected at least two", id="one class"),
            pytest.param([f"l{i}" for i in range(24)], "a label of one clip", id="one clip each"),
            pytest.param(["dog"] * 23 + ["cat"], "of which 1 can be learnt and tested", id="one and one clip"),
        ],
    )
    def test_labels_that_cannot_be_learnt(
        self, labels: list[str], message: str, base_dir: Path, wav_dir: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(BadCatalogue, match=message):
            train(relabelled(wav_dir, tmp_path / "wav", label=labels), tmp_path / "run", {"base": str(base_dir)})
        assert not (tmp_path / "run" / "last.json").exists()

    def test_a_label_of_one_recording_is_left_out_and_said(self, base_dir: Path, wav_dir: Path, tmp_path: Path) -> None:
        labels = ["alone" if i < 3 else ("dog", "cat")[i % 2] for i in range(24)]
        groups = ["one" if i < 3 else str(i) for i in range(24)]
        said: list[str] = []
        several = relabelled(wav_dir, tmp_path / "wav", label=labels, group=groups)
        ended = train(several, tmp_path / "run", {"base": str(base_dir), **TINY, "epochs": 1}, say=said.append)
        assert ended.result.config.labels == ("cat", "dog")
        assert "left out, with clips of one recording or artist only: 'alone'" in said
        assert json.loads((tmp_path / "run" / "result.json").read_text())["left_out"] == ["alone"]


class TestBadBase:
    def refused(self, base: Path, wav_dir: Path, tmp_path: Path) -> str:
        with pytest.raises(BadModel) as caught:
            train(wav_dir, tmp_path / "run", {"base": str(base), **TINY})
        return caught.value.message

    def test_no_audio_model(self, wav_dir: Path, tmp_path: Path) -> None:
        from transformers import BertConfig, BertModel

        size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
        BertModel(BertConfig(vocab_size=32, **size)).save_pretrained(tmp_path / "bert")
        assert "of type 'bert', expected a model of raw sound" in self.refused(tmp_path / "bert", wav_dir, tmp_path)

    def test_a_model_of_another_task(self, wav_dir: Path, tmp_path: Path) -> None:
        assert "audio-spectrogram-transformer" in self.refused(save_ast(tmp_path / "ast"), wav_dir, tmp_path)

    def test_no_preprocessor(self, wav_dir: Path, tmp_path: Path) -> None:
        base = save_wave(tmp_path / "base", "wav2vec2")
        (base / "preprocessor_config.json").unlink()
        assert "without a preprocessor_config.json" in self.refused(base, wav_dir, tmp_path)

    def test_weights_of_another_model(self, wav_dir: Path, tmp_path: Path) -> None:
        base = save_wave(tmp_path / "base", "wav2vec2", num_hidden_layers=1)
        edit_json(base / "config.json", num_hidden_layers=2)
        assert "they belong to another model" in self.refused(base, wav_dir, tmp_path)

    def test_it_is_looked_at_before_clips_are_converted(self, clips_dir: Path, tmp_path: Path) -> None:
        self.refused(tmp_path / "none", clips_dir, tmp_path)
        assert not (tmp_path / "run").exists()

    def test_nothing_there(self, wav_dir: Path, tmp_path: Path) -> None:
        assert "expected a model of raw sound" in self.refused(tmp_path / "none", wav_dir, tmp_path)

    @pytest.mark.parametrize("kind", ["hubert", "wavlm", "data2vec"])
    def test_the_rest_of_the_family_learns(self, kind: str, wav_dir: Path, tmp_path: Path) -> None:
        base = save_wave(tmp_path / "base", kind, num_hidden_layers=1)
        train(wav_dir, tmp_path / "run", {"base": str(base), **TINY, "epochs": 0.2})
        assert load_classifier(tmp_path / "run").config.model["model_type"].startswith(kind)


class TestFaults:
    def test_a_loss_that_is_no_number_stops_with_the_step_and_the_last_good_checkpoint(
        self, base_dir: Path, wav_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unchanged = Crops.__getitem__

        def crop(self: Crops, number: int) -> Any:
            item = unchanged(self, number)
            return {**item, "input_values": item["input_values"] * (np.nan if number == 25 else 1)}

        monkeypatch.setattr(Crops, "__getitem__", crop)
        with pytest.raises(TrainingFailed, match=r"loss of nan at step 6.*good checkpoint is that of step 4") as caught:
            train(wav_dir, tmp_path, {"base": str(base_dir), **TINY})
        assert caught.value.code == "nan_loss"
        weights = load_file(tmp_path / "checkpoints/checkpoint-4/model.safetensors")
        assert all(bool(torch.isfinite(value).all()) for value in weights.values())
        assert load_classifier(tmp_path).config.labels == ("burst", "noise", "tone")

    def test_a_full_disk_while_saving_leaves_the_previous_checkpoint(
        self, base_dir: Path, wav_dir: Path, tmp_path: Path
    ) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

        def filling(line: str) -> None:
            if line.startswith("step 8, validation"):
                resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # room for the weights, not for the rest

        try:
            with pytest.raises(NoSpace, match="a checkpoint"):
                train(wav_dir, tmp_path, {"base": str(base_dir), **TINY}, say=filling)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert read_last(tmp_path)["progress"].step == 4
        assert train(wav_dir, tmp_path, {}, resume=True).progress.is_over

    def test_resuming_with_another_config_names_what_differs(self, wav_dir: Path, run_dir: Path) -> None:
        with pytest.raises(BadCheckpoint, match=r"seed = 3 \(it has 0\)"):
            train(wav_dir, run_dir, {"seed": 3}, resume=True)

    def test_resuming_with_other_labels(self, wav_dir: Path, run_dir: Path, tmp_path: Path) -> None:
        other = relabelled(wav_dir, tmp_path / "wav", label=[("tone", "burst")[i % 2] for i in range(24)])
        with pytest.raises(BadCheckpoint, match="other clips, labels or groups"):
            train(other, run_dir, {}, resume=True)

    def test_resuming_where_nothing_is(self, wav_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(BadCheckpoint, match=r"got no file last\.json"):
            train(wav_dir, tmp_path / "none", {}, resume=True)

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', '{"version": 1, "checkpoint": "x"}'])
    def test_resuming_from_a_broken_last(self, content: str, wav_dir: Path, tmp_path: Path) -> None:
        (tmp_path / "last.json").write_text(content)
        with pytest.raises(BadCheckpoint, match=r"last\.json"):
            train(wav_dir, tmp_path, {}, resume=True)

    def test_two_runs_in_one_folder(self, base_dir: Path, wav_dir: Path, tmp_path: Path) -> None:
        with locked(tmp_path / "lock", "the run"), pytest.raises(Busy):
            train(wav_dir, tmp_path, {"base": str(base_dir), **TINY})

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            pytest.param({}, "^got no base, expected it as --base", id="no base"),
            pytest.param({"base": "x", "minutes": 1, "epochs": 1}, "expected one of", id="two ends"),
            pytest.param({"base": "x", "crop_samples": 100}, "crop_samples", id="a tiny crop"),
            pytest.param({"base": "x", "test_share": 0.5, "validation_share": 0.45}, "a tenth", id="shares"),
        ],
    )
    def test_settings(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(BadSetting, match=message):
            make_settings(given)

    def test_a_run_by_nothing_has_epochs(self) -> None:
        assert make_settings({"base": "x"}).epochs == 20


def test_what_is_stored_can_be_read_as_a_config(run_dir: Path, base_dir: Path) -> None:
    settings = make_settings({}, config_path=run_dir / CONFIG_FILE)
    assert (settings.base, settings.epochs) == (str(base_dir), 4)
