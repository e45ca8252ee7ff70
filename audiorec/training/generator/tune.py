"""Tunes a generator on a catalogue, and says whether that helped: on clips held back for it alone.

OUT/NAME.safetensors                    the adapter, which a service loads by this name, when it helped
OUT/not-recommended/NAME.safetensors    when it did not
OUT/result.json                         what was measured
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from audiorec.encoders.checkpoint import read_checkpoint
from audiorec.errors import BadCatalogue, BadCheckpoint
from audiorec.files import replacing, writing_to_disk
from audiorec.generate.adapters import NAME, SUFFIX, AdapterFacts, save_adapter
from audiorec.progress import Progress, silent
from audiorec.training.checkpoint import LAST_FILE, restore
from audiorec.training.data import split
from audiorec.training.generator.base import Base, open_base
from audiorec.training.generator.clips import Captioned, captioned_clips, check_sound
from audiorec.training.generator.examples import Examples
from audiorec.training.generator.judge import Judged, judged
from audiorec.training.generator.learner import CHECKPOINT_KIND, AdapterLearner
from audiorec.training.generator.parts import Parts
from audiorec.training.generator.settings import GeneratorSettings, make_settings
from audiorec.training.loop import Ended, Say, learn, run_folder, unsaid
from audiorec.training.run import converted

RESULT_FILE = "result.json"
NOT_RECOMMENDED = "not-recommended"
MAX_TESTED = 256  # clips
MIN_GROUPS = 3  # one to learn from, one to choose the best by, one to tell at the end


@dataclass(frozen=True)
class Tuned:
    """path: of the adapter, which is recommended if `judged.helped`. None in all processes but the first."""

    ended: Ended
    judged: Judged
    path: Path


def tune(
    audio_dir: Path,
    out_dir: Path,
    given: Mapping[str, Any],
    *,
    config_path: Path | None = None,
    resume: bool = False,
    n_threads: int | None = None,
    progress: Progress = silent,
    say: Say = unsaid,
) -> Tuned:
    """given: fields of GeneratorSettings, None where nothing was said. audio_dir: a model directory with its converted
    clips, a folder of converted clips, or one of clips.

    A resumed run has the settings it began with; saying others is refused. Killed anywhere, it goes on from its last
    validation. Raises BadSetting, BadModel, BadCatalogue, BadCheckpoint, Busy, NoSpace, TrainingFailed.
    """
    began = _began(out_dir) if resume else {}
    settings = make_settings(given, began=began, config_path=config_path)
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    check_sound(audio_dir)
    base = open_base(settings.base)
    wav_dir = converted(audio_dir, out_dir, progress=progress)
    clips = captioned_clips(wav_dir, audio_dir, settings.caption, say)
    learnt, validated, tested = _split(clips, settings)
    say(f"{len(learnt)} clips to learn from, {len(validated)} to validate on, {len(tested)} to tell whether it helped")
    with run_folder(out_dir, resume=resume) as process:
        parts = Parts(base.pipe, process.device)
        n_cut, n_tokens = parts.n_cut([clip.caption for clip in clips])
        if n_cut:
            say(f"{n_cut} of {len(clips)} captions are longer than the {n_tokens} tokens that the model reads, and cut")
        learner = AdapterLearner(settings, process, parts, learnt, validated)
        if resume:
            _restore(learner, out_dir)
            say(f"resumed at step {learner.state.step}")
        ended = learn(learner, out_dir, resume=resume, say=say)
        return _end(learner, base, tested, ended, out_dir)


def _split(
    clips: Sequence[Captioned], settings: GeneratorSettings
) -> tuple[list[Captioned], list[Captioned], list[Captioned]]:
    """(to learn from, to validate on, to test), by whole groups. Raises BadCatalogue."""
    n_groups = len({clip.group for clip in clips})
    if n_groups < MIN_GROUPS:
        raise BadCatalogue(
            f"got {len(clips)} clips of {n_groups} groups, expected at least {MIN_GROUPS} groups, to learn from some, "
            "to choose by some, and to tell by the rest whether it helped: add clips of other recordings"
        )
    rest, tested = split(clips, settings.held_back, seed=settings.seed + 1)
    if len({clip.group for clip in rest}) < 2:
        raise BadCatalogue(
            f"got {len(tested)} of {len(clips)} clips held back, expected two groups to be left: lower held_back"
        )
    learnt, validated = split(rest, settings.validation_share, seed=settings.seed)
    return learnt, validated, tested


def _began(out_dir: Path) -> dict[str, Any]:
    """The settings of the run in a folder. Raises BadCheckpoint."""
    stored = _read(out_dir / LAST_FILE).get("settings")
    if not isinstance(stored, dict):
        raise BadCheckpoint(f"got a {LAST_FILE} without settings, expected a run's: begin another")
    return {name: value for name, value in stored.items() if value is not None}


def _read(path: Path) -> dict[str, Any]:
    return read_checkpoint(path, CHECKPOINT_KIND, "audiorec train generator")


def _restore(learner: AdapterLearner, out_dir: Path) -> None:
    """Raises BadCheckpoint for a run of another base, of other clips, or with other settings."""
    stored = _read(out_dir / LAST_FILE)
    theirs, mine = stored.get("config"), learner.state.config.model_dump()
    is_as_asked = stored.get("settings") == learner.settings.model_dump()  # else `restore` says what is not
    if is_as_asked and isinstance(theirs, dict) and theirs != mine:
        what = "another base" if theirs.get("base_sha256") != mine["base_sha256"] else "other clips or captions"
        raise BadCheckpoint(f"got a run to resume with {what}, expected those it began with: begin another run")
    restore(learner.state, stored)
    learner.sounded_step = learner.state.step


def _end(learner: AdapterLearner, base: Base, tested: Sequence[Captioned], ended: Ended, out_dir: Path) -> Tuned:
    settings, parts = learner.settings, learner.parts
    learner.weights.load_state_dict(_read(ended.best_path)["model"])
    examples = Examples.of(tested, parts, learner.crop_samples, most=MAX_TESTED, seed=settings.seed + 1)
    with learner.unet.disable_adapter():
        before = examples.losses(parts)
    name = out_dir.resolve().name
    name = name if NAME.fullmatch(name) else "adapter"
    with learner.weights.averaged():
        result = judged(examples.clips, before, examples.losses(parts))
        facts = AdapterFacts(
            kind=parts.kind,
            base=base.name,
            licence=base.licence,
            rank=settings.rank,
            caption=settings.caption,
            n_clips=learner.epoch_items(),
            n_steps=ended.n_steps,
            figures={"loss_before": result.before, "loss_after": result.after},
        )
        good, bad = out_dir / f"{name}{SUFFIX}", out_dir / NOT_RECOMMENDED / f"{name}{SUFFIX}"
        path, other = (good, bad) if result.helped else (bad, good)
        with writing_to_disk("the adapter"):
            path.parent.mkdir(exist_ok=True)
        save_adapter(parts.pipe, path, facts)
    other.unlink(missing_ok=True)
    with suppress(OSError):
        bad.parent.rmdir()  # where it is empty
    with replacing(out_dir / RESULT_FILE) as file:
        file.write(json.dumps({**asdict(result), "verdict": result.verdict}, indent=1).encode() + b"\n")
    return Tuned(ended, result, path)
