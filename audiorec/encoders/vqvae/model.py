"""VQ-VAE-2: a spectrogram to a top level of few codes and a bottom level of many, and back.

Razavi, van den Oord & Vinyals, "Generating diverse high-fidelity images with VQ-VAE-2", 2019. The top codes see all
bands and a fifth of a second or more, the bottom codes a patch, knowing what the top said.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiorec.audio.mel import N_MELS
from audiorec.encoders.vqvae.config import VQVAEConfig
from audiorec.encoders.vqvae.quantiser import Quantised, Quantiser

MIN_SCALE = 1e-3


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, block_channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, block_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(block_channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        return x + self.inner(x)


def blocks(config: VQVAEConfig) -> nn.Sequential:
    parts = [ResidualBlock(config.channels, config.block_channels) for _ in range(config.n_blocks)]
    return nn.Sequential(*parts, nn.ReLU())


def projection(n_channels: int, config: VQVAEConfig) -> nn.Sequential:
    """To the vectors that are quantised; centred, so that their directions have the whole sphere."""
    return nn.Sequential(
        nn.Conv2d(n_channels, config.code_dim, 1, bias=False), nn.BatchNorm2d(config.code_dim, affine=False)
    )


class Scale(nn.Module):
    """Log-mel to values of about mean 0 and deviation 1, band by band, and back. Fitted once, before training."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_bands: int = N_MELS) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_bands, 1))
        self.register_buffer("deviation", torch.ones(n_bands, 1))

    def fit(self, log_mel: Tensor) -> None:
        """log_mel: (N, n_bands, n_frames)."""
        deviation, mean = torch.std_mean(log_mel, dim=(0, 2), correction=0)
        self.mean.copy_(mean[:, None])
        self.deviation.copy_(deviation[:, None].clamp(min=MIN_SCALE))

    def forward(self, log_mel: Tensor) -> Tensor:
        return (log_mel - self.mean) / self.deviation

    def inverse(self, x: Tensor) -> Tensor:
        return x * self.deviation + self.mean


class TopPath(nn.Module):
    """Spectrogram to top codes."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        widths = [1, *(config.channels >> i for i in reversed(range(config.n_stem)))]
        stem: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            stem += [nn.Conv2d(n_in, n_out, config.stem_kernel, config.stem_stride), nn.ReLU()]
        n_bands = config.bottom_grid((N_MELS, 0))[0] if config.knows_bands else 1
        self.scale = Scale()
        self.stem = nn.Sequential(*stem[:-1])
        self.band = nn.Parameter(torch.zeros(1, config.channels, n_bands, 1), requires_grad=config.knows_bands)
        self.bottom_blocks = blocks(config)
        self.down = nn.Conv2d(config.channels, config.channels, config.top_kernel, config.top_stride)
        self.top_blocks = blocks(config)
        self.to_code = projection(config.channels, config)
        self.quantiser = Quantiser(config.n_top_codes, config.code_dim, config.n_top_books)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Quantised]:
        """log_mel: (N, 80, n_frames). Returns the bottom level's (N, C, H, W), not yet codes, and the top level."""
        x = self.stem(self.scale(log_mel).unsqueeze(1))  # (N, C, H, W)
        bottom = self.bottom_blocks(x + self.band)  # (N, C, H, W)
        top = self.to_code(self.top_blocks(self.down(bottom)))  # (N, D, H', W')
        return bottom, self.quantiser(top)


