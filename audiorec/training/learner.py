"""One step of learning, one validation, and how the code books begin: everything that touches the network."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from audiorec.audio.mel import LogMel
from audiorec.encoders.vqvae.model import VQVAE, Loss
from audiorec.encoders.vqvae.quantiser import Quantised
from audiorec.encoders.vqvae.weights import CHECKPOINT_KIND
from audiorec.training.codes import Usage
from audiorec.training.data import Array, Crops
from audiorec.training.descent import check_finite, descend
from audiorec.training.memory import fitting, is_out_of_memory, no_memory
from audiorec.training.processes import Process
from audiorec.training.settings import TrainingSettings
from audiorec.training.state import TrainingState

BETAS = (0.9, 0.99)
MAX_GRADIENT_NORM = 1.0
START_CROPS = 256  # what scale and code books begin from
START_BATCH = 32
START_VECTORS_PER_CODE = 64
MAX_VALIDATION_CROPS = 512
N_PICTURES = 4
LEVELS = ("top", "bottom")


@dataclass(frozen=True)
class Validation:
    """figures: losses, and <level>_usage (a share) and <level>_perplexity. collapsed: the levels that are.

    before, after: (N_PICTURES, 80, n_frames) log-mel, and what the codes keep of it.
    """

    figures: dict[str, float]
    collapsed: tuple[str, ...]
    before: Tensor
    after: Tensor


class Learner:
    """The network on its device, and its optimizer. state: what a checkpoint holds."""

    def __init__(self, settings: TrainingSettings, process: Process) -> None:
        self.process = process
        self.settings = settings
        self.device = process.device
        torch.manual_seed(settings.seed)
        self.model = model = VQVAE(settings.model).to(self.device)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=settings.weight_decay, betas=BETAS)
        self.state = TrainingState(CHECKPOINT_KIND, settings, settings.model, model, optimizer)
        self._log_mel = LogMel().to(self.device)
        self._network: torch.nn.Module = model
        if process.n_processes > 1:  # code books are kept equal by the quantiser itself
            self._network = DistributedDataParallel(model, broadcast_buffers=False)
        self._autocasts = settings.amp and self.device.type == "cuda" and torch.cuda.is_bf16_supported()

    @torch.no_grad()
    def start_books(self, crops: Crops) -> None:
        """Fits the scale of the spectrograms, and sets each book to centres of what the new network makes of them."""
        model, n_crops = self.model, min(START_CROPS, len(crops))
        numbers = [range(i, min(i + START_BATCH, n_crops)) for i in range(0, n_crops, START_BATCH)]
        batches = [self._spectrograms(crops.numbered(part)) for part in numbers]
        model.top.scale.fit(torch.cat(batches))
        for level, quantiser in enumerate((model.top.quantiser, model.bottom.quantiser)):
            parts = [quantiser.parts(model.encode(batch)[level].vectors) for batch in batches]
            vectors = torch.cat(parts, dim=1)  # (G, M, d)
            n_wanted = START_VECTORS_PER_CODE * quantiser.n_codes
            if vectors.shape[1] > n_wanted:
                vectors = vectors[:, torch.randperm(vectors.shape[1])[:n_wanted].to(self.device)]
            quantiser.start(vectors)

    def step(self, waveforms: Array, learning_rate: float) -> dict[str, float]:
        """waveforms: (N, 1, crop_samples) float32, this process's share of a batch. Returns the losses before the step.

        Raises TrainingFailed when the loss is not a number, or memory runs out.
        """
        try:
            return self._step(waveforms, learning_rate)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        self.state.optimizer.zero_grad(set_to_none=True)
        fits = fitting(self._try, waveforms) * self.process.n_processes
        raise no_memory(self.settings.batch_size, "crops", fits)

    def _step(self, waveforms: Array, learning_rate: float) -> dict[str, float]:
        model = self.model
        model.train()
        total, losses, top, bottom = self._losses(waveforms)
        norm = descend(
            total,
            model.parameters(),
            self.state.optimizer,
            learning_rate=learning_rate,
            max_norm=MAX_GRADIENT_NORM,
            step=self.state.step,
        )
        model.top.quantiser.update(top)
        model.bottom.quantiser.update(bottom)
        self.state.step += 1
        return {**losses, "gradient_norm": norm}

    def _try(self, waveforms: Array) -> None:
        self._losses(waveforms)[0].backward()  # type: ignore[no-untyped-call]

    def _losses(self, waveforms: Array) -> tuple[Tensor, dict[str, float], Quantised, Quantised]:
        """The loss to go down, all of them as numbers, and what was coded."""
        log_mel = self._spectrograms(waveforms)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocasts):
            n_top_alone = int(self.settings.top_alone_share * len(log_mel))
            loss, top, bottom = self._network(log_mel, self.settings.latent_weight, n_top_alone)
        return loss.total, _numbers(loss), top, bottom

    def _spectrograms(self, waveforms: Array) -> Tensor:
        """(N, 1, crop_samples) -> (N, 80, n_frames)."""
        with torch.no_grad():
            log_mel: Tensor = self._log_mel(torch.from_numpy(waveforms).to(self.device))
        return log_mel

    @torch.no_grad()
    def validate(self, crops: Crops) -> Validation:
        """Losses on the same crops every time, and how much of each book they use. Raises TrainingFailed, as `step`."""
        model = self.model.eval()
        n_crops, batch_size = min(len(crops), MAX_VALIDATION_CROPS), max(1, self.settings.batch_size)
        usage = [Usage(self.settings.model.n_top_codes), Usage(self.settings.model.n_bottom_codes)]
        sums: Counter[str] = Counter()
        for first in range(0, n_crops, batch_size):
            numbers = range(first, min(first + batch_size, n_crops))
            log_mel = self._spectrograms(crops.numbered(numbers))
            loss, *levels = model(log_mel, self.settings.latent_weight)
            sums.update({name: value * len(numbers) for name, value in _numbers(loss).items()})
            for counted, level in zip(usage, levels, strict=True):
                counted.add(level.codes)
        figures = {name: value / n_crops for name, value in sums.items()}
        check_finite("a validation loss", figures["loss"], self.state.step)
        for level, counted in zip(LEVELS, usage, strict=True):
            figures |= {f"{level}_usage": counted.share, f"{level}_perplexity": counted.perplexity}
        pictured = self._spectrograms(crops.numbered(range(min(n_crops, N_PICTURES))))
        collapsed = tuple(level for level, counted in zip(LEVELS, usage, strict=True) if counted.is_collapsed())
        return Validation(figures, collapsed, pictured, model.reconstruct(pictured))


def _numbers(loss: Loss) -> dict[str, float]:
    return {
        "loss": float(loss.total.detach()),
        **{name: float(value.detach()) for name, value in loss._asdict().items() if name != "total"},
    }
