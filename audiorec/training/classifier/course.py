"""The course of a run inside transformers' Trainer: when it validates, saves and ends, what it says, and the clock.

OUT/config.toml     the settings
OUT/last.json       where the run is, and which of OUT/checkpoints/ it goes on from
OUT/best.pt         the model of the highest macro F1 so far: what `build --checkpoint` takes
OUT/log.jsonl       figures; TensorBoard's in OUT/tensorboard/
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from audiorec.errors import BadCheckpoint
from audiorec.files import replacing, sync_directory, writing_to_disk
from audiorec.training.classifier.settings import ClassifierSettings
from audiorec.training.logs import Logs
from audiorec.training.loop import LOG_STEPS, STATUS_S, Clock, Say, fraction_of

LAST_FILE = "last.json"
CHECKPOINTS_DIR = "checkpoints"
LAST_VERSION = 1


@dataclass
class Progress:
    """Where a run is. seconds, cpu_seconds: as `loop.Timed`. n_worse: validations since the best. is_over: it has
    ended, and only what is measured at the end may be missing.
    """

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best_macro_f1: float = -1.0
    best_step: int = 0
    n_worse: int = 0
    is_over: bool = False
    has_stopped_early: bool = False


class Course(TrainerCallback):
    """epoch_items: how many clips are learnt from. keep_best: writes the model as it is, with these figures."""

    def __init__(
        self,
        out_dir: Path,
        settings: ClassifierSettings,
        progress: Progress,
        data_key: str,
        epoch_items: int,
        logs: Logs,
        say: Say,
        keep_best: Callable[[Mapping[str, float]], None],
    ) -> None:
        self.settings = settings
        self.progress = progress
        self.was_stopped = False
        self.saved_step = progress.step
        self.asked_to_stop: Callable[[], bool] = lambda: False
        self._out_dir = out_dir
        self._data_key = data_key
        self._epoch_items = epoch_items
        self._validate_steps = settings.validate_steps or -(-epoch_items // settings.batch_size)
        self._logs = logs
        self._say = say
        self._keep_best = keep_best
        self._clock = Clock(progress)
        self._said = perf_counter()
        self._loss = float("nan")

    @property
    def fraction(self) -> float:
        """How much of the run is over, in [0, 1]."""
        return fraction_of(self.settings, self.progress, self._epoch_items)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        self.progress.step = state.global_step
        self._clock.tell()
        is_over = self.fraction >= 1
        control.should_log = state.global_step % LOG_STEPS == 0
        control.should_evaluate = is_over or state.global_step % self._validate_steps == 0
        control.should_save = control.should_evaluate
        self.progress.is_over = control.should_training_stop = is_over
        if self.asked_to_stop() and not is_over:
            self.was_stopped = control.should_save = control.should_training_stop = True
        if perf_counter() - self._said > STATUS_S:
            self._say(self._status())
            self._said = perf_counter()
        return control

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        logs: Mapping[str, float] = given["logs"]
        if "loss" in logs:
            self._loss = logs["loss"]
            names = {"loss": "train/loss", "grad_norm": "train/gradient_norm", "learning_rate": "learning_rate"}
            self._logs.figures(state.global_step, {said: float(logs[name]) for name, said in names.items()})

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> TrainerControl:
        figures = {name: float(given["metrics"][f"eval_{name}"]) for name in ("loss", "macro_f1", "accuracy")}
        self._logs.figures(state.global_step, {f"validation/{name}": value for name, value in figures.items()})
        progress = self.progress
        if figures["macro_f1"] > progress.best_macro_f1:
            progress.best_macro_f1, progress.best_step, progress.n_worse = figures["macro_f1"], state.global_step, 0
            self._keep_best(figures)
        else:
            progress.n_worse += 1
        if progress.n_worse >= self.settings.patience and not progress.is_over:
            progress.is_over = progress.has_stopped_early = control.should_training_stop = True
        self._say(
            f"step {state.global_step}, validation: macro F1 {figures['macro_f1']:.3f}, accuracy "
            f"{figures['accuracy']:.3f}, loss {figures['loss']:.4f}; best macro F1 {progress.best_macro_f1:.3f}, of "
            f"step {progress.best_step}"
        )
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """What was written becomes what the run goes on from; what it went on from before is deleted."""
        self._clock.tell()
        checkpoint = self._out_dir / CHECKPOINTS_DIR / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        sync(checkpoint)
        write_last(self._out_dir, checkpoint.name, self.settings, self.progress, self._data_key)
        self.saved_step = state.global_step
        remove_other_checkpoints(self._out_dir, checkpoint.name)

    def _status(self) -> str:
        progress = self.progress
        left_s = progress.seconds * (1 / max(self.fraction, 1e-3) - 1)
        return (
            f"step {progress.step}, {self.fraction:.0%}: loss {self._loss:.4f}, "
            f"{progress.step / progress.seconds:.1f} steps/s, {left_s / 60:.1f} min left"
        )


def sync(directory: Path) -> None:
    """Makes all files of a directory durable."""
    with writing_to_disk("a checkpoint"):
        for path in directory.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(directory)


def write_last(out_dir: Path, name: str, settings: ClassifierSettings, progress: Progress, data_key: str) -> None:
    last = {
        "version": LAST_VERSION,
        "checkpoint": name,
        "settings": settings.model_dump(),
        "progress": asdict(progress),
        "data_key": data_key,
    }
    with replacing(out_dir / LAST_FILE, durable=True) as file:
        file.write(json.dumps(last, indent=1).encode())


def read_last(out_dir: Path) -> dict[str, Any]:
    """Where a run is: {"checkpoint": its directory, "settings", "progress", "data_key"}. Raises BadCheckpoint."""
    try:
        last = json.loads((out_dir / LAST_FILE).read_bytes())
        checkpoint = out_dir / CHECKPOINTS_DIR / Path(last["checkpoint"]).name
        read = {
            "checkpoint": checkpoint,
            "settings": ClassifierSettings.model_validate(last["settings"]),
            "progress": Progress(**last["progress"]),
            "data_key": str(last["data_key"]),
        }
    except FileNotFoundError:
        raise BadCheckpoint(f"got no file {LAST_FILE}, expected that of a run to resume: begin one first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(
            f"got a {LAST_FILE} that is not whole ({type(error).__name__}), expected that of a run: begin another"
        ) from None
    if last.get("version") != LAST_VERSION or not checkpoint.is_dir():
        raise BadCheckpoint(f"got a {LAST_FILE} whose checkpoint is not there, expected it in {CHECKPOINTS_DIR}/")
    return read


def remove_other_checkpoints(out_dir: Path, name: str) -> None:
    """All but one: older ones, and what was left half written."""
    directory = out_dir / CHECKPOINTS_DIR
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name != name:
            shutil.rmtree(path, ignore_errors=True)
