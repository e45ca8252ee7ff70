"""Generators of the real classes that are small enough for tests: random weights, words told apart byte by byte.

Each `save_*` writes a directory as `save_pretrained` does, to be opened by the real loaders. A sound of a second takes
a few hundredths of one. Two seeds give two models.
"""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audiorec.torchaudio_cpu import torchaudio as torchaudio  # before the two that import it

MEL_BINS = 8
EMBEDDING_DIM = 16  # of CLAP's texts
BPE_SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}
MAX_TOKENS = 64


def quietly(save: Callable[..., Path]) -> Callable[..., Path]:
    """Without what the libraries say of their own classes; and what is random afterwards does not depend on it."""

    @functools.wraps(save)
    def saved(directory: Path, seed: int = 0) -> Path:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            torch.manual_seed(seed)
            return save(directory)

    return saved


@quietly
def save_audioldm(directory: Path) -> Path:
    """AudioLDM: 16 kHz, as long as 0.64 s unless said."""
    from diffusers import AudioLDMPipeline
    from transformers import ClapTextModelWithProjection

    return _saved(
        AudioLDMPipeline,
        directory,
        text_encoder=_initialised(ClapTextModelWithProjection(_clap_text_config())),
        tokenizer=bpe_tokenizer(),
        unet=_film_unet(),
        **_mel_parts(),
    )


@quietly
def save_musicldm(directory: Path) -> Path:
    """MusicLDM: the same with both halves of CLAP."""
    from diffusers import MusicLDMPipeline

    return _saved(
        MusicLDMPipeline, directory, **_clap_parts(), tokenizer=bpe_tokenizer(), unet=_film_unet(), **_mel_parts()
    )


@quietly
def save_audioldm2(directory: Path) -> Path:
    """AudioLDM2: CLAP and T5, a language model between them and the UNet."""
    from diffusers import AudioLDM2Pipeline, AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel
    from transformers import GPT2Config, GPT2LMHeadModel

    language_config = GPT2Config(n_embd=16, n_head=2, n_layer=1, vocab_size=32, n_positions=MAX_TOKENS * 2)
    language_config.max_new_tokens = 4
    unet = AudioLDM2UNet2DConditionModel(
        **_unet_settings(), cross_attention_dim=[[None, 16, None, 32]] * 2, transformer_layers_per_block=1
    )
    return _saved(
        AudioLDM2Pipeline,
        directory,
        **_clap_parts(),
        text_encoder_2=t5_encoder(),
        projection_model=AudioLDM2ProjectionModel(
            text_encoder_dim=EMBEDDING_DIM, text_encoder_1_dim=32, langauge_model_dim=16
        ),
        language_model=GPT2LMHeadModel(language_config),
        tokenizer=bpe_tokenizer(),
        tokenizer_2=t5_tokenizer(),
        unet=unet,
        **_mel_parts(),
    )


@quietly
def save_stable_audio(directory: Path) -> Path:
    """Stable Audio: stereo at 8 kHz, 2.048 s at most."""
    from diffusers import (
        AutoencoderOobleck,
        EDMDPMSolverMultistepScheduler,
        StableAudioDiTModel,
        StableAudioPipeline,
    )
    from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioProjectionModel

    vae = AutoencoderOobleck(
        encoder_hidden_size=4,
        downsampling_ratios=[8, 8, 8],
        decoder_channels=4,
        decoder_input_channels=4,
        audio_channels=2,
        channel_multiples=[1, 2, 2],
        sampling_rate=8_000,
    )
    return _saved(
        StableAudioPipeline,
        directory,
        vae=vae,
        text_encoder=t5_encoder(),
        tokenizer=t5_tokenizer(),
        projection_model=StableAudioProjectionModel(text_encoder_dim=32, conditioning_dim=16, min_value=0, max_value=8),
        transformer=StableAudioDiTModel(
            sample_size=32,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            num_key_value_attention_heads=2,
            out_channels=4,
            cross_attention_dim=16,
            time_proj_dim=16,
            global_states_input_dim=32,
            cross_attention_input_dim=16,
        ),
        scheduler=EDMDPMSolverMultistepScheduler(
            sigma_min=0.3, sigma_max=500, sigma_data=1.0, prediction_type="v_prediction", sigma_schedule="exponential"
        ),
    )


