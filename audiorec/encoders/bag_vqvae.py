"""The three encoders of a trained VQ-VAE: how often a window has each code, or its code words themselves.

A bag of code words after Sivic & Zisserman, "Video Google", 2003. Square roots before distances (Hellinger's, as in
Arandjelović & Zisserman, "Three things everyone should know to improve object retrieval", 2012) and whitening on the
catalogue (Jégou & Chum, "Negative evidences and co-occurrences in image retrieval", 2012) are worth more than any
weighting by rarity; exp/vqvae has the figures.
"""

import torch
from torch import Tensor

from audiorec.audio import CLIP_SAMPLES
from audiorec.audio.mel import HOP_SAMPLES, N_MELS, LogMel
from audiorec.encoders.base import Encoder
from audiorec.encoders.vqvae.model import VQVAE
from audiorec.encoders.whiten import Whiten

MAX_DIM = 128
N_FRAMES = 1 + CLIP_SAMPLES // HOP_SAMPLES


class VQVAEEncoder(Encoder):
    """Takes what it needs of a trained model, and nothing else goes into its file."""

    fitted = ("whiten.",)
    licence = "that of the clips it learnt from"
    origin = "audiorec train vqvae"

    def __init__(self, model: VQVAE, n_features: int) -> None:
        super().__init__()
        self.log_mel = LogMel()
        self.top = model.top
        self.dim = min(MAX_DIM, n_features)
        self.whiten = Whiten(n_features, self.dim)

    def pre(self, waveform: Tensor) -> Tensor:
        """(N, 1, T) -> (N, 80, n_frames)."""
        return self.log_mel(waveform)

    def fit(self, features: Tensor) -> None:
        self.whiten.fit(self.spread(features))

    def post(self, features: Tensor) -> Tensor:
        return self.whiten(self.spread(features))

    def spread(self, features: Tensor) -> Tensor:
        """What is whitened."""
        return features.sqrt()


class BagTopVQVAE(VQVAEEncoder):
    """How often each top code word occurs: (N, n_top_codes), sum 1."""

    name = "BagTopVQVAE"

    def __init__(self, model: VQVAE) -> None:
        super().__init__(model, model.config.n_top_codes)

    def core(self, x: Tensor) -> Tensor:
        """(N, 80, n_frames) -> (N, n_top_codes)."""
        _, top = self.top(x)
        return bag(top.codes, self.top.quantiser.n_codes)


class BagBottomVQVAE(VQVAEEncoder):
    """How often each bottom code word occurs: (N, n_bottom_codes), sum 1."""

    name = "BagBottomVQVAE"

    def __init__(self, model: VQVAE) -> None:
        super().__init__(model, model.config.n_bottom_codes)
        self.bottom = model.bottom

    def core(self, x: Tensor) -> Tensor:
        """(N, 80, n_frames) -> (N, n_bottom_codes)."""
        hidden, top = self.top(x)
        return bag(self.bottom(hidden, top.words).codes, self.bottom.quantiser.n_codes)


class MeanFreqTopVQVAE(VQVAEEncoder):
    """The top code words, averaged over frequency, one after another: the one that knows when things happen."""

    name = "MeanFreqTopVQVAE"

    def __init__(self, model: VQVAE) -> None:
        n_positions = model.config.top_grid((N_MELS, N_FRAMES))[1]
        super().__init__(model, model.config.code_dim * n_positions)

    def core(self, x: Tensor) -> Tensor:
        """(N, 80, n_frames) -> (N, code_dim * top positions in time)."""
        _, top = self.top(x)
        return top.words.mean(dim=2).flatten(1)

    def spread(self, features: Tensor) -> Tensor:
        return features


def bag(codes: Tensor, n_codes: int) -> Tensor:
    """(N, G, H, W) int64 in [0, n_codes) -> (N, n_codes) float32: each one's share of all."""
    flat = codes.flatten(1)  # (N, G * H * W)
    ones = torch.ones(flat.shape, device=codes.device)
    return torch.zeros(len(flat), n_codes, device=codes.device).scatter_add_(1, flat, ones) / flat.shape[1]
