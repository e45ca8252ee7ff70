"""The program of the loop that tunes a generator: batches of clips and captions, a step of learning, a validation."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from audiorec.generate.adapters import adapter_weights, attach, linear_layers, probe
from audiorec.training.chance import generator_of
from audiorec.training.contrast.learner import computes_bfloat16
from audiorec.training.data import Array
from audiorec.training.descent import check_finite, descend
from audiorec.training.generator.clips import Captioned, crop
from audiorec.training.generator.examples import Examples
from audiorec.training.generator.parts import Parts
from audiorec.training.generator.settings import GeneratorSettings
from audiorec.training.generator.weights import AveragedWeights
from audiorec.training.logs import Logs
from audiorec.training.loop import Measured
from audiorec.training.memory import fitting, is_out_of_memory, no_memory
from audiorec.training.processes import Process
from audiorec.training.state import TrainingState

CHECKPOINT_KIND = "audiorec-generator-adapter"
MAX_GRADIENT_NORM = 1.0
MAX_VALIDATED = 64  # clips
N_SOUNDS = 3


class AdapterConfig(BaseModel):
    """What a run cannot change: the model that it tunes, and what it learns from."""

    kind: str
    rank: int
    base_sha256: str
    clips_sha256: str


class Batch(NamedTuple):
    waveforms: Array  # (n, crop_samples)
    captions: list[str]  # "" where it is learnt without
    step: int


class AdapterLearner:
    """An adapter on the UNet of `parts`. clips: to learn from; held: to validate on."""

    def __init__(
        self,
        settings: GeneratorSettings,
        process: Process,
        parts: Parts,
        clips: Sequence[Captioned],
        held: Sequence[Captioned],
    ) -> None:
        self.settings = settings
        self.process = process
        self.parts = parts
        self.crop_samples = parts.crop_samples(settings.seconds)
        self._clips = clips
        base = probe(parts.pipe.unet)
        config = AdapterConfig(
            kind=parts.kind,
            rank=settings.rank,
            base_sha256=hashlib.sha256(base.numpy().tobytes()).hexdigest(),
            clips_sha256=_hash([*clips, *held]),
        )
        torch.manual_seed(settings.seed)
        self.unet = attach(parts.pipe, linear_layers(parts.pipe.unet), settings.rank)
        self.weights = AveragedWeights(adapter_weights(self.unet))
        optimizer = torch.optim.AdamW(self.weights.learning.parameters(), weight_decay=settings.weight_decay)
        self.state = TrainingState(CHECKPOINT_KIND, settings, config, self.weights, optimizer)
        self._examples = Examples.of(held, parts, self.crop_samples, most=MAX_VALIDATED, seed=settings.seed)
        self._base_loss = float(self._examples.losses(parts).mean())  # the adapter does nothing yet
        self.sounded_step = 0  # when there were last sounds in the logs
        self._autocasts = settings.amp and computes_bfloat16(parts.device)

    def epoch_items(self) -> int:
        return len(self._clips)

    def batch(self, step: int) -> Batch:
        n, n_clips = self.settings.batch_size, len(self._clips)
        waveforms, captions = [], []
        for number in range(step * n, (step + 1) * n):
            epoch, i = divmod(number, n_clips)
            order = np.random.default_rng((self.settings.seed, epoch)).permutation(n_clips)
            rng = np.random.default_rng((self.settings.seed, epoch, i))
            clip = self._clips[order[i]]
            waveforms.append(crop(clip, self.crop_samples, rng))
            captions.append("" if rng.random() < self.settings.caption_dropout else clip.caption)
        return Batch(np.stack(waveforms), captions, step)

    def step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        """Returns the loss before the step. Raises TrainingFailed when it is not a number, or memory runs out."""
        try:
            return self._step(batch, learning_rate)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        self.state.optimizer.zero_grad(set_to_none=True)
        fits = fitting(self._try, batch.waveforms)
        raise no_memory(
            self.settings.batch_size, "clips", fits, smaller="shorter crops by --seconds, or a smaller model"
        )

    def _step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        loss = self._loss(batch)
        norm = descend(
            loss,
            self.weights.learning.parameters(),
            self.state.optimizer,
            learning_rate=learning_rate,
            max_norm=MAX_GRADIENT_NORM,
            step=self.state.step,
        )
        self.state.step += 1
        self.weights.move_average(self.settings.average_decay, self.state.step)
        return {"loss": loss.item(), "gradient_norm": norm}

    def _loss(self, batch: Batch) -> Tensor:
        """What is random is a function of the seed and the step."""
        parts, device = self.parts, self.parts.device
        generator = generator_of(self.settings.seed, batch.step)
        latents = parts.latents(torch.from_numpy(batch.waveforms), generator)
        noise = torch.randn(latents.shape, generator=generator).to(device)
        timesteps = torch.randint(parts.n_timesteps, (len(latents),), generator=generator).to(device)
        conditions = parts.conditions(batch.captions)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._autocasts):
            return parts.losses(latents, noise, timesteps, conditions).mean()

    def _try(self, waveforms: Array) -> None:
        self._loss(Batch(waveforms, [""] * len(waveforms), 0)).backward()  # type: ignore[no-untyped-call]

    def validate(self) -> Measured:
        """The loss of the averaged weights, beside that of the base. Raises TrainingFailed when it is not a number."""
        with self.weights.averaged():
            loss = float(self._examples.losses(self.parts).mean())
        check_finite("a validation loss", loss, self.state.step)
        change = f"loss {loss:.4f}, {self._base_loss:.4f} without the adapter"
        return Measured({"loss": loss, "base_loss": self._base_loss}, change, self._show_sounds)

    def _show_sounds(self, logs: Logs) -> None:
        """What the first captions that are validated on sound like; the first time also without the adapter."""
        every, step = self.settings.samples_every, self.state.step
        if not logs.has_board or not every or step // every == self.sounded_step // every:
            return
        if not self.sounded_step:
            with self.unet.disable_adapter():
                logs.sounds(0, self._sounds(), self.parts.sample_rate_hz)
        with self.weights.averaged():
            logs.sounds(step, self._sounds(), self.parts.sample_rate_hz)
        self.sounded_step = step

    def _sounds(self) -> dict[str, Tensor]:
        """By caption."""
        seconds = self.crop_samples / self.parts.sample_rate_hz
        captions = list(dict.fromkeys(clip.caption for clip in self._examples.clips))[:N_SOUNDS]
        return {
            caption: self.parts.sound(caption, seconds, self.settings.sample_steps, self.settings.seed)
            for caption in captions
        }


def _hash(clips: Sequence[Captioned]) -> str:
    digest = hashlib.sha256()
    for line in sorted(f"{clip.path.stem}\t{clip.group}\t{clip.caption}\n" for clip in clips):
        digest.update(line.encode())
    return digest.hexdigest()
