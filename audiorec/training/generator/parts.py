"""A latent diffusion pipeline as learning uses it: sound to latents, captions to conditions, the error."""

import warnings
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.errors import BadModel
from audiorec.training.generator.spectrogram import N_FFT, Spectrogram

DEFAULT_S = 5.12
PREDICTIONS = ("epsilon", "v_prediction", "sample")

Conditions = dict[str, Tensor | None]  # what the UNet takes beside latents and time


class Parts:
    """The parts of an AudioLDM, AudioLDM2 or MusicLDM pipeline. None of them learns, until an adapter is attached."""

    def __init__(self, pipe: Any, device: torch.device) -> None:
        """Raises BadModel for one of another sample rate or noise schedule than what can be learnt here."""
        from diffusers import DDPMScheduler
        from diffusers.utils import logging as of_diffusers
        from transformers.utils import logging as of_transformers

        for of in (of_diffusers, of_transformers):
            of.set_verbosity_error()  # with each caption that is cut they would say so: see `n_cut`
        self.pipe = pipe
        self.device = device
        self.kind = type(pipe).__name__
        pipe.set_progress_bar_config(disable=True)
        pipe.to(device)
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.requires_grad_(False).eval()
        vocoder = pipe.vocoder.config
        self._schedule: Any = DDPMScheduler.from_config(pipe.scheduler.config)  # type: ignore[no-untyped-call]
        self.sample_rate_hz = int(vocoder.sampling_rate)
        self.hop_samples = prod(vocoder.upsample_rates)
        self._prediction = str(self._schedule.config.prediction_type)
        _check(self)
        self._spectrogram = Spectrogram(self.sample_rate_hz, self.hop_samples, vocoder.model_in_dim).to(device)

    @property
    def n_timesteps(self) -> int:
        return int(self._schedule.config.num_train_timesteps)

    def crop_samples(self, seconds: float | None) -> int:
        """As many samples as the UNet halves without a rest; None for what the model generates by itself."""
        pipe = self.pipe
        frames_per_latent, size = pipe.vae_scale_factor, pipe.unet.config.sample_size
        if seconds is None:
            own = size * frames_per_latent * self.hop_samples / self.sample_rate_hz if isinstance(size, int) else None
            seconds = own or DEFAULT_S
        n_halvings = len(pipe.unet.config.block_out_channels) - 1
        block_samples: int = self.hop_samples * frames_per_latent * 2**n_halvings
        return max(1, round(seconds * self.sample_rate_hz / block_samples)) * block_samples

    def n_cut(self, captions: Sequence[str]) -> tuple[int, int]:
        """(how many have more tokens than the text encoder that reads fewest, how many tokens that reads)."""
        tokenizers = [self.pipe.components.get(name) for name in ("tokenizer", "tokenizer_2")]
        shortest = min((each for each in tokenizers if each is not None), key=lambda each: int(each.model_max_length))
        n_tokens: int = shortest.model_max_length
        return sum(len(ids) > n_tokens for ids in shortest(list(captions), verbose=False).input_ids), n_tokens

    @torch.no_grad()
    def latents(self, waveforms: Tensor, generator: torch.Generator) -> Tensor:
        """(N, crop_samples) float32 -> (N, C, T, F) float32, drawn from what the VAE says, and scaled."""
        mel = self._spectrogram(waveforms.to(self.device))  # (N, 1, n_frames, n_mels)
        drawn = self.pipe.vae.encode(mel).latent_dist.sample(generator)
        latents: Tensor = drawn * self.pipe.vae.config.scaling_factor
        return latents

    @torch.no_grad()
    def conditions(self, captions: Sequence[str]) -> Conditions:
        """What the pipeline makes of prompts; "" is what it guides away from."""
        texts = list(captions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the libraries say to one another
            if self.kind != "AudioLDM2Pipeline":
                vectors = self.pipe._encode_prompt(texts, self.device, 1, False)
                return {"encoder_hidden_states": None, "class_labels": vectors}
            words, mask, generated = self.pipe.encode_prompt(texts, self.device, 1, False)
            return {
                "encoder_hidden_states": generated,
                "encoder_hidden_states_1": words,
                "encoder_attention_mask_1": mask,
            }

    def losses(self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """The squared error of what the UNet predicts of noisy latents, (N,) float32.

        latents, noise: (N, C, T, F). timesteps: (N,) int64 in [0, n_timesteps). Ho, Jain & Abbeel 2020, eq. 14, with
        the target of the pipeline's scheduler: the noise, the velocity (Salimans & Ho 2022, app. D), or the latents.
        """
        noisy = self._schedule.add_noise(latents, noise, timesteps)
        predicted: Tensor = self.pipe.unet(noisy, timesteps, **conditions, return_dict=False)[0]
        error: Tensor = predicted.float() - self._target(latents, noise, timesteps)
        return error.square().mean(dim=(1, 2, 3))

    def _target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        if self._prediction == "epsilon":
            return noise
        if self._prediction == "sample":
            return latents
        velocity: Tensor = self._schedule.get_velocity(latents, noise, timesteps)
        return velocity

    def sound(self, caption: str, seconds: float, n_steps: int, seed: int) -> Tensor:
        """What the pipeline generates now: (1, n_samples) float32."""
        generator = torch.Generator().manual_seed(seed)
        made = self.pipe(
            caption, audio_length_in_s=seconds, num_inference_steps=n_steps, generator=generator, output_type="pt"
        )
        sound: Tensor = made.audios[:1].float().cpu()
        return sound


def _check(parts: Parts) -> None:
    if parts.sample_rate_hz != SAMPLE_RATE_HZ or parts.hop_samples > N_FFT:
        raise BadModel(
            f"got a {parts.kind} of {parts.sample_rate_hz} Hz with {parts.hop_samples} samples a frame, expected one "
            f"of {SAMPLE_RATE_HZ} Hz, which is what clips are kept at: it would forget all that is higher"
        )
    scheduler = parts.pipe.scheduler
    if "beta_schedule" not in scheduler.config or parts._prediction not in PREDICTIONS:
        raise BadModel(
            f"got a {parts.kind} with a {type(scheduler).__name__} that predicts '{parts._prediction}', expected one "
            f"with a schedule of betas that predicts {', '.join(PREDICTIONS)}, as the published models have"
        )
