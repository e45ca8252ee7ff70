"""Tuning a generator: what it learns, that it says whether it helped, resuming, and what is refused."""

import json
import math
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_generators
import torch
from trainings import disk_of, make_wavs, one_thread
from typer.testing import CliRunner

from audiorec.audio.wav import wav_path
from audiorec.catalogue.convert import CLIPS_FILE, read_conversion, write_rows
from audiorec.cli import app
from audiorec.encoders.checkpoint import read_checkpoint
from audiorec.errors import BadCatalogue, BadCheckpoint, BadModel, BadSetting, NoSpace, TrainingFailed
from audiorec.generate import Prompt, load_generator
from audiorec.generate.adapters import list_adapters, load_adapter, read_facts, unload_adapter
from audiorec.publishing.workplace import Workplace
from audiorec.testing import make_release
from audiorec.training.data import Clip
from audiorec.training.generator import learner as learner_module
from audiorec.training.generator import tune as tune_module
from audiorec.training.generator.base import open_base
from audiorec.training.generator.clips import Captioned, captioned_clips, crop
from audiorec.training.generator.examples import DRAWS, Examples
from audiorec.training.generator.judge import judged
from audiorec.training.generator.learner import CHECKPOINT_KIND, AdapterLearner
from audiorec.training.generator.parts import Parts
from audiorec.training.generator.settings import GeneratorSettings, make_settings
from audiorec.training.generator.spectrogram import Spectrogram
from audiorec.training.generator.tune import Tuned, tune
from audiorec.training.loop import unsaid
from audiorec.training.processes import Process
from audiorec.training.run_settings import read_toml, to_toml
from audiorec.training.summary import tuned_summary

CPU = torch.device("cpu")
N_CLIPS = 40
SECONDS = 0.16


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_generators.save_audioldm(tmp_path_factory.mktemp("models") / "tiny-audioldm")


@pytest.fixture(scope="module")
def wav_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wavs(tmp_path_factory.mktemp("wav"), N_CLIPS, labelled=True)


def tiny(wav_dir: Path, out_dir: Path, base_dir: Path, *, resume: bool = False, **said: Any) -> Tuned:
    """A run of a few steps."""
    given = {"base": str(base_dir), "steps": 4, "rank": 2, "seconds": SECONDS, "batch_size": 2, "validate_steps": 2}
    given |= {"samples_every": 0, "held_back": 0.3, **said}
    return tune(wav_dir, out_dir, said if resume else given, resume=resume)


