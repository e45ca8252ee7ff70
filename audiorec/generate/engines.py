"""How each library is asked for a sound: settings in, samples out, a call after every step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil, prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from audiorec.generate.adapters import load_adapter, unload_adapter
from audiorec.generate.families import FAMILIES
from audiorec.generate.pipelines import open_musicgen, open_pipeline
from audiorec.generate.prompt import Prompt

OnStep = Callable[[int, int], None]
Samples = npt.NDArray[np.floating[Any]]

ROUNDING = 1e-6  # of seconds times a rate: 0.57 s of 100 frames are 57, not 56.99


class Engine(Protocol):
    """A model in memory. `run` takes a request with all its settings, and returns (n,) or (n, n_channels)."""

    def run(self, asked: Prompt, on_step: OnStep) -> Samples: ...

    def put_on(self, adapter: Path | None) -> None:
        """Takes off the adapter that is on, and puts on another."""


class Denoiser:
    """A pipeline of diffusers."""

    def __init__(self, pipe: Any, compile: bool) -> None:
        self.pipe = pipe
        self._schedulers: dict[str | None, Any] = {None: pipe.scheduler}
        if FAMILIES[type(pipe).__name__].presets:
            from diffusers import DPMSolverMultistepScheduler  # whose own defaults make it DPM-Solver++

            self._schedulers["fast"] = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)  # type: ignore[no-untyped-call]
        if compile:
            (pipe.unet if hasattr(pipe, "unet") else pipe.transformer).compile()

    def put_on(self, adapter: Path | None) -> None:
        if adapter is not None:
            load_adapter(self.pipe, adapter)
        elif hasattr(self.pipe, "unet"):
            unload_adapter(self.pipe)

    def run(self, asked: Prompt, on_step: OnStep) -> Samples:
        assert asked.steps is not None
        assert asked.seconds is not None
        n_steps, n_done = asked.steps, 0

        def after_step(*_: object) -> None:
            nonlocal n_done
            n_done = min(n_done + 1, n_steps)  # some schedulers take one to warm up
            on_step(n_done, n_steps)

        on_step(0, n_steps)
        self.pipe.scheduler = self._schedulers[asked.preset]
        made = self.pipe(
            asked.prompt,
            negative_prompt=asked.negative_prompt,
            num_inference_steps=n_steps,
            guidance_scale=asked.guidance,
            generator=torch.Generator().manual_seed(asked.seed or 0),  # on the CPU: the same noise on every device
            callback=after_step,
            output_type="np",
            **self._length(asked.seconds),
        ).audios[0]
        return _cut(made, asked.seconds, self._rate_hz())

    def _length(self, seconds: float) -> dict[str, float]:
        """In whole frames, at least as long as was asked for: a part of a frame would be left out."""
        if not hasattr(self.pipe, "vocoder"):
            return {"audio_end_in_s": seconds + ROUNDING}
        vocoder = self.pipe.vocoder.config
        frame_s = prod(vocoder.upsample_rates) / vocoder.sampling_rate
        return {"audio_length_in_s": (ceil(seconds / frame_s - ROUNDING) + ROUNDING) * frame_s}

    def _rate_hz(self) -> int:
        part = self.pipe.vocoder if hasattr(self.pipe, "vocoder") else self.pipe.vae
        return int(part.config.sampling_rate)


class Composer:
    """MusicGen of transformers: codes of sound one after another, a step each."""

    def __init__(self, model: Any, tokenizer: Any, compile: bool) -> None:
        self.model = model
        self.tokenizer = tokenizer
        if compile:
            model.decoder.compile()

    def put_on(self, adapter: Path | None) -> None:
        assert adapter is None

    def run(self, asked: Prompt, on_step: OnStep) -> Samples:
        assert asked.seconds is not None
        config = self.model.config
        # Codebook k is k steps late (Copet et al. 2023, arXiv:2306.05284, "delay"): the last frame ends so much later.
        n_steps = ceil(asked.seconds * config.audio_encoder.frame_rate - ROUNDING) + config.decoder.num_codebooks - 1
        words = self.tokenizer([asked.prompt], truncation=True, return_tensors="pt").to(self.model.device)
        on_step(0, n_steps)
        with _seeded(asked.seed or 0, self.model.device), torch.inference_mode():
            made = self.model.generate(
                **words,
                do_sample=True,
                guidance_scale=max(1.0, asked.guidance or 0.0),  # below 1 another kind would begin, which fails
                max_new_tokens=n_steps,
                stopping_criteria=[_AfterStep(on_step, n_steps)],
            )
        return _cut(made[0].float().cpu().numpy(), asked.seconds, config.audio_encoder.sampling_rate)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """For what draws from torch's own generators: they are seeded here, and are afterwards as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class _AfterStep:
    """Stops nothing; whoever is told may raise."""

    def __init__(self, on_step: OnStep, n_steps: int) -> None:
        self.on_step, self.n_steps, self.n_done = on_step, n_steps, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        self.n_done = min(self.n_done + 1, self.n_steps)
        self.on_step(self.n_done, self.n_steps)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def open_engine(directory: Path, kind: str, *, device: str, dtype: str, compile: bool) -> Engine:
    """Raises BadModel."""
    if kind == "MusicgenForConditionalGeneration":
        return Composer(*open_musicgen(directory, device=device, dtype=getattr(torch, dtype)), compile)
    return Denoiser(open_pipeline(directory, device=device, dtype=getattr(torch, dtype)), compile)


def _cut(made: Samples, seconds: float, rate_hz: int) -> Samples:
    """(n,) or (n_channels, n) as the libraries give them, to (seconds,) or (seconds, n_channels)."""
    samples = made.T[: round(seconds * rate_hz)]
    return samples[:, 0] if samples.ndim == 2 and samples.shape[1] == 1 else samples
