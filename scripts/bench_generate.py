"""Seconds that a generator takes for each second of sound and for each step: one tiny, one of a published size.

The full size is AudioLDM-S: its UNet, autoencoder and vocoder as in DEFAULT_CONFIG of diffusers'
`scripts/convert_original_audioldm_to_diffusers.py`, its text encoder as in `laion/clap-htsat-unfused`, which are the
defaults of transformers' ClapTextConfig. Its weights are random: its speed and memory are real, its sound is not.
Processor time of all threads is what counts on a machine that does other work as well.
"""

import argparse
import itertools
import resource
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from audiorec.errors import GenerationFailed
from audiorec.generate import Generator, Prompt, load_generator
from audiorec.report import table
from audiorec.torchaudio_cpu import torchaudio as torchaudio  # before the two that import it

SIZES = {
    "full": {"unet": (128, 256, 384, 640), "layers": 2, "vae": (128, 256, 512), "text": {}},
    "tiny": {
        "unet": (32, 64),
        "layers": 1,
        "vae": (32, 32, 64),
        "text": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128},
    },
}
N_MELS = 64


def save_audioldm(directory: Path, size: dict[str, Any]) -> int:
    """Writes an AudioLDM with random weights, as `save_pretrained` does. Returns how many weights it has."""
    from diffusers import AudioLDMPipeline, AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        ClapTextConfig,
        ClapTextModelWithProjection,
        RobertaTokenizer,
        SpeechT5HifiGan,
        SpeechT5HifiGanConfig,
    )

    n_blocks, n_vae = len(size["unet"]), len(size["vae"])
    unet = UNet2DConditionModel(
        sample_size=128,
        in_channels=8,
        out_channels=8,
        block_out_channels=size["unet"],
        layers_per_block=size["layers"],
        cross_attention_dim=size["unet"],
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * (n_blocks - 1)),
        up_block_types=(*["CrossAttnUpBlock2D"] * (n_blocks - 1), "UpBlock2D"),
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=512,
        class_embeddings_concat=True,
    )
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        block_out_channels=size["vae"],
        down_block_types=["DownEncoderBlock2D"] * n_vae,
        up_block_types=["UpDecoderBlock2D"] * n_vae,
        latent_channels=8,
        layers_per_block=size["layers"],
    )
    vocoder = SpeechT5HifiGanConfig(
        model_in_dim=N_MELS,
        sampling_rate=16_000,
        upsample_initial_channel=1024 if size is SIZES["full"] else 64,
        upsample_rates=[5, 4, 2, 2, 2],
        upsample_kernel_sizes=[16, 16, 8, 4, 4],
        resblock_kernel_sizes=[3, 7, 11],
        resblock_dilation_sizes=[[1, 3, 5]] * 3,
        normalize_before=False,
        initializer_range=0.02,
    )
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    vocab = {token: number for number, token in enumerate((*special, *sorted(ByteLevel.alphabet())))}
    pipe = AudioLDMPipeline(
        vae=vae,
        text_encoder=ClapTextModelWithProjection(ClapTextConfig(projection_dim=512, **size["text"])),
        tokenizer=RobertaTokenizer(vocab=vocab, merges=[], model_max_length=512),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
        ),
        vocoder=SpeechT5HifiGan(vocoder),
    )
    pipe.save_pretrained(directory)
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    return sum(weight.numel() for part in parts for weight in part.parameters())


def timed(generator: Generator, seconds: float, steps: int) -> tuple[float, list[float]]:
    """Processor seconds of a whole sound, and of each of its steps."""
    marks = []
    begun = time.process_time()
    asked = Prompt(prompt="rain on a roof", seconds=seconds, steps=steps, seed=1)
    with suppress(GenerationFailed):  # random weights may well give silence
        generator.generate(asked, lambda *_: marks.append(time.process_time()))
    return time.process_time() - begun, [after - before for before, after in itertools.pairwise(marks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=["tiny"], choices=sorted(SIZES))
    parser.add_argument("--seconds", type=float, default=5.12)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    rows = []
    for name in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.process_time()
            n_weights = save_audioldm(Path(folder), SIZES[name])
            generator = load_generator(folder, n_threads=arguments.threads)
            loading = time.process_time() - begun
        timed(generator, arguments.seconds, 1)  # what is done once
        whole, steps = timed(generator, arguments.seconds, arguments.steps)
        step = sum(steps) / len(steps)
        rest = whole - sum(steps)
        usual = [(rest + n * step) / arguments.seconds for n in (20, 200)]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
        numbers = (loading, step, rest, *usual)
        rows.append([name, f"{n_weights / 1e6:.1f} M", *(f"{number:.2f}" for number in numbers), f"{memory:.0f}"])
    header = ("size", "weights", "make and load", "a step", "the rest", "20 steps", "200 steps", "peak MB")
    print(
        f"{arguments.seconds} s of sound, {arguments.threads} thread(s), torch {torch.__version__}; processor seconds,"
    )
    print("at 20 (preset fast) and 200 steps for each second of sound\n")
    print(table(header, rows))


if __name__ == "__main__":
    main()
