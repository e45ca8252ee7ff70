"""Clips that are measured on, each at the same place, with the same noise at the same times, whenever they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audiorec.training.generator.clips import Captioned, crop
from audiorec.training.generator.parts import Parts

DRAWS = 4  # of noise and time for a clip

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Examples:
    """n clips. latents: (n, C, T, F). noise: (n, DRAWS, C, T, F). timesteps: (n, DRAWS), over all of them evenly."""

    clips: Sequence[Captioned]
    latents: Tensor
    noise: Tensor
    timesteps: Tensor

    @classmethod
    def of(cls, clips: Sequence[Captioned], parts: Parts, crop_samples: int, *, most: int, seed: int) -> "Examples":
        """Of at most so many of these clips."""
        rng = np.random.default_rng(seed)
        chosen = [clips[i] for i in np.sort(rng.permutation(len(clips))[:most])]
        generator = torch.Generator().manual_seed(seed)
        latents = torch.cat(
            [parts.latents(torch.from_numpy(crop(clip, crop_samples, rng))[None], generator).cpu() for clip in chosen]
        )
        noise = torch.randn((len(chosen), DRAWS, *latents.shape[1:]), generator=generator)
        n_draws = len(chosen) * DRAWS
        strata = (rng.permutation(n_draws) + rng.random(n_draws)) / n_draws  # one in each n-th of the time
        timesteps = torch.from_numpy((strata * parts.n_timesteps).astype(np.int64)).view(len(chosen), DRAWS)
        return cls(chosen, latents, noise, timesteps)

    @torch.no_grad()
    def losses(self, parts: Parts) -> Array:
        """The error of the UNet as it is now for each clip, (n,)."""
        device, means = parts.device, []
        for clip, latents, noise, timesteps in zip(self.clips, self.latents, self.noise, self.timesteps, strict=True):
            repeated = latents[None].expand(DRAWS, -1, -1, -1).to(device)
            conditions = parts.conditions([clip.caption] * DRAWS)
            means.append(float(parts.losses(repeated, noise.to(device), timesteps.to(device), conditions).mean()))
        return np.array(means)