@pytest.fixture(scope="module")
def tuned(wav_dir: Path, base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    out_dir = tmp_path_factory.mktemp("runs") / "bells"
    learning = {"steps": 30, "validate_steps": 15, "learning_rate": 3e-2, "rank": 4, "batch_size": 4}
    return tiny(wav_dir, out_dir, base_dir, average_decay=0.9, samples_every=15, sample_steps=2, **learning)


def clips_of(wav_dir: Path) -> list[Captioned]:
    return captioned_clips(wav_dir, wav_dir, "", unsaid)


def stored(path: Path) -> dict[str, Any]:
    return read_checkpoint(path, CHECKPOINT_KIND, "")


def test_the_loss_on_clips_held_back_falls_below_that_of_the_base(tuned: Tuned) -> None:
    result = tuned.judged
    assert result.n_clips == result.n_groups == 12
    assert result.after < result.before - 0.03
    assert result.helped
    assert result.verdict.startswith("it helped: loss 1.")
    assert json.loads((tuned.path.parent / "result.json").read_bytes())["after"] == result.after


def test_the_figures_are_those_of_the_adapter_that_was_saved(tuned: Tuned, wav_dir: Path, base_dir: Path) -> None:
    parts = Parts(open_base(str(base_dir)).pipe, CPU)
    settings = GeneratorSettings.model_validate(stored(tuned.path.with_name("best.pt"))["settings"])
    *_, tested = tune_module._split(clips_of(wav_dir), settings)
    examples = Examples.of(tested, parts, parts.crop_samples(SECONDS), most=100, seed=settings.seed + 1)
    assert examples.losses(parts).mean() == pytest.approx(tuned.judged.before, rel=1e-5)
    facts = load_adapter(parts.pipe, tuned.path)
    assert examples.losses(parts).mean() == pytest.approx(tuned.judged.after, rel=1e-5)
    assert facts.figures == {"loss_before": tuned.judged.before, "loss_after": tuned.judged.after}
    assert (facts.base, facts.kind, facts.rank, facts.n_clips) == ("tiny-audioldm", "AudioLDMPipeline", 4, 25)
    assert "CC-BY-NC" in facts.licence


def test_sounds_differ_with_it_and_are_the_bases_own_without(tuned: Tuned, base_dir: Path) -> None:
    parts = Parts(open_base(str(base_dir)).pipe, CPU)
    plain = parts.sound("a tone clip", 0.32, 2, seed=1)
    load_adapter(parts.pipe, list_adapters(tuned.path.parent)["bells"])
    changed = parts.sound("a tone clip", 0.32, 2, seed=1)
    assert not torch.allclose(changed, plain, atol=1e-3)
    assert torch.equal(parts.sound("a tone clip", 0.32, 2, seed=1), changed)
    unload_adapter(parts.pipe)
    assert torch.equal(parts.sound("a tone clip", 0.32, 2, seed=1), plain)


def test_a_generator_loads_it_by_its_name(tuned: Tuned, base_dir: Path) -> None:
    generator = load_generator(str(base_dir), adapters_dir=tuned.path.parent)
    assert set(generator.facts.adapters) == {"bells"}

    def made(adapter: str | None) -> Any:
        prompt = Prompt(prompt="a tone clip", seconds=0.5, steps=2, seed=1, adapter=adapter)
        return generator.generate(prompt, lambda done, total: None).samples

    plain, tuned_sound = made(None), made("bells")
    assert np.abs(tuned_sound - plain).max() > 1e-3
    np.testing.assert_array_equal(made("bells"), tuned_sound)
    np.testing.assert_array_equal(made(None), plain)


def test_it_logs_losses_and_sounds(tuned: Tuned) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tuned.path.parent / "tensorboard")).Reload()
    sounds = {tag: [event.step for event in board.Audio(tag)] for tag in board.Tags()["audio"]}
    assert sounds.keys() <= {"a burst clip", "a noise clip", "a tone clip"}
    assert set(map(tuple, sounds.values())) == {(0, 15, 30)}  # 0: without the adapter
    losses = [event.value for event in board.Scalars("validation/loss")]
    assert len(losses) == 2
    assert losses[-1] < board.Scalars("validation/base_loss")[-1].value


