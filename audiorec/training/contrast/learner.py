"""The contrastive program of the loop: batches of views, a step of learning, a validation."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audiorec.encoders.shipped import CHECKPOINT_KIND
from audiorec.training.chance import generator_of
from audiorec.training.contrast.clips import Clips, Ids
from audiorec.training.contrast.losses import contrast
from audiorec.training.contrast.measure import Measure
from audiorec.training.contrast.model import ContrastModel
from audiorec.training.contrast.sampler import Sampler
from audiorec.training.contrast.settings import MIN_BATCH, ContrastSettings
from audiorec.training.contrast.views import augmented, crop, view
from audiorec.training.descent import check_finite, descend
from audiorec.training.loop import Measured
from audiorec.training.memory import fitting, is_out_of_memory, no_memory
from audiorec.training.processes import Process
from audiorec.training.state import TrainingState

MAX_GRADIENT_NORM = 5.0
START_CLIPS = 256  # what the scale of the spectrograms begins from
AUGMENTATION, START = 1, 2  # set apart what is random besides a step's clips and crops
CACHED_VIEWS = 4


class Batch(NamedTuple):
    """n clips twice: first all first views, then all second ones."""

    waveforms: npt.NDArray[np.float32]  # (2 n, 1, crop_samples)
    instances: npt.NDArray[np.int64]  # (2 n,)
    labels: npt.NDArray[np.bool_]  # (2 n, labels in the batch): which a view has
    step: int


class ContrastLearner:
    """settings.model on its device. clips: of which `rows` are learnt from; measure: the rest, or none."""

    def __init__(self, settings: ContrastSettings, process: Process, clips: Clips, rows: Ids, measure: Measure) -> None:
        self.settings = settings
        self.process = process
        self.device = process.device
        torch.manual_seed(settings.seed)
        self.model = ContrastModel(settings.model).to(self.device)
        self.model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learning, weight_decay=settings.weight_decay)
        self.state = TrainingState(CHECKPOINT_KIND, settings, settings.model, self.model, optimizer)
        self._clips, self._rows, self._measure = clips, rows, measure
        self._sampler = Sampler(
            clips,
            rows,
            source_power=settings.source_power,
            by_label_share=settings.by_label_share,
            mate_share=settings.mate_share,
        )
        self._autocasts = settings.amp and computes_bfloat16(self.device)

    @torch.no_grad()
    def start_scale(self) -> None:
        """Sets what spectrograms are normalised by, before any was learnt from."""
        rng = np.random.default_rng((self.settings.seed, 0, START))
        rows, _ = self._sampler.pairs(START_CLIPS, rng)
        waveforms = np.stack([crop(self._clips.pcm(row), self.settings.crop_samples, rng) for row in rows])
        log_mel = self._log_mel(waveforms[:, None])
        self.model.network.fit_scale(log_mel)
        self.model.encoder.network.fit_scale(log_mel)

    def epoch_items(self) -> int:
        return len(self._rows)

    def batch(self, step: int) -> Batch:
        rng = np.random.default_rng((self.settings.seed, step))
        rows = np.concatenate(self._sampler.pairs(self.settings.batch_size, rng))  # (2 n,)
        waveforms = np.stack([view(self._clips.pcm(row), self.settings, rng) for row in rows])
        names = sorted({label for row in rows for label in self._clips.labels[row]})
        column = {name: i for i, name in enumerate(names)}
        labels = np.zeros((len(rows), len(names)), np.bool_)
        for i, row in enumerate(rows):
            labels[i, [column[label] for label in self._clips.labels[row]]] = True
        labels = labels[:, ~labels.all(axis=0)]  # what all have is no other's: nothing would be told apart by it
        return Batch(waveforms[:, None], self._clips.instance[rows], labels, step)

    def step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        """Returns the losses before the step. Raises TrainingFailed when one is not a number, or memory runs out."""
        try:
            return self._step(batch, learning_rate)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        self.state.optimizer.zero_grad(set_to_none=True)
        fits = fitting(self._try, batch.waveforms) // 2
        raise no_memory(self.settings.batch_size, "clips", fits, at_least=MIN_BATCH)

    def _step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        model = self.model
        model.train()
        instance_loss, label_loss = self._losses(batch)
        loss = (1 - self.settings.label_weight) * instance_loss + self.settings.label_weight * label_loss
        norm = descend(
            loss,
            model.parameters(),
            self.state.optimizer,
            learning_rate=learning_rate,
            max_norm=MAX_GRADIENT_NORM,
            step=self.state.step,
        )
        self.state.step += 1
        model.average(self.settings.average_decay, self.state.step)
        parts = {"instance": instance_loss.item(), "label": label_loss.item()}
        return {"loss": loss.item(), **parts, "gradient_norm": norm}

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(which clip it is, which label it has)."""
        vectors = self._vectors(batch.waveforms, batch.step)
        instances = torch.from_numpy(batch.instances).to(self.device)
        labels = torch.from_numpy(batch.labels).to(self.device, torch.float32)
        temperature = self.settings.temperature
        return (
            contrast(self.model.instance_head(vectors), instances[:, None] == instances, temperature),
            contrast(self.model.label_head(vectors), labels @ labels.T > 0, temperature),
        )

    def _vectors(self, waveforms: npt.NDArray[np.float32], step: int) -> Tensor:
        """(N, 1, crop_samples) -> (N, config.dim) float32."""
        generator = generator_of(self.settings.seed, step, AUGMENTATION)
        with torch.no_grad():
            log_mel = augmented(self._log_mel(waveforms), self.settings, generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocasts):
            vectors: Tensor = self.model(log_mel)
        return vectors.float()

    def _log_mel(self, waveforms: npt.NDArray[np.float32]) -> Tensor:
        """(N, 1, crop_samples) -> (N, n_mels, T); on a processor, as much at a time as its cache holds."""
        n = CACHED_VIEWS if self.device.type == "cpu" else len(waveforms)
        parts = torch.split(torch.from_numpy(waveforms).to(self.device), n)
        return torch.cat([self.model.encoder.pre(part) for part in parts])

    def _try(self, waveforms: npt.NDArray[np.float32]) -> None:
        self._vectors(waveforms, 0).sum().backward()  # type: ignore[no-untyped-call]

    def validate(self) -> Measured:
        """Raises TrainingFailed when a feature is not a number."""
        figures = self._measure.figures(self.model.eval().encoder)
        check_finite("a validation loss", figures["loss"], self.state.step)
        return Measured(figures, said(figures))


def said(figures: dict[str, float]) -> str:
    """Figures of a validation for a person."""
    by_label = f"neighbours by label P@5 {figures['p5']:.3f}, mAP {figures['map']:.3f}; " if "p5" in figures else ""
    return f"{by_label}a clip by its disturbed copy MRR {figures['mrr']:.3f}; hubness {figures['hubness']:.2f}"


def computes_bfloat16(device: torch.device) -> bool:
    """Whether it does so faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch we run with
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
