"""transformers' Trainer, as our trainings run: one cycle of the learning rate, weighted losses, no silent faults."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import EvalPrediction, PrinterCallback, Trainer, TrainingArguments

from audiorec.errors import NoSpace, TrainingFailed
from audiorec.files import writing_to_disk
from audiorec.training.classifier.course import LAST_FILE, Course
from audiorec.training.classifier.data import Crops, Windows, collated
from audiorec.training.classifier.figures import figures_of
from audiorec.training.classifier.labelled import Labelled
from audiorec.training.classifier.settings import ClassifierSettings
from audiorec.training.classifier.split import LEARN
from audiorec.training.contrast.learner import computes_bfloat16
from audiorec.training.schedule import one_cycle

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Array = npt.NDArray[np.float32]

MAX_GRADIENT_NORM = 1.0
ENDLESS_STEPS = 10**8  # of a run that the clock ends
HIGHEST_WEIGHT = 20.0  # of a label, against the most frequent one's: rarer ones are learnt by heart


class ClassifierTrainer(Trainer):
    """Its checkpoints are those of its class; only the schedule, the loss and what goes wrong is ours."""

    def __init__(
        self,
        model: "PreTrainedModel",
        course: Course,
        out_dir: Path,
        data: Labelled,
        crops: Crops,
        windows: Windows,
        n_steps: int | None,
    ) -> None:
        """n_steps: None for a run that the clock ends."""
        settings = course.settings
        self._course = course
        self._is_multi = data.is_multi
        self._labels = data.labels
        self._windows = windows
        weights = label_weights(data.targets[data.rows(LEARN)], is_multi=data.is_multi)
        super().__init__(
            model=model,
            args=_arguments(settings, out_dir, n_steps or ENDLESS_STEPS),
            data_collator=collated,
            train_dataset=crops,
            eval_dataset=windows,
            compute_metrics=self._metrics,
            compute_loss_func=self._loss_function(weights if settings.class_weights else None),
            callbacks=[course],
        )
        self.remove_callback(PrinterCallback)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        assert self.optimizer is not None
        self.lr_scheduler = LambdaLR(self.optimizer, lambda _: one_cycle(self._course.fraction))
        return self.lr_scheduler

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with saving_by_libraries():
            super()._save_checkpoint(model, trial)

    def _loss_function(self, weights: Tensor | None) -> Callable[..., Tensor]:
        def loss_of(outputs: Any, targets: Tensor, num_items_in_batch: Any = None) -> Tensor:
            logits = outputs.logits.float()
            on_device = None if weights is None else weights.to(logits.device)
            if self._is_multi:
                loss = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=on_device)
            else:
                loss = F.cross_entropy(logits, targets, weight=on_device)
            self._check_finite("a loss", float(loss.detach()))
            return loss

        return loss_of

    def _metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        logits = torch.from_numpy(np.asarray(prediction.predictions, np.float32))
        self._check_finite("an output", float(logits.sum()))
        scores = torch.sigmoid(logits) if self._is_multi else torch.softmax(logits, dim=1)
        by_clip = self._windows.by_clip(scores.numpy())
        figures = figures_of(by_clip, self._windows.targets, self._labels, is_multi=self._is_multi)
        return {"macro_f1": figures.macro_f1, "accuracy": figures.accuracy}

    def _check_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            course = self._course
            kept = f"the last good checkpoint is that of step {course.saved_step}"
            raise TrainingFailed(
                f"got {what} of {value} at step {course.progress.step}, expected a number: lower --learning-rate; "
                f"{kept if course.saved_step else f'none was saved before, there is no {LAST_FILE}'}",
                code="nan_loss",
            )


def label_weights(targets: Array, *, is_multi: bool) -> Tensor:
    """(n_labels,): how much a clip of a label counts, so that all labels count the same; bounded.

    targets: (n, n_labels) of the clips that are learnt from. For several labels a clip, the weight of having one.
    """
    counts = np.maximum(targets.sum(axis=0), 1)
    if is_multi:
        return torch.from_numpy(np.clip((len(targets) - counts) / counts, 1, HIGHEST_WEIGHT).astype(np.float32))
    weights = np.minimum(counts.max() / counts, HIGHEST_WEIGHT)
    weights *= counts.sum() / (weights * counts).sum()  # a clip counts 1 in the mean
    return torch.from_numpy(weights.astype(np.float32))


def _arguments(settings: ClassifierSettings, out_dir: Path, n_steps: int) -> TrainingArguments:
    """When to log, validate, save and stop is the course's business; it tells the Trainer at every step."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    arguments = TrainingArguments(
        output_dir=str(out_dir),
        max_steps=n_steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        train_sampling_strategy="sequential",  # the order is in the numbers of the crops
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=MAX_GRADIENT_NORM,
        bf16=settings.amp and device.type == "cuda" and computes_bfloat16(device),
        seed=settings.seed,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:  # it would make batches larger than the crops are numbered for
        arguments._n_gpu = 1
    return arguments


@contextmanager
def saving_by_libraries() -> Iterator[None]:
    """Turns what torch and safetensors say of a full disk, each in its way, into NoSpace; what is half written is in
    nobody's way.
    """
    try:
        with writing_to_disk("a checkpoint"):
            yield
    except (RuntimeError, SafetensorError) as error:
        raise NoSpace(
            f"got '{str(error).splitlines()[0][:120]}' while writing a checkpoint, expected room and permission: make "
            "some, then run the same command with --resume, it goes on from the checkpoint before"
        ) from error
