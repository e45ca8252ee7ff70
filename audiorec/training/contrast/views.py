"""Views of a clip: random crops, and what is done to them that does not change what they are.

After Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020; for sound
Niizumi et al., "BYOL for audio", IJCNN 2021, whose mixing and resampling of the log-mel spectrogram are used here.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from audiorec.audio import SAMPLE_RATE_HZ, Pcm
from audiorec.audio.mel import LOG_FLOOR
from audiorec.training.contrast.settings import ContrastSettings

Array = npt.NDArray[np.float32]

FLOOR = math.log(LOG_FLOOR)
AUDIBLE_PEAK = 0.03  # of full scale: a crop of a clip that is quieter is drawn anew
N_DRAWS = 6
NOISE_DB = (-60.0, -25.0)
N_CURVE_POINTS = 6
LEAD_IN_SAMPLES = SAMPLE_RATE_HZ


def crop(pcm: Pcm, n_samples: int, rng: np.random.Generator, lead_in_samples: int = 0) -> Array:
    """A random part of a clip, which repeats when it is short, as in a window; peak 1. (n_samples,) float32.

    lead_in_samples: of silence, before a clip or its part, and repeated with it.
    """
    n_sounding = n_samples - lead_in_samples
    if len(pcm) > n_sounding:
        part = _audible_part(pcm, n_sounding, rng)
        sound: Array = np.concatenate([np.zeros(lead_in_samples, np.float32), part])
    else:
        whole = np.concatenate([np.zeros(lead_in_samples, np.int16), pcm])
        start = int(rng.integers(len(whole))) if len(whole) < n_samples else 0
        sound = np.take(whole, np.arange(start, start + n_samples), mode="wrap").astype(np.float32)
    peak = float(np.abs(sound).max())
    sound /= max(peak, 1.0)
    return sound


def _audible_part(pcm: Pcm, n_samples: int, rng: np.random.Generator) -> Array:
    for _ in range(N_DRAWS):
        start = int(rng.integers(len(pcm) - n_samples + 1))
        part = pcm[start : start + n_samples].astype(np.float32)
        if np.abs(part).max() >= AUDIBLE_PEAK * np.iinfo(np.int16).max:
            break
    return part


def view(pcm: Pcm, settings: ContrastSettings, rng: np.random.Generator) -> Array:
    """A crop, at times after silence or in noise: (crop_samples,) float32."""
    lead_in_samples = 0
    if rng.random() < settings.lead_in_share:
        lead_in_samples = int(rng.integers(min(LEAD_IN_SAMPLES, settings.crop_samples // 2)))
    sound = crop(pcm, settings.crop_samples, rng, lead_in_samples)
    if rng.random() < settings.noise_share:
        level = np.float32(10 ** (rng.uniform(*NOISE_DB) / 20))
        sound += level * rng.standard_normal(len(sound), np.float32)
    return sound


def augmented(log_mel: Tensor, settings: ContrastSettings, generator: torch.Generator) -> Tensor:
    """(N, n_mels, T) -> the same shape: each view stretched, shifted, equalised, mixed and low-passed by itself.

    generator: on the CPU, so that every device draws the same.
    """
    n, n_mels, _ = log_mel.shape

    def drawn(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator).to(log_mel.device)

    def chosen(share: float, *shape: int) -> Tensor:
        return drawn(*shape) < share

    log_mel = _resampled(log_mel, settings, drawn(5))
    if settings.equaliser:
        points = torch.randn(n, 1, N_CURVE_POINTS, generator=generator).to(log_mel.device) * settings.equaliser
        log_mel = log_mel + F.interpolate(points, size=n_mels, mode="linear", align_corners=True)[:, 0, :, None]
    if settings.mix_share:
        share = settings.mix * drawn(1, 1) * chosen(settings.mix_share, 1, 1)
        others = torch.randperm(n, generator=generator).to(log_mel.device)
        power = log_mel.exp()
        log_mel = torch.log((1 - share) * power + share * power[others])
    if settings.low_pass_share:
        highest = (n_mels * (9 + 7 * drawn(1)) / 16).long()  # of the bands, 9/16 to all
        above = torch.arange(n_mels, device=log_mel.device) > highest
        log_mel = log_mel.masked_fill((above & chosen(settings.low_pass_share, 1))[..., None], FLOOR)
    return log_mel.clamp(min=FLOOR)


def _resampled(log_mel: Tensor, settings: ContrastSettings, drawn: Tensor) -> Tensor:
    """A slower part of it, moved in frequency: an affine map of both axes. drawn: (N, 5) in [0, 1)."""
    if not settings.stretch and not settings.shift_share:
        return log_mel
    n, n_mels, n_frames = log_mel.shape
    speed = (1 + settings.stretch * (2 * drawn[:, 0] - 1)).clamp(max=1.0)  # half of them as they are
    shift = 2 * settings.shift * (2 * drawn[:, 1] - 1) * (drawn[:, 2] < settings.shift_share)  # an axis is [-1, 1]
    theta = torch.zeros(n, 2, 3, device=log_mel.device)
    theta[:, 0, 0] = speed
    theta[:, 0, 2] = (2 * drawn[:, 3] - 1) * (1 - speed)  # which part of it
    theta[:, 1, 1] = 1.0
    theta[:, 1, 2] = shift
    grid = F.affine_grid(theta, [n, 1, n_mels, n_frames], align_corners=False)
    return F.grid_sample(log_mel[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
