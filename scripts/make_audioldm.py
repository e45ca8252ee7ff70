"""Makes a small AudioLDM of the real classes, its UNet trained on clips: a base to tune where no published one is.

    python scripts/make_audioldm.py CLIPS_DIR OUT_DIR --cpu-minutes 10

It hears 64 mel bands, as the published one does, in a million weights of a UNet. Its VAE, text encoder and vocoder stay
random, so that losses can be compared and nothing that it makes is worth hearing. CLIPS_DIR: converted clips with
labels. Prints what it learns.
"""

import argparse
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from audiorec.random_audioldm import SIZES, random_audioldm
from audiorec.training.generator.clips import captioned_clips, crop
from audiorec.training.generator.parts import Parts
from audiorec.training.schedule import one_cycle

BATCH = 8
CROP_S = 1.28
LEARNING_RATE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--cpu-minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    parts = Parts(random_audioldm(SIZES["small"], asked.seed), torch.device("cpu"))
    clips = captioned_clips(asked.clips_dir, asked.clips_dir, "", print)
    rng, generator = np.random.default_rng(asked.seed), torch.Generator().manual_seed(asked.seed)
    n_samples = parts.crop_samples(CROP_S)

    def batch(n: int) -> tuple[torch.Tensor, list[str]]:
        chosen = [clips[i] for i in rng.integers(len(clips), size=n)]
        waveforms = np.stack([crop(clip, n_samples, rng) for clip in chosen])
        captions = ["" if rng.random() < 0.1 else clip.caption for clip in chosen]
        return parts.latents(torch.from_numpy(waveforms), generator), captions

    vae = parts.pipe.vae
    vae.register_to_config(scaling_factor=vae.config.scaling_factor / float(batch(64)[0].std()))
    learn(parts, batch, generator, asked.cpu_minutes)
    parts.pipe.save_pretrained(asked.out_dir)
    print(f"{sum(weight.numel() for weight in parts.pipe.unet.parameters()):,} weights in the UNet: {asked.out_dir}")


def learn(parts: Parts, batch: Any, generator: torch.Generator, cpu_minutes: float) -> None:
    unet = parts.pipe.unet.requires_grad_(True)
    optimizer = torch.optim.AdamW(unet.parameters())
    began, step, smooth = process_time(), 0, 1.0
    while (fraction := (process_time() - began) / (60 * cpu_minutes)) < 1:
        latents, captions = batch(BATCH)
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(parts.n_timesteps, (BATCH,), generator=generator)
        loss = parts.losses(latents, noise, timesteps, parts.conditions(captions)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * one_cycle(fraction)
        optimizer.step()
        step, smooth = step + 1, 0.98 * smooth + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"step {step}, {fraction:.0%}: loss {smooth:.3f}", flush=True)


if __name__ == "__main__":
    main()
