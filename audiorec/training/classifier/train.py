"""Fine-tunes a pretrained model to tell labels apart, and measures at the end how well it does."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

import audiorec
from audiorec.commit import git_commit
from audiorec.encoders.checkpoint import CHECKPOINT_VERSION, read_checkpoint
from audiorec.encoders.classifier import BEST_FILE, CHECKPOINT_KIND, ClassifierConfig, config_in, model_of
from audiorec.encoders.wav2vec2 import WaveFront
from audiorec.errors import BadCheckpoint, BadSetting, TrainingFailed
from audiorec.files import locked, replacing
from audiorec.progress import Progress as Bar
from audiorec.progress import silent
from audiorec.training.checkpoint import write_checkpoint
from audiorec.training.classifier.base import freeze_front_end, open_base, read_base
from audiorec.training.classifier.course import (
    CHECKPOINTS_DIR,
    LAST_FILE,
    Course,
    Progress,
    read_last,
    remove_other_checkpoints,
)
from audiorec.training.classifier.data import MAX_VALIDATED, Crops, Windows
from audiorec.training.classifier.labelled import Labelled, labelled
from audiorec.training.classifier.measure import Result, measured, write_result
from audiorec.training.classifier.settings import ClassifierSettings, make_settings
from audiorec.training.classifier.split import LEARN, TEST, VALIDATE
from audiorec.training.classifier.trainer import ENDLESS_STEPS, ClassifierTrainer
from audiorec.training.contrast.clips import from_wavs
from audiorec.training.logs import Logs
from audiorec.training.loop import CONFIG_FILE, Say, n_steps_of, stop_signals, unsaid
from audiorec.training.memory import is_out_of_memory
from audiorec.training.run import converted
from audiorec.training.run_settings import to_toml

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Trained:
    """What a run ended with. best_path: what `build --checkpoint` takes."""

    best_path: Path
    progress: Progress
    result: Result


def train(
    audio_dir: Path,
    out_dir: Path,
    given: Mapping[str, Any],
    *,
    config_path: Path | None = None,
    resume: bool = False,
    n_threads: int | None = None,
    bar: Bar = silent,
    say: Say = unsaid,
) -> Trained:
    """given: fields of ClassifierSettings, None where nothing was said. audio_dir: clips, converted or not.

    A resumed run has the settings it began with; saying others is refused, and so are other clips or labels. Stopped
    by SIGINT or SIGTERM it saves first, and raises KeyboardInterrupt. Raises BadSetting, BadModel, BadCatalogue,
    BadCheckpoint, Busy, NoSpace, TrainingFailed.
    """
    if dist.is_torchelastic_launched():
        raise BadSetting("got torchrun, expected one process, for a classifier: run `audiorec train classifier` itself")
    last = read_last(out_dir) if resume else None
    began = last["settings"].model_dump(exclude_none=True) if last else {}
    settings = make_settings(given, began=began, config_path=config_path)
    if last:
        _check_same(settings, last["settings"])
    else:
        read_base(settings.base)  # what is wrong with it is said before an hour of converting
    with _run_folder(out_dir, resume=resume):
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        data = labelled(from_wavs(converted(audio_dir, out_dir, progress=bar)), settings)
        for line in data.said():
            say(line)
        if last and last["data_key"] != data.key():
            raise BadCheckpoint(
                "got other clips, labels or groups than the run to resume began with, expected the same: "
                "put them back, or begin another run"
            )
        _seed(settings.seed)
        config, model = _model(settings, data, last, out_dir)
        progress = last["progress"] if last else Progress()
        if last:
            say(f"resumed at step {progress.step}")
        if not progress.is_over:
            _learn(out_dir, settings, data, config, model, progress, last["checkpoint"] if last else None, say)
        return _finish(out_dir, settings, data, progress, say)


def _model(
    settings: ClassifierSettings, data: Labelled, last: Mapping[str, Any] | None, out_dir: Path
) -> "tuple[ClassifierConfig, PreTrainedModel]":
    if last and (out_dir / BEST_FILE).exists():  # the Trainer gives it the weights of its checkpoint
        stored = _read_best(out_dir)
        config = config_in(stored)
        return config, model_of(config, stored["model"])
    return open_base(settings.base, data.labels, is_multi=data.is_multi)


def _learn(
    out_dir: Path,
    settings: ClassifierSettings,
    data: Labelled,
    config: ClassifierConfig,
    model: "PreTrainedModel",
    progress: Progress,
    checkpoint: Path | None,
    say: Say,
) -> None:
    if not settings.train_front_end:
        freeze_front_end(model)
    front = WaveFront(config.sample_rate_hz, config.normalises)
    rows = data.rows(LEARN)
    timed = settings.minutes is not None or settings.cpu_minutes is not None
    n_steps = None if timed else n_steps_of(settings, len(rows))
    n_items = (n_steps or ENDLESS_STEPS) * settings.batch_size
    validated = data.rows(VALIDATE)
    validated = np.sort(np.random.default_rng(settings.seed).permutation(validated)[:MAX_VALIDATED])

    def keep_best(figures: Mapping[str, float]) -> None:
        write_best(out_dir, config, model, settings, progress, figures)

    with Logs(out_dir) as logs:
        course = Course(out_dir, settings, progress, data.key(), len(rows), logs, say, keep_best)
        crops = Crops(data, rows, front, n_items, settings.crop_samples, seed=settings.seed)
        windows = Windows(data, validated, front)
        trainer = ClassifierTrainer(model, course, out_dir / CHECKPOINTS_DIR, data, crops, windows, n_steps)
        if checkpoint is None:
            with replacing(out_dir / CONFIG_FILE) as file:
                file.write(to_toml(settings).encode())
        else:
            remove_other_checkpoints(out_dir, checkpoint.name)
        with stop_signals() as asked_to_stop, _saying_what_fits(settings):
            course.asked_to_stop = asked_to_stop
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        if course.was_stopped:
            raise KeyboardInterrupt
    if progress.has_stopped_early:
        n_worse, best_step = progress.n_worse, progress.best_step
        say(f"stopped early: {n_worse} validations without a better macro F1 than that of step {best_step}")


def _finish(out_dir: Path, settings: ClassifierSettings, data: Labelled, progress: Progress, say: Say) -> Trained:
    """Measures the best model, and puts what was found into its checkpoint."""
    stored = _read_best(out_dir)
    config = config_in(stored)
    say("measuring the best model on the clips held back")
    result = measured(config, stored["model"], data, seed=settings.seed)
    write_checkpoint(out_dir / BEST_FILE, {**stored, "config": result.config.model_dump()})
    facts = {
        "n_clips": {
            name: len(data.rows(part)) for name, part in (("learnt", LEARN), ("validated", VALIDATE), ("tested", TEST))
        },
        "left_out": list(data.left_out),
        "steps": progress.step,
        "best_step": progress.best_step,
        "seconds": round(progress.seconds, 1),
        "cpu_seconds": round(progress.cpu_seconds, 1),
        "settings": settings.model_dump(exclude_none=True),
        "git": git_commit(),
    }
    write_result(out_dir, result, facts)
    return Trained(out_dir / BEST_FILE, progress, result)


def write_best(
    out_dir: Path,
    config: ClassifierConfig,
    model: "PreTrainedModel",
    settings: ClassifierSettings,
    progress: Progress,
    figures: Mapping[str, float],
) -> None:
    """The model, its config, and how it was made. Raises NoSpace; the previous one survives."""
    stored = {
        "format": CHECKPOINT_KIND,
        "version": CHECKPOINT_VERSION,
        "config": config.model_dump(),
        "settings": settings.model_dump(),
        "step": progress.step,
        "seconds": progress.seconds,
        "cpu_seconds": progress.cpu_seconds,
        "figures": dict(figures),
        "made_with": {"audiorec": audiorec.__version__, "torch": str(torch.__version__), "git": git_commit()},
        "model": {name: value.detach().cpu() for name, value in model.state_dict().items()},
    }
    write_checkpoint(out_dir / BEST_FILE, stored)


def _read_best(out_dir: Path) -> dict[str, Any]:
    return read_checkpoint(out_dir / BEST_FILE, CHECKPOINT_KIND, "audiorec train classifier")


def _check_same(mine: ClassifierSettings, theirs: ClassifierSettings) -> None:
    differing = [
        f"{name} = {value} (it has {getattr(theirs, name)})"
        for name, value in mine.model_dump().items()
        if value != getattr(theirs, name)
    ]
    if differing:
        raise BadCheckpoint(
            f"got a run to resume with {', '.join(differing)}, expected the settings it began with: "
            "leave them out, or begin another run"
        )


@contextmanager
def _run_folder(out_dir: Path, *, resume: bool) -> Iterator[None]:
    with locked(out_dir / "lock", f"the run in {out_dir}"):
        if not resume and ((out_dir / LAST_FILE).exists() or (out_dir / BEST_FILE).exists()):
            raise BadSetting(f"got {out_dir}, which has a run in it, expected a new folder: name another, or --resume")
        yield


@contextmanager
def _saying_what_fits(settings: ClassifierSettings) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingFailed(
            f"got no memory for a batch of {settings.batch_size} crops of {settings.crop_samples} samples, expected "
            "enough: begin anew with a smaller --batch-size",
            code="out_of_memory",
        ) from None


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
