"""AudioLDMs of the real classes with random weights, in a small and the published size, for benchmarks and proofs.

Their speed, memory and manners are real, their sound is not. The published size is AudioLDM-S: UNet, autoencoder and
vocoder as in DEFAULT_CONFIG of diffusers' `scripts/convert_original_audioldm_to_diffusers.py`, the text encoder as in
`laion/clap-htsat-unfused`, which are the defaults of transformers' ClapTextConfig.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from audiorec.torchaudio_cpu import torchaudio as torchaudio  # before the two that import it

N_MELS = 64
SAMPLE_RATE_HZ = 16_000
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


@dataclass(frozen=True)
class Size:
    """How wide and deep the parts are. text, vocoder: of their configurations, what is not the default."""

    unet: tuple[int, ...]
    vae: tuple[int, ...]
    n_layers: int
    n_latents: int
    n_groups: int  # of the UNet's normalisation
    n_vae_groups: int
    text: Mapping[str, Any]
    text_dim: int
    n_tokens: int  # of the longest text
    vocoder: Mapping[str, Any]


SIZES = {
    "full": Size(
        unet=(128, 256, 384, 640),
        vae=(128, 256, 512),
        n_layers=2,
        n_latents=8,
        n_groups=32,
        n_vae_groups=32,
        text={},
        text_dim=512,
        n_tokens=512,
        vocoder={
            "upsample_initial_channel": 1024,
            "upsample_rates": [5, 4, 2, 2, 2],
            "upsample_kernel_sizes": [16, 16, 8, 4, 4],
            "resblock_kernel_sizes": [3, 7, 11],
            "resblock_dilation_sizes": [[1, 3, 5]] * 3,
            "initializer_range": 0.02,
        },
    ),
    "small": Size(
        unet=(32, 64),
        vae=(8, 8, 8),
        n_layers=1,
        n_latents=4,
        n_groups=8,
        n_vae_groups=4,
        text={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "vocab_size": len(SPECIAL) + 256,
            "max_position_embeddings": 66,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
        },
        text_dim=32,
        n_tokens=64,
        vocoder={
            "upsample_initial_channel": 16,
            "upsample_rates": [10, 16],
            "upsample_kernel_sizes": [20, 32],
            "resblock_kernel_sizes": [3],
            "resblock_dilation_sizes": [[1, 3]],
            "initializer_range": 0.15,  # with the usual one it whispers
        },
    ),
}


def random_audioldm(size: Size, seed: int = 0) -> Any:
    """An AudioLDMPipeline. Sets torch's seed. Its words are bytes, with embeddings so far apart that they matter."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        ClapTextConfig,
        ClapTextModelWithProjection,
        RobertaTokenizer,
        SpeechT5HifiGan,
        SpeechT5HifiGanConfig,
    )

    diffusers: Any = import_module("diffusers")  # whose classes have no types
    torch.manual_seed(seed)
    words = {word: i for i, word in enumerate([*SPECIAL, *sorted(ByteLevel.alphabet())])}
    text = ClapTextModelWithProjection(ClapTextConfig(projection_dim=size.text_dim, **size.text))
    for module in text.modules():
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight)
    n_wide, n_vae = len(size.unet) - 1, len(size.vae)
    unet = diffusers.UNet2DConditionModel(
        sample_size=128,
        in_channels=size.n_latents,
        out_channels=size.n_latents,
        block_out_channels=size.unet,
        layers_per_block=size.n_layers,
        norm_num_groups=size.n_groups,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * n_wide),
        up_block_types=(*["CrossAttnUpBlock2D"] * n_wide, "UpBlock2D"),
        cross_attention_dim=size.unet,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=size.text_dim,
        class_embeddings_concat=True,
    )
    vae = diffusers.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        block_out_channels=size.vae,
        down_block_types=["DownEncoderBlock2D"] * n_vae,
        up_block_types=["UpDecoderBlock2D"] * n_vae,
        latent_channels=size.n_latents,
        norm_num_groups=size.n_vae_groups,
        layers_per_block=size.n_layers,
    )
    vocoder = SpeechT5HifiGanConfig(
        model_in_dim=N_MELS, sampling_rate=SAMPLE_RATE_HZ, normalize_before=False, **size.vocoder
    )
    return diffusers.AudioLDMPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=RobertaTokenizer(vocab=words, merges=[], model_max_length=size.n_tokens),
        unet=unet,
        scheduler=diffusers.DDIMScheduler(
            beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
        ),
        vocoder=SpeechT5HifiGan(vocoder),
    )


def n_weights(pipeline: Any) -> int:
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return sum(weight.numel() for part in parts for weight in part.parameters())