@quietly
def save_musicgen(directory: Path) -> Path:
    """MusicGen: 16 kHz, 50 steps a second, 4 codebooks."""
    from transformers import EncodecConfig, MusicgenConfig, MusicgenDecoderConfig, MusicgenForConditionalGeneration

    n_codes = 32
    audio = EncodecConfig(
        sampling_rate=16_000,
        target_bandwidths=[2.0],
        num_filters=2,
        hidden_size=8,
        codebook_dim=8,
        codebook_size=n_codes,
        num_lstm_layers=1,
        upsampling_ratios=[8, 5, 4, 2],
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=n_codes,
        hidden_size=16,
        ffn_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_codebooks=4,
        initializer_factor=1.0,  # with the usual one, neither words nor the frames before matter
        pad_token_id=n_codes,
        bos_token_id=n_codes,
    )
    config = MusicgenConfig(
        text_encoder=t5_encoder().config.to_dict(), audio_encoder=audio.to_dict(), decoder=decoder.to_dict()
    )
    model = MusicgenForConditionalGeneration(config).eval()
    for layer in model.audio_encoder.quantizer.layers:
        nn.init.normal_(layer.codebook.embed)  # made as zeros
    model.generation_config.update(
        do_sample=True,
        guidance_scale=3.0,
        max_length=1500,
        decoder_start_token_id=n_codes,
        bos_token_id=n_codes,
        pad_token_id=n_codes,
    )
    model.save_pretrained(directory)
    t5_tokenizer().save_pretrained(directory)
    return directory


SAVERS: dict[str, Callable[..., Path]] = {
    "AudioLDMPipeline": save_audioldm,
    "AudioLDM2Pipeline": save_audioldm2,
    "MusicLDMPipeline": save_musicldm,
    "StableAudioPipeline": save_stable_audio,
    "MusicgenForConditionalGeneration": save_musicgen,
}


def bpe_tokenizer() -> Any:
    """RoBERTa's, whose only tokens are the bytes."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaTokenizer

    vocab = {**BPE_SPECIAL, **{char: len(BPE_SPECIAL) + i for i, char in enumerate(sorted(ByteLevel.alphabet()))}}
    return RobertaTokenizer(vocab=vocab, merges=[], model_max_length=MAX_TOKENS)


def t5_tokenizer() -> Any:
    """T5's, whose only pieces are the letters."""
    from transformers import T5Tokenizer

    pieces = ["<pad>", "</s>", "<unk>", "▁", *map(chr, range(ord("!"), ord("~") + 1))]
    return T5Tokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0, model_max_length=64)


def t5_encoder() -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=128, d_model=32, d_ff=16, d_kv=8, num_heads=2, num_layers=1, pad_token_id=0, eos_token_id=1
    )
    return T5EncoderModel(config).eval()


def _saved(pipeline: Any, directory: Path, **parts: Any) -> Path:
    pipeline(**parts).save_pretrained(directory)
    return directory


def _clap_text_config() -> Any:
    from transformers import ClapTextConfig

    return ClapTextConfig(
        vocab_size=len(BPE_SPECIAL) + 256,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=MAX_TOKENS + 2,
        projection_dim=EMBEDDING_DIM,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )


def _clap_parts() -> dict[str, Any]:
    from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel

    audio = ClapAudioConfig(
        spec_size=8,
        window_size=4,
        num_mel_bins=8,
        intermediate_size=16,
        depths=[1, 1],
        num_attention_heads=[1, 1],
        num_hidden_layers=1,
        hidden_size=32,
        projection_dim=EMBEDDING_DIM,
        patch_size=2,
        patch_stride=2,
        patch_embed_input_channels=4,
        patch_embeds_hidden_size=16,
    )
    config = ClapConfig(
        text_config=_clap_text_config().to_dict(), audio_config=audio.to_dict(), projection_dim=EMBEDDING_DIM
    )
    return {"text_encoder": _initialised(ClapModel(config)), "feature_extractor": ClapFeatureExtractor(feature_size=8)}


def _initialised(text_model: Any) -> Any:
    """As it was made, with embeddings far enough from one another that words matter."""
    for module in text_model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
    return text_model.eval()


def _unet_settings() -> dict[str, Any]:
    return {
        "sample_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }


def _film_unet() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        **_unet_settings(),
        cross_attention_dim=(8, 16),
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=EMBEDDING_DIM,
        class_embeddings_concat=True,
    )


def _mel_parts() -> dict[str, Any]:
    """What turns latents into a mel spectrogram and that into sound: 100 frames of 160 samples a second."""
    from diffusers import AutoencoderKL, DDIMScheduler
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        block_out_channels=[4, 8],
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
    )
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=MEL_BINS,
            sampling_rate=16_000,
            upsample_initial_channel=8,
            upsample_rates=[10, 16],
            upsample_kernel_sizes=[20, 32],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            normalize_before=False,
            initializer_range=0.3,  # with the usual one it whispers
        )
    )
    scheduler = DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return {"vae": vae, "scheduler": scheduler, "vocoder": vocoder}
