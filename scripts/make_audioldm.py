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

from audiorec.training.generator.clips import captioned_clips, crop
from audiorec.training.generator.parts import Parts
from audiorec.training.schedule import one_cycle

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
TEXT_DIM = 32
BATCH = 8
CROP_S = 1.28
LEARNING_RATE = 1e-3


def pipeline(seed: int) -> Any:
    from diffusers import AudioLDMPipeline, AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        ClapTextConfig,
        ClapTextModelWithProjection,
        RobertaTokenizer,
        SpeechT5HifiGan,
        SpeechT5HifiGanConfig,
    )

    torch.manual_seed(seed)
    words = {word: i for i, word in enumerate([*SPECIAL, *sorted(ByteLevel.alphabet())])}
    text = ClapTextModelWithProjection(
        ClapTextConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=66,
            projection_dim=TEXT_DIM,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        )
    )
    for module in text.modules():
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight)  # far enough from one another that words matter
    unet = UNet2DConditionModel(
        sample_size=128,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=(32, 64),
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=TEXT_DIM,
        class_embeddings_concat=True,
    )
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        block_out_channels=[8, 8, 8],
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
    )
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64,
            upsample_initial_channel=16,
            upsample_rates=[10, 16],
            upsample_kernel_sizes=[20, 32],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            normalize_before=False,
        )
    )
    return AudioLDMPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=RobertaTokenizer(vocab=words, merges=[], model_max_length=64),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
        ),
        vocoder=vocoder,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--cpu-minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    parts = Parts(pipeline(asked.seed), torch.device("cpu"))
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
