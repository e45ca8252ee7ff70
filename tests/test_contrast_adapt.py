"""Going on from an encoder on one's own clips: what is held back, what is said of it, what is written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainings import TINY_CONV, contrast_settings, make_wavs, one_thread
from typer.testing import CliRunner

from audiorec.audio import CLIP_SAMPLES, Pcm, Waveform
from audiorec.catalogue.convert import CLIPS_FILE, read_conversion, write_rows
from audiorec.cli import app
from audiorec.encoders import make_encoder
from audiorec.encoders.pretrained import Base
from audiorec.encoders.shipped import load_base, read_contrast, read_facts, write_base
from audiorec.errors import BadCatalogue, BadCheckpoint, BadSetting
from audiorec.training.contrast import adapt as module
from audiorec.training.contrast import judge
from audiorec.training.contrast.adapt import Adapted, adapt
from audiorec.training.contrast.clips import from_wavs
from audiorec.training.contrast.judge import Figures, judged
from audiorec.training.run_settings import to_toml

BAD = Figures(0.2, 0.2, 1.0, 0.2)
GOOD = Figures(0.5, 0.5, 0.5, 0.9)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def wav_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wavs(tmp_path_factory.mktemp("wav"), 45, group_size=3, labelled=True)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("start") / "tiny.safetensors"
    write_base(Base(TINY_CONV), path, {"licence": "CC0-1.0"})
    return path


def tiny(wav_dir: Path, out_dir: Path, start: Path | None, **arguments: Any) -> Adapted:
    """Adapts for a few steps."""
    config_path = out_dir.with_suffix(".toml")
    config_path.write_text(to_toml(contrast_settings(epochs=0.5)))
    return adapt(wav_dir, out_dir, {}, config_path=config_path, start_from=str(start) if start else None, **arguments)


def measured_as(monkeypatch: pytest.MonkeyPatch, before: Figures, after: Figures) -> None:
    monkeypatch.setattr(module, "compare", lambda *_: (before, after))


def test_it_measures_on_groups_of_which_nothing_is_learnt(wav_dir: Path, start: Path, tmp_path: Path) -> None:
    said: list[str] = []
    adapted = tiny(wav_dir, tmp_path / "run", start, held_back_share=0.5, say=said.append)
    assert said[0] == "24 of 45 clips are held back, to tell at the end whether it helped"
    assert said[1] == "12 clips to learn from, 9 to validate on"
    for figures in (adapted.before, adapted.after):
        assert figures.p5 is not None
        assert 0 <= figures.p5 <= 1
        assert 0 < figures.mrr <= 1
    result = json.loads((tmp_path / "run/result.json").read_bytes())
    assert result["n_tested"] == 24
    assert result["verdict"] == adapted.verdict
    assert result["before"]["p5"] == adapted.before.p5
    assert (adapted.path is not None) == adapted.verdict.startswith("it helped")


def test_what_helped_is_written_for_a_build(
    wav_dir: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_as(monkeypatch, BAD, GOOD)
    adapted = tiny(wav_dir, tmp_path / "run", start, held_back_share=0.5)
    assert adapted.path == tmp_path / "run/base.safetensors"
    assert adapted.verdict.startswith("it helped: P@5 0.200, mAP 0.200 before, P@5 0.500, mAP 0.500 after, on 24 clips")
    best = read_contrast(tmp_path / "run/best.pt")["model"]
    weight = load_base(adapted.path).network.out.weight
    torch.testing.assert_close(weight, best["encoder.network.out.weight"], atol=1e-3, rtol=1e-3)
    facts = read_facts(adapted.path)
    assert facts["licence"] == "CC0-1.0, and that of the clips it learnt from"
    assert facts["began"] == {"from": "tiny.safetensors", "held_back": 0.5, "clips_sha256": from_wavs(wav_dir).sha256()}


def test_the_licence_of_what_it_went_on_from_stays(wav_dir: Path, start: Path, tmp_path: Path) -> None:
    both = "CC0-1.0, and that of the clips it learnt from"
    tiny(wav_dir, tmp_path / "run", start, held_back_share=0.5)
    assert make_encoder("base", tmp_path / "run/best.pt").licence == both
    adapt(wav_dir, tmp_path / "run", {}, resume=True)
    assert make_encoder("base", tmp_path / "run/last.pt").licence == both
    tiny(wav_dir, tmp_path / "again", tmp_path / "run/best.pt", held_back_share=0.5)
    assert load_base(tmp_path / "again/best.pt").licence == both
    tiny(wav_dir, tmp_path / "nothing", None, held_back_share=0.5)
    assert load_base(tmp_path / "nothing/best.pt").licence == "that of the clips it learnt from"


def test_of_many_clips_held_back_those_are_told_that_were_measured(
    wav_dir: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in (module, judge):
        monkeypatch.setattr(one, "MAX_TESTED", 21)
    adapted = tiny(wav_dir, tmp_path / "run", start, held_back_share=0.5)
    assert "on 21 clips held back" in adapted.verdict
    assert json.loads((tmp_path / "run/result.json").read_bytes())["n_tested"] == 21


def test_what_did_not_help_is_not_recommended(
    wav_dir: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_as(monkeypatch, GOOD, BAD)
    adapted = tiny(wav_dir, tmp_path / "run", start, held_back_share=0.5)
    assert adapted.path is None
    assert "not recommended, it did not help" in adapted.verdict
    assert not (tmp_path / "run/base.safetensors").exists()


@pytest.mark.parametrize(
    ("before", "after", "n_tested", "helped"),
    [
        (BAD, GOOD, 20, True),
        (BAD, GOOD, 19, False),
        (GOOD, BAD, 500, False),
        (BAD, BAD, 500, False),
        (BAD, Figures(0.2, 0.209, 1.0, 0.9), 500, False),
        (BAD, Figures(0.2, 0.211, 1.0, 0.1), 500, True),
        (Figures(None, None, 1.0, 0.5), Figures(None, None, 9.0, 0.6), 500, True),
        (Figures(None, None, 1.0, 0.5), Figures(None, None, 0.1, 0.5), 500, False),
    ],
)
def test_what_counts_as_help(before: Figures, after: Figures, n_tested: int, helped: bool) -> None:
    judgement, verdict = judged(before, after, n_tested)
    assert judgement is helped
    assert verdict.startswith("it helped" if helped else "not recommended")


def test_without_labels_copies_decide(start: Path, tmp_path: Path) -> None:
    adapted = tiny(make_wavs(tmp_path / "wav", 45), tmp_path / "run", start, held_back_share=0.5)
    assert adapted.before.p5 is adapted.after.map is None
    assert "MRR" in adapted.verdict


def test_a_label_that_all_have_decides_as_little_as_none(start: Path, tmp_path: Path) -> None:
    wav_dir = make_wavs(tmp_path / "wav", 45)
    rows = read_conversion(wav_dir).clips
    write_rows(wav_dir / CLIPS_FILE, list(rows[0]), [{**row, "label": "clips"} for row in rows])
    adapted = tiny(wav_dir, tmp_path / "run", start, held_back_share=0.5)
    assert adapted.before.p5 is adapted.after.map is None
    assert "MRR" in adapted.verdict


def test_few_clips_keep_the_last_step_they_began_with(wav_dir: Path, start: Path, tmp_path: Path) -> None:
    clips = from_wavs(wav_dir)
    before, after = load_base(start), load_base(start)
    before.whiten.mean += 1
    from audiorec.training.contrast.judge import compare

    rows = torch.arange(45).numpy()
    compare(before, after, clips, rows[:20], rows[20:], contrast_settings())
    assert torch.equal(after.whiten.mean, before.whiten.mean)


def test_a_last_step_is_fitted_on_first_windows_and_no_more_is_cut(
    wav_dir: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[int] = []
    unchanged = judge.windows

    def windows(pcm: Pcm) -> Waveform:
        cut.append(len(pcm))
        return unchanged(pcm)

    monkeypatch.setattr(judge, "windows", windows)
    clips = from_wavs(wav_dir)
    features = judge._first_features(load_base(start), clips, np.arange(45))
    assert len(features) == 45
    assert max(cut) == CLIP_SAMPLES < max(len(clips.pcm(row)) for row in range(45))


def test_from_nothing_few_clips_keep_the_last_step_that_was_fitted_on_what_they_validate(
    wav_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted = tiny(wav_dir, tmp_path / "run", None, held_back_share=0.5)
    assert adapted.before.p5 is not None
    assert adapted.before.p5 > 0.5, "that of base, whose shape is another one"
    measured_as(monkeypatch, BAD, GOOD)
    written = adapt(wav_dir, tmp_path / "run", {}, resume=True).path
    assert written is not None
    best = read_contrast(tmp_path / "run/best.pt")["model"]
    torch.testing.assert_close(load_base(written).whiten.mean, best["encoder.whiten.mean"])


def test_a_resumed_run_goes_on_as_it_began(wav_dir: Path, start: Path, tmp_path: Path) -> None:
    first = tiny(wav_dir, tmp_path / "run", start, held_back_share=0.5)
    again = adapt(wav_dir, tmp_path / "run", {}, resume=True)
    assert again.before == first.before
    assert again.ended.n_steps == first.ended.n_steps
    with pytest.raises(BadSetting, match="--resume with --from or --held-back"):
        adapt(wav_dir, tmp_path / "run", {}, resume=True, start_from="base")
    (tmp_path / "run/began.json").write_text("{")
    with pytest.raises(BadCheckpoint, match=r"no whole began\.json"):
        adapt(wav_dir, tmp_path / "run", {}, resume=True)


def test_a_resumed_run_learns_from_nothing_that_it_is_told_by(start: Path, tmp_path: Path) -> None:
    make_wavs(tmp_path / "wav", 45, group_size=3, labelled=True)
    first = tiny(tmp_path / "wav", tmp_path / "run", start, held_back_share=0.5)
    make_wavs(tmp_path / "wav", 48, group_size=3, labelled=True)
    with pytest.raises(BadSetting, match=r"got 48 clips that are not those.*expected the same ones"):
        adapt(tmp_path / "wav", tmp_path / "run", {}, resume=True)
    make_wavs(tmp_path / "wav", 45, group_size=5, labelled=True)
    with pytest.raises(BadSetting, match="got 45 clips that are not those, or not of the labels and groups"):
        adapt(tmp_path / "wav", tmp_path / "run", {}, resume=True)
    make_wavs(tmp_path / "wav", 45, group_size=3, labelled=True)
    assert adapt(tmp_path / "wav", tmp_path / "run", {}, resume=True).before == first.before


def test_a_run_from_before_clips_were_noted_is_resumed(wav_dir: Path, start: Path, tmp_path: Path) -> None:
    first = tiny(wav_dir, tmp_path / "run", start, held_back_share=0.5)
    (tmp_path / "run/began.json").write_text(json.dumps({"from": str(start), "held_back": 0.5}))
    assert adapt(wav_dir, tmp_path / "run", {}, resume=True).before == first.before


def test_a_run_is_resumed_from_another_folder(
    wav_dir: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(start.parent)
    first = tiny(wav_dir, tmp_path / "run", Path(start.name), held_back_share=0.5)
    monkeypatch.chdir(tmp_path)
    assert adapt(wav_dir, tmp_path / "run", {}, resume=True).before == first.before


def test_a_second_run_leaves_the_first_one_alone(wav_dir: Path, start: Path, tmp_path: Path) -> None:
    tiny(wav_dir, tmp_path / "run", start, held_back_share=0.5)
    with pytest.raises(BadSetting, match="has a run in it"):
        tiny(wav_dir, tmp_path / "run", None, held_back_share=0.3)
    assert json.loads((tmp_path / "run/began.json").read_bytes())["held_back"] == 0.5


def test_a_model_of_another_shape_and_a_start_that_is_not_there(wav_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    write_base(Base(TINY_CONV.model_copy(update={"dim": 16})), other, {})
    with pytest.raises(BadSetting, match="model of another shape"):
        tiny(wav_dir, tmp_path / "run", other)
    with pytest.raises(BadCheckpoint, match=r"got no file none\.pt"):
        tiny(wav_dir, tmp_path / "run", tmp_path / "none.pt")


@pytest.mark.parametrize(("n_clips", "group_size", "left"), [(9, 1, "7 clips of 7"), (20, 10, "10 clips of 1")])
def test_too_few_are_left_once_some_are_held_back(
    n_clips: int, group_size: int, left: str, start: Path, tmp_path: Path
) -> None:
    wav_dir = make_wavs(tmp_path / "wav", n_clips, group_size=group_size)
    with pytest.raises(BadCatalogue, match=f"got {left} groups to learn from and to validate on.*or hold back fewer"):
        tiny(wav_dir, tmp_path / "run", start)


def test_a_warm_start_is_gentle(wav_dir: Path, start: Path, tmp_path: Path) -> None:
    adapt(wav_dir, tmp_path / "run", {"epochs": 0.1, "batch_size": 4}, start_from=str(start))
    assert read_contrast(tmp_path / "run/last.pt")["settings"]["learning_rate"] == 5e-4


def test_the_command(wav_dir: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured_as(monkeypatch, BAD, GOOD)
    command = ["train", "contrastive", str(wav_dir), "--out", str(tmp_path / "run"), "--from", str(start)]
    done = CliRunner().invoke(app, [*command, "--epochs", "0.1", "--batch-size", "4", "--held-back", "0.5"])
    assert done.exit_code == 0, done.output
    assert "P@5: 0.200 before, 0.500 after" in done.output
    assert f"next: audiorec build AUDIO_DIR MODEL_DIR --checkpoint {tmp_path / 'run/base.safetensors'}" in done.output
    refused = CliRunner().invoke(app, [*command, "--epochs", "0.1"])
    assert refused.exit_code == 2
    assert "has a run in it" in refused.output
