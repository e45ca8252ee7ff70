"""The convolutional network of the encoder `base`: log-mel spectrogram to feature blocks, whatever its length.

What stands in silence weighs nothing: every mean over time is one over the frames that are within GATE of the
loudest, so that a clip with a second of silence before it keeps its vector.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from audiorec.audio import CLIP_SAMPLES
from audiorec.audio.mel import LogMel

DB = math.log(10) / 10  # in the natural logarithm of power
GATE = 35 * DB  # under the loudest frame: there a frame counts half
N_BANDS = 4  # of frequency, in which the middle layer is pooled
SUBSAMPLING = 16  # of four stages


class ConvNetConfig(BaseModel):
    """widths: channels after each of four stages, each of which halves both axes; n_blocks: residual ones after it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_mels: int = Field(64, ge=64, multiple_of=64)
    n_fft: int = Field(1024, ge=256)
    hop_samples: int = Field(400, ge=1, le=CLIP_SAMPLES // SUBSAMPLING)
    widths: tuple[int, int, int, int] = (24, 48, 96, 192)
    n_blocks: tuple[int, int, int, int] = (0, 0, 1, 1)
    dim: int = Field(256, ge=2)  # of what is contrasted


class ConvNet(nn.Module):
    """config: its shape. Takes log-mel spectrograms (N, n_mels, T), T >= SUBSAMPLING."""

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = (1, *config.widths)
        self.norm = nn.BatchNorm1d(config.n_mels)
        self.stages = nn.ModuleList(
            nn.Sequential(Conv(n_in, n_out, 2), *(Residual(n_out) for _ in range(n)))
            for n_in, n_out, n in zip(channels, config.widths, config.n_blocks, strict=False)
        )
        self.out = nn.Linear(4 * channels[-1], config.dim)

    def forward(self, log_mel: Tensor) -> Tensor:
        """(N, n_mels, T) -> (N, dim): what is contrasted in training."""
        gate = loudness_gate(log_mel)
        _, last = self.layers(log_mel)
        embedding: Tensor = self.out(pooled_in_halves(last, gate))
        return embedding

    def layers(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """The third and the fourth stage's output: (N, C, bands, frames) float32, nothing negative."""
        x = self.norm(log_mel)[:, None]  # (N, 1, n_mels, T)
        third = x
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i == 2:
                third = x
        return third.float(), x.float()

    def blocks(self, log_mel: Tensor) -> list[Tensor]:
        """(N, n_mels, T) -> the feature blocks, of `block_sizes`: by hand, of the middle layer, of the last."""
        gate = loudness_gate(log_mel)
        third, last = self.layers(log_mel)
        return [by_hand(log_mel, gate), pooled_in_bands(third, gate), pooled_in_halves(last, gate)]

    def fit_scale(self, log_mel: Tensor) -> None:
        """Normalises bands by these spectrograms, (M, n_mels, T), until others are learnt from."""
        variance, mean = torch.var_mean(log_mel, dim=(0, 2))
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        self.norm.running_mean.copy_(mean)
        self.norm.running_var.copy_(variance)

    def block_sizes(self) -> list[int]:
        _, _, third, last = self.config.widths
        return [4 * self.config.n_mels, 2 * N_BANDS * third, 4 * last]


class Conv(nn.Module):
    """3 x 3, normalised over the batch (Ioffe & Szegedy 2015) until it is `folded`."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_channels, n_channels, 3, 1, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(n_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.conv(x)))


def folded(network: ConvNet) -> ConvNet:
    """The same network, in place, its normalisations a part of its convolutions: for use, not to learn on."""
    for module in network.eval().modules():
        if isinstance(module, Conv | Residual) and isinstance(module.norm, nn.BatchNorm2d):
            # in double precision, so that every machine gets the same weights
            module.conv = fuse_conv_bn_eval(module.conv.double(), module.norm.double()).float()
            module.norm = nn.Identity()
    return network


def log_mel_of(config: ConvNetConfig) -> LogMel:
    """The front end that a network was made for."""
    return LogMel(config.n_mels, config.n_fft, config.hop_samples)


def loudness_gate(log_mel: Tensor, under_loudest: float = GATE) -> Tensor:
    """(N, n_mels, T) -> (N, T) in (0, 1): how much a frame counts. (A default, for TorchScript sees no constants.)"""
    loudness = torch.logsumexp(log_mel, 1)  # (N, T)
    return torch.sigmoid(loudness - loudness.amax(1, keepdim=True) + under_loudest)


def gated_mean(x: Tensor, gate: Tensor) -> Tensor:
    """x: (N, C, T), gate: (N, T). Returns (N, C)."""
    return torch.bmm(x, gate[..., None])[..., 0] / gate.sum(1, keepdim=True).clamp(min=1e-6)


def by_hand(log_mel: Tensor, gate: Tensor) -> Tensor:
    """(N, n_mels, T) -> (N, 4 n_mels): mean, deviation, how much it changes, and maximum of each band over time."""
    mean = gated_mean(log_mel, gate)
    deviation = gated_mean((log_mel - mean[..., None]).square(), gate).clamp(min=1e-8).sqrt()
    change = gated_mean((log_mel[:, :, 1:] - log_mel[:, :, :-1]).abs(), gate[:, 1:])
    return torch.cat([mean, deviation, change, log_mel.amax(2)], dim=1)


def pooled_in_bands(x: Tensor, gate: Tensor, n_bands: int = N_BANDS) -> Tensor:
    """(N, C, bands, frames) -> (N, 2 n_bands C): mean and maximum over time in each of n_bands parts of frequency."""
    n_frames = x.shape[3]
    bands = F.adaptive_avg_pool2d(x, (n_bands, n_frames)).flatten(1, 2)  # (N, C * n_bands, frames)
    gate = F.adaptive_avg_pool1d(gate[:, None], n_frames)[:, 0]
    return torch.cat([gated_mean(bands, gate), (bands * gate[:, None]).amax(2)], dim=1)


def pooled_in_halves(x: Tensor, gate: Tensor) -> Tensor:
    """(N, C, bands, frames) -> (N, 4 C): mean over time of the lower and upper half, and of all; maximum of all."""
    n, n_channels, n_bands, n_frames = x.shape
    gate = F.adaptive_avg_pool1d(gate[:, None], n_frames)[:, 0]
    halves = F.avg_pool2d(x, (n_bands // 2, 1)).flatten(1, 2)  # (N, C * 2, frames)
    mean = gated_mean(halves, gate)
    highest = (x.amax(2) * gate[:, None]).amax(2)
    return torch.cat([mean, highest, mean.view(n, n_channels, 2).mean(2)], dim=1)