@pytest.mark.parametrize("kind", ["AudioLDM2Pipeline", "MusicLDMPipeline"])
def test_the_other_kinds_learn_too(kind: str, wav_dir: Path, tmp_path: Path) -> None:
    base_dir = tiny_generators.SAVERS[kind](tmp_path / "model")
    done = tiny(wav_dir, tmp_path / "run", base_dir, steps=3, learning_rate=1e-2)
    pipe = open_base(str(base_dir)).pipe
    assert load_adapter(pipe, done.path).kind == kind
    assert math.isfinite(done.judged.after)
    assert done.judged.after != done.judged.before


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_target_is_what_the_scheduler_predicts(
    prediction: str, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = open_base(str(base_dir)).pipe
    pipe.scheduler.register_to_config(prediction_type=prediction)
    parts = Parts(pipe, CPU)
    latents, noise = torch.randn(2, 2, 4, 8, 4)
    timesteps = torch.tensor([10, 900])
    share = parts._schedule.alphas_cumprod[timesteps].view(2, 1, 1, 1)
    asked: dict[str, torch.Tensor] = {}

    def unet(noisy: torch.Tensor, timesteps: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        asked["noisy"] = noisy
        velocity = share.sqrt() * noise - (1 - share).sqrt() * latents
        return ({"epsilon": noise, "v_prediction": velocity, "sample": latents}[prediction],)

    monkeypatch.setattr(type(pipe.unet), "forward", lambda self, *a, **k: unet(*a, **k))
    assert parts.losses(latents, noise, timesteps, {}).max() < 1e-10
    torch.testing.assert_close(asked["noisy"], share.sqrt() * latents + (1 - share).sqrt() * noise)


def test_a_spectrogram_is_the_one_of_the_vocoder() -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    ours = Spectrogram(16_000, 160, 64)(torch.from_numpy(sound).float()[None])
    assert ours.shape == (1, 1, 100, 64)
    centred = sound - sound.mean()
    padded = np.pad(centred * 0.5 / np.abs(centred).max(), 432, mode="reflect")
    filters = mel_filter_bank(513, 64, 0, 8000, 16_000, norm="slaney", mel_scale="slaney")
    theirs = spectrogram(
        padded,
        window_function(1024, "hann"),
        frame_length=1024,
        hop_length=160,
        power=1.0,
        center=False,
        mel_filters=filters,
        mel_floor=1e-5,
        log_mel="log",
    )
    np.testing.assert_allclose(ours[0, 0].T, theirs, atol=1e-3)


def test_a_pause_is_not_made_loud() -> None:
    pause = Spectrogram(16_000, 160, 8)(1e-4 * torch.randn(1, 3200))
    assert pause.max() < Spectrogram(16_000, 160, 8)(torch.randn(1, 3200).clamp(-1, 1)).min()


def test_a_short_clip_ends_in_silence_and_a_long_one_is_cut(wav_dir: Path) -> None:
    clips = sorted(clips_of(wav_dir), key=lambda clip: clip.n_samples)
    short, long = clips[0], clips[-1]
    part = crop(short, 2 * short.n_samples, np.random.default_rng(0))
    assert np.abs(part[: short.n_samples]).max() == 1.0
    assert not part[short.n_samples :].any()
    starts = [crop(long, 1000, np.random.default_rng(seed)) for seed in range(3)]
    assert len({part.tobytes() for part in starts}) == 3
    assert all(np.abs(part).max() <= 1 for part in starts)


def test_examples_are_the_same_whenever_they_are_measured(wav_dir: Path, base_dir: Path) -> None:
    parts = Parts(open_base(str(base_dir)).pipe, CPU)
    examples = Examples.of(clips_of(wav_dir), parts, 2560, most=10, seed=3)
    again = Examples.of(clips_of(wav_dir), parts, 2560, most=10, seed=3)
    assert len(examples.clips) == 10
    np.testing.assert_array_equal(examples.losses(parts), again.losses(parts))
    tenths = np.bincount(examples.timesteps.flatten() // 100, minlength=10)
    assert tenths.tolist() == [DRAWS] * 10  # over all the time, evenly


def test_a_crop_is_a_length_that_the_unet_can_halve(base_dir: Path) -> None:
    parts = Parts(open_base(str(base_dir)).pipe, CPU)
    assert parts.crop_samples(None) == 32 * 2 * 160  # what the pipeline makes by itself
    assert parts.crop_samples(0.2) % (160 * 2 * 2) == 0
    assert abs(parts.crop_samples(0.2) / 16_000 - 0.2) <= 0.02
    assert parts.crop_samples(1e-6) == 640


def learner_of(wav_dir: Path, base_dir: Path, **said: Any) -> AdapterLearner:
    settings = make_settings({"base": str(base_dir), "steps": 4, "rank": 2, "seconds": SECONDS, **said})
    clips = clips_of(wav_dir)
    return AdapterLearner(settings, Process(0, 1, CPU), Parts(open_base(str(base_dir)).pipe, CPU), clips[4:], clips[:4])


def test_some_captions_are_left_out_so_that_guidance_has_something_to_guide_from(wav_dir: Path, base_dir: Path) -> None:
    learner = learner_of(wav_dir, base_dir, caption_dropout=0.25, batch_size=8)
    captions = [caption for step in range(50) for caption in learner.batch(step).captions]
    assert 0.18 < captions.count("") / len(captions) < 0.32
    assert set(captions) == {"", "a tone clip", "a noise clip", "a burst clip"}
    assert learner.batch(7).waveforms.tobytes() == learner.batch(7).waveforms.tobytes()


def test_only_the_adapter_learns(wav_dir: Path, base_dir: Path) -> None:
    learner = learner_of(wav_dir, base_dir)
    frozen = {name: p.clone() for name, p in learner.unet.named_parameters() if not p.requires_grad}
    before = {name: p.clone() for name, p in learner.weights.learning.items()}
    for step in range(3):
        learner.step(learner.batch(step), 1e-2)
    assert all(torch.equal(p, frozen[name]) for name, p in learner.unet.named_parameters() if name in frozen)
    assert all(not torch.equal(p, before[name]) for name, p in learner.weights.learning.items())
    assert sum(
        p.requires_grad
        for part in learner.parts.pipe.components.values()
        if isinstance(part, torch.nn.Module)
        for p in part.parameters()
    ) == len(before)


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unchanged = AdapterLearner.step

    def step_and_stop(self: AdapterLearner, *arguments: Any) -> dict[str, float]:
        if self.state.step + 1 == step:
            signal.raise_signal(signal.SIGINT)
        return unchanged(self, *arguments)

    monkeypatch.setattr(AdapterLearner, "step", step_and_stop)


def test_a_resumed_run_equals_an_unbroken_one(
    wav_dir: Path, base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = tiny(wav_dir, tmp_path / "a" / "run", base_dir)
    broken_dir = tmp_path / "b" / "run"
    with monkeypatch.context() as patched:
        stop_at(3, patched)
        with pytest.raises(KeyboardInterrupt):
            tiny(wav_dir, broken_dir, base_dir)
    assert stored(broken_dir / "last.pt")["step"] == 3
    assert not list_adapters(broken_dir)
    torch.manual_seed(99)  # whatever a new process begins with
    resumed = tiny(wav_dir, broken_dir, base_dir, resume=True)
    assert resumed.ended.n_steps == 4
    assert resumed.judged.after == pytest.approx(unbroken.judged.after, rel=1e-6)
    for name in ("last.pt", "best.pt"):
        one, other = (stored(tmp_path / run / "run" / name)["model"] for run in "ab")
        torch.testing.assert_close(one, other)


def test_a_finished_run_resumed_says_the_same(tuned: Tuned, wav_dir: Path, base_dir: Path) -> None:
    before = tuned.path.read_bytes()
    again = tiny(wav_dir, tuned.path.parent, base_dir, resume=True)
    assert again.judged == tuned.judged
    assert tuned.path.read_bytes() == before


def test_resuming_with_other_settings_names_them(tuned: Tuned, wav_dir: Path, base_dir: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"rank = 7 \(it has 4\)"):
        tiny(wav_dir, tuned.path.parent, base_dir, resume=True, rank=7)
    with pytest.raises(BadCheckpoint, match=r"caption = a \{label\} \(it has \)"):
        tiny(wav_dir, tuned.path.parent, base_dir, resume=True, caption="a {label}")


def test_resuming_with_another_base_in_the_place_of_the_first(tuned: Tuned, wav_dir: Path, tmp_path: Path) -> None:
    run_dir = shutil.copytree(tuned.path.parent, tmp_path / "run")
    model_dir = tiny_generators.save_audioldm(tmp_path / "model", seed=1)
    last = stored(run_dir / "last.pt")
    torch.save({**last, "settings": {**last["settings"], "base": str(model_dir)}}, run_dir / "last.pt")
    with pytest.raises(BadCheckpoint, match="another base"):
        tiny(wav_dir, run_dir, model_dir, resume=True)


def test_resuming_when_the_catalogue_has_changed(tuned: Tuned, base_dir: Path, tmp_path: Path) -> None:
    grown = make_wavs(tmp_path / "wav", N_CLIPS + 1, labelled=True)
    with pytest.raises(BadCheckpoint, match="other clips or captions"):
        tiny(grown, tuned.path.parent, base_dir, resume=True)


def test_resuming_where_nothing_is(wav_dir: Path, base_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"got no file last\.pt"):
        tiny(wav_dir, tmp_path, base_dir, resume=True)


def test_a_run_is_not_overwritten(tuned: Tuned, wav_dir: Path, base_dir: Path) -> None:
    before = tuned.path.read_bytes()
    with pytest.raises(BadSetting, match="has a run in it"):
        tiny(wav_dir, tuned.path.parent, base_dir)
    assert tuned.path.read_bytes() == before


def test_what_did_not_help_is_put_aside(wav_dir: Path, base_dir: Path, tmp_path: Path) -> None:
    done = tiny(wav_dir, tmp_path / "run", base_dir, steps=1, learning_rate=1e-9)
    assert not done.judged.helped
    assert "not recommended, it did not help" in done.judged.verdict
    assert done.path == tmp_path / "run/not-recommended/run.safetensors"
    assert list_adapters(tmp_path / "run") == {}
    assert read_facts(done.path).n_steps == 1


def clip(group: str) -> Captioned:
    return Captioned(Path(f"{group}.wav"), 1, group, "x")


@pytest.mark.parametrize(
    ("gains", "groups", "helped", "said"),
    [
        ([0.1, 0.11] * 4, "abcdefgh", True, "it helped"),
        ([0.1, -0.1] * 4, "abcdefgh", False, "did not help"),
        ([-0.1, -0.11] * 4, "abcdefgh", False, "did not help"),
        ([0.1, 0.11] * 3, "abcdef", False, "fewer than 8 groups cannot tell"),
        ([0.1, 0.11] * 4, "aaaaaaaa", False, "fewer than 8 groups cannot tell"),
        ([0.1] * 20 + [-0.1] * 7, "a" * 20 + "bcdefgh", False, "did not help"),
    ],
)
def test_what_counts_as_help(gains: list[float], groups: str, helped: bool, said: str) -> None:
    before = np.ones(len(gains))
    result = judged([clip(group) for group in groups], before, before - np.array(gains))
    assert (result.helped, result.n_groups) == (helped, len(set(groups)))
    assert said in result.verdict


def test_clips_of_which_nothing_is_known(base_dir: Path, tmp_path: Path) -> None:
    wav_dir = make_wavs(tmp_path / "wav", 12)
    with pytest.raises(BadCatalogue, match=r"got no caption for any of 12 clips.*labels\.csv"):
        tiny(wav_dir, tmp_path / "run", base_dir)


def without_labels(wav_dir: Path, n_clips: int) -> None:
    """The first n clips have none."""
    rows = read_conversion(wav_dir).clips
    unlabelled = [{**row, "label": ""} for row in rows[:n_clips]]
    write_rows(wav_dir / CLIPS_FILE, list(rows[0]), [*unlabelled, *rows[n_clips:]])


def test_clips_without_a_caption_are_left_out_and_counted(tmp_path: Path) -> None:
    wav_dir = make_wavs(tmp_path / "wav", 12, labelled=True)
    without_labels(wav_dir, 3)
    said: list[str] = []
    assert len(captioned_clips(wav_dir, wav_dir, "", said.append)) == 9
    assert said == ["9 clips with a caption, as 'a tone clip', 'a noise clip', 'a burst clip'; 3 without are left out"]
    without_labels(wav_dir, 6)
    with pytest.raises(BadCatalogue, match="got 6 clips with a caption, of 6 groups, expected at least 8"):
        captioned_clips(wav_dir, wav_dir, "", unsaid)


@pytest.mark.parametrize(
    ("n_clips", "group_size", "message"),
    [(7, 1, "got 7 clips of 7 groups, expected at least 8"), (12, 6, "of 2 groups, expected at least 3 groups")],
)
def test_too_few_clips(n_clips: int, group_size: int, message: str, base_dir: Path, tmp_path: Path) -> None:
    wav_dir = make_wavs(tmp_path / "wav", n_clips, group_size=group_size, labelled=True)
    with pytest.raises(BadCatalogue, match=message):
        tiny(wav_dir, tmp_path / "run", base_dir)


def test_so_much_held_back_that_too_little_is_left(base_dir: Path, tmp_path: Path) -> None:
    wav_dir = make_wavs(tmp_path / "wav", 12, group_size=4, labelled=True)
    with pytest.raises(BadCatalogue, match="lower held_back"):
        tiny(wav_dir, tmp_path / "run", base_dir, held_back=0.9)


def test_a_template_of_columns_that_there_are_not(wav_dir: Path, base_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"\{mood\}, expected of the columns .*label"):
        tiny(wav_dir, tmp_path / "run", base_dir, caption="a {mood} clip")
    assert not (tmp_path / "run/last.pt").exists()


@pytest.mark.parametrize(
    ("index", "kind"),
    [
        ({"model_index.json": {"_class_name": "StableAudioPipeline"}}, "StableAudioPipeline"),
        ({"config.json": {"architectures": ["MusicgenForConditionalGeneration"]}}, "MusicgenForConditionalGeneration"),
    ],
)
def test_a_base_of_a_kind_without_a_unet(
    index: dict[str, dict[str, Any]], kind: str, wav_dir: Path, tmp_path: Path
) -> None:
    for name, content in index.items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(BadModel, match=f"a {kind}, expected one of AudioLDMPipeline, AudioLDM2Pipeline"):
        tiny(wav_dir, tmp_path / "run", tmp_path)


def test_a_base_of_another_rate(wav_dir: Path, base_dir: Path, tmp_path: Path) -> None:
    model_dir = shutil.copytree(base_dir, tmp_path / "model")
    config = json.loads((model_dir / "vocoder/config.json").read_text())
    (model_dir / "vocoder/config.json").write_text(json.dumps({**config, "sampling_rate": 48_000}))
    with pytest.raises(BadModel, match=r"of 48000 Hz .* expected one of 16000 Hz"):
        tiny(wav_dir, tmp_path / "run", model_dir)


@pytest.mark.parametrize(
    "change", [{"_class_name": "FlowMatchEulerDiscreteScheduler"}, {"prediction_type": "flow_prediction"}]
)
def test_a_base_of_another_noise_schedule(
    change: dict[str, str], wav_dir: Path, base_dir: Path, tmp_path: Path
) -> None:
    pipe = open_base(str(base_dir)).pipe
    if "_class_name" in change:
        from diffusers import FlowMatchEulerDiscreteScheduler

        pipe.scheduler = FlowMatchEulerDiscreteScheduler()
    else:
        pipe.scheduler.register_to_config(**change)
    with pytest.raises(BadModel, match="expected one with a schedule of betas that predicts epsilon, v_prediction"):
        Parts(pipe, CPU)


def test_a_base_that_is_not_there_and_none_at_all(wav_dir: Path, base_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="got no directory"):
        tiny(wav_dir, tmp_path / "run", tmp_path / "nowhere")
    with pytest.raises(BadSetting, match="got no --base, expected a hub id or a directory"):
        tune(wav_dir, tmp_path / "run", {"steps": 1})


def test_a_release_without_sound_says_what_is_needed(base_dir: Path, tmp_path: Path) -> None:
    release_dir = make_release(tmp_path / "model", 10)
    for path in (tmp_path / "model", release_dir):
        with pytest.raises(BadCatalogue, match=r"has vectors and no sound.*`audiorec convert AUDIO_DIR MODEL_DIR`"):
            tiny(path, tmp_path / "run", base_dir)


def test_what_was_removed_from_a_catalogue_is_not_learnt_from(tmp_path: Path) -> None:
    model_dir = tmp_path / "model"
    make_release(model_dir, 25)
    wav_dir = make_wavs(Workplace(model_dir).wav_dir, 30, labelled=True)  # of the same hashes, and five more
    wav_path(wav_dir, f"{0:064x}").unlink()
    rows = [row for row in read_conversion(wav_dir).clips if int(row["sha256"], 16)]
    write_rows(wav_dir / CLIPS_FILE, list(rows[0]), rows)
    said: list[str] = []
    clips = captioned_clips(wav_dir, model_dir, "", said.append)
    assert sorted(int(clip.path.stem, 16) for clip in clips) == list(range(1, 25))
    assert said[0].startswith("1 clips of release 0001, which were added, have no converted sound")
    assert said[1] == "5 converted clips are not in release 0001: not learnt from"


def test_a_loss_that_is_no_number(
    wav_dir: Path, base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = crop

    def crop_nan(clip: Clip, crop_samples: int, rng: np.random.Generator) -> Any:
        return unchanged(clip, crop_samples, rng) * np.float32(np.nan if clip.path.stem.endswith("a") else 1)

    monkeypatch.setattr(learner_module, "crop", crop_nan)
    with pytest.raises(TrainingFailed, match=r"got a loss of nan at step .*last\.pt of step") as caught:
        tiny(wav_dir, tmp_path / "run", base_dir, steps=40)
    assert caught.value.code == "nan_loss"
    weights = stored(tmp_path / "run/last.pt")["model"]
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())


def test_out_of_memory_says_what_would_fit(
    wav_dir: Path, base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = AdapterLearner._loss

    def loss(self: AdapterLearner, batch: Any) -> Any:
        if len(batch.waveforms) > 3:
            torch.empty(2**52)
        return unchanged(self, batch)

    monkeypatch.setattr(AdapterLearner, "_loss", loss)
    with pytest.raises(TrainingFailed, match="a batch of 8 clips, 2 would fit: begin anew with --batch-size 2"):
        tiny(wav_dir, tmp_path / "run", base_dir, batch_size=8)


def test_a_full_disk_while_the_adapter_is_saved(
    wav_dir: Path, base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = tune_module.save_adapter

    def save(*arguments: Any) -> None:
        with disk_of(100):
            unchanged(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(tune_module, "save_adapter", save)
        with pytest.raises(NoSpace, match="the same command again"):
            tiny(wav_dir, tmp_path / "run", base_dir, learning_rate=1e-2)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob(".part-*"))
    assert tiny(wav_dir, tmp_path / "run", base_dir, resume=True).path.exists()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"rank": 0}, "rank = '0'"),
        ({"steps": 0}, "steps = '0'"),
        ({"minutes": 1}, "expected one of epochs, minutes, cpu_minutes, steps"),
        ({"caption_dropout": 1}, "caption_dropout"),
        ({"seconds": -1}, "seconds"),
        ({"held_back": 1}, "held_back"),
    ],
)
def test_settings_that_make_no_sense(said: dict[str, Any], message: str, wav_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=message):
        tiny(wav_dir, tmp_path / "run", tmp_path, **said)


def test_a_config_is_read_back_as_it_was(tmp_path: Path) -> None:
    settings = make_settings({"base": "laion/x", "steps": 1, "caption": 'a "{label}" \\ \U0001f436 ü'})
    (tmp_path / "config.toml").write_text(to_toml(settings), encoding="utf-8")
    assert make_settings({}, config_path=tmp_path / "config.toml") == settings
    assert read_toml(tmp_path / "config.toml")["caption"] == settings.caption


def test_the_summary_says_what_to_do_next(tuned: Tuned) -> None:
    summary = tuned_summary(tuned)
    assert "30 steps in" in summary
    assert tuned.judged.verdict in summary
    assert f"--adapters {tuned.path.parent} --adapter bells" in summary
    assert "next:" not in tuned_summary(replace(tuned, judged=replace(tuned.judged, gain=-1.0)))


def test_the_command_line(wav_dir: Path, base_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("held_back = 0.3\nsamples_every = 0\nbatch_size = 2\n")
    arguments = ["train", "generator", str(wav_dir), "--base", str(base_dir), "--out", str(tmp_path / "birds")]
    arguments += ["--config", str(config), "--seconds", "0.16", "--rank", "2", "--threads", "1", "--steps", "2"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "25 clips to learn from" in done.output
    assert "2 steps in" in done.output
    assert list(tmp_path.rglob("birds.safetensors"))
    refused = CliRunner().invoke(app, arguments)
    assert (refused.exit_code, "has a run in it" in refused.output) == (2, True)


@pytest.mark.parametrize("kind", ["AudioLDMPipeline", "AudioLDM2Pipeline"])
def test_captions_that_the_model_does_not_read_to_the_end_are_told_once(
    kind: str,
    wav_dir: Path,
    tmp_path: Path,
    tiny_generator: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []
    given = {"base": str(tiny_generator(kind)), "steps": 1, "rank": 2, "seconds": SECONDS, "samples_every": 0}
    tune(wav_dir, tmp_path / "run", {**given, "batch_size": 2, "caption": "{label} " + "la " * 80}, say=said.append)
    assert f"{N_CLIPS} of {N_CLIPS} captions are longer than the 64 tokens that the model reads, and cut" in said
    assert "truncated" not in capfd.readouterr().err
