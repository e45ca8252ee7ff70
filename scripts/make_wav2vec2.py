"""Writes a small wav2vec2 with random weights, and its preprocessor."""

import argparse
from pathlib import Path

import torch

import audiorec.torchaudio_cpu  # noqa: F401 - before transformers, which imports torchaudio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=256,
        conv_dim=(32, 48, 64, 96, 96),
        conv_kernel=(20, 8, 4, 4, 2),
        conv_stride=(10, 4, 2, 2, 2),
        num_feat_extract_layers=5,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=8,
        layerdrop=0.0,
        mask_time_prob=0.0,
    )
    Wav2Vec2Model(config).save_pretrained(directory)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(directory)
    print(f"{directory}: next: audiorec train classifier AUDIO_DIR --base {directory} --out exp/NAME")


if __name__ == "__main__":
    main()