class BottomPath(nn.Module):
    """What the top path left, and the top code words, to bottom codes."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.up = Up(config)
        self.to_code = projection(config.channels + config.code_dim, config)
        self.quantiser = Quantiser(config.n_bottom_codes, config.code_dim, config.n_bottom_books)

    def forward(self, bottom: Tensor, top_words: Tensor) -> Quantised:
        """(N, C, H, W) and (N, D, H', W') -> the bottom level, H x W."""
        return self.quantiser(self.to_code(torch.cat([bottom, self.up(top_words, bottom)], dim=1)))


class Up(nn.Module):
    """Top code words to the bottom level's size."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(config.code_dim, config.code_dim, config.top_kernel, config.top_stride)

    def forward(self, top_words: Tensor, like: Tensor) -> Tensor:
        """(N, D, H', W') -> (N, D, H, W) of `like`; what no top code sees is zero."""
        x = self.up(top_words)
        return F.pad(x, (0, like.shape[3] - x.shape[3], 0, like.shape[2] - x.shape[2]))


class Decoder(nn.Module):
    """Code words of both levels to a spectrogram."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.up = Up(config)
        self.join = nn.Conv2d(2 * config.code_dim, config.channels, 3, padding=1)
        self.blocks = blocks(config)
        widths = [*(config.channels >> i for i in range(config.n_stem)), 1]
        stem: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            stem += [nn.ConvTranspose2d(n_in, n_out, config.stem_kernel, config.stem_stride), nn.ReLU()]
        self.stem = nn.Sequential(*stem[:-1])

    def forward(self, top_words: Tensor, bottom_words: Tensor) -> Tensor:
        """(N, D, H', W') and (N, D, H, W) -> (N, n_bands, n_frames), of the spectrogram's scaled values.

        As large as what the codes saw: up to a stride less than the spectrogram in either direction.
        """
        x = torch.cat([bottom_words, self.up(top_words, bottom_words)], dim=1)  # (N, 2 D, H, W)
        return self.stem(self.blocks(self.join(x))).squeeze(1)


class Loss(NamedTuple):
    """total = reconstruction + latent_weight * (top + bottom commitment). Scalars."""

    total: Tensor
    reconstruction: Tensor
    top_commitment: Tensor
    bottom_commitment: Tensor


class VQVAE(nn.Module):
    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.top = TopPath(config)
        self.bottom = BottomPath(config)
        self.decoder = Decoder(config)

    def encode(self, log_mel: Tensor) -> tuple[Quantised, Quantised]:
        """log_mel: (N, 80, n_frames). Returns the top and the bottom level."""
        hidden, top = self.top(log_mel)
        return top, self.bottom(hidden, top.words)

    def reconstruct(self, log_mel: Tensor) -> Tensor:
        """log_mel: (N, 80, n_frames). Returns (N, 80, n_frames) of log-mel; what no code saw is as it came in."""
        top, bottom = self.encode(log_mel)
        made = self.decoder(top.words, bottom.words)
        whole = self.top.scale(log_mel).clone()
        whole[:, : made.shape[1], : made.shape[2]] = made
        return self.top.scale.inverse(whole)

    def forward(self, log_mel: Tensor, latent_weight: float, n_top_alone: int = 0) -> tuple[Loss, Quantised, Quantised]:
        """log_mel: (N, 80, n_frames). The loss, and what was coded, for the quantisers' `update`.

        The first n_top_alone are decoded from their top codes alone: a bottom level this fine can do without a top
        level, and a top level without work collapses (to 4 of 512 codes within 50 steps; this is our own addition).
        """
        top, bottom = self.encode(log_mel)
        heard = (torch.arange(len(log_mel), device=log_mel.device) >= n_top_alone)[:, None, None, None]
        made = self.decoder(top.words, bottom.words * heard)  # (N, n_bands, n_frames)
        target = self.top.scale(log_mel)[:, : made.shape[1], : made.shape[2]]
        reconstruction = F.l1_loss(made.float(), target)
        commitments = [commitment(level) for level in (top, bottom)]
        total = reconstruction + latent_weight * (commitments[0] + commitments[1])
        return Loss(total, reconstruction, *commitments), top, bottom


def commitment(level: Quantised) -> Tensor:
    """How far the vectors are from their code words, which stand still here: 2 - 2 cos, averaged."""
    return (level.vectors - level.words.detach()).square().sum(dim=1).mean()
