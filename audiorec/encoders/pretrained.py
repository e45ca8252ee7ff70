"""`base`, the encoder that comes with audiorec: what a network has learnt, beside statistics made by hand.

Its last step standardises each block of features, gives all blocks equal weight, and whitens them; it comes fitted on
the sounds it learnt from, and is fitted again on a catalogue that is large enough.
"""

from typing import cast

import torch
from torch import Tensor, nn

from audiorec.encoders.base import Encoder, Standardise
from audiorec.encoders.convnet import ConvNet, ConvNetConfig, log_mel_of
from audiorec.encoders.pauses import without_pauses
from audiorec.encoders.whiten import Whiten

DIM = 128
SHRINKAGE = 3.0  # with less, mAP falls; with more, P@5
WEIGHTS = (1.5, 1.0, 1.0)  # of the blocks


class Base(Encoder):
    name = "base"
    version = 2  # 1 heard pauses
    fitted = ("standardise.", "whiten.")
    comes_fitted = True
    licence = "that of the clips it learnt from"
    origin = "audiorec train contrastive"

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__()
        self.log_mel = log_mel_of(config)
        self.network = ConvNet(config)
        self.block_sizes = self.network.block_sizes()
        self.dim = DIM
        self.weights = WEIGHTS
        self.standardise = nn.ModuleList(Standardise(size) for size in self.block_sizes)
        self.whiten = Whiten(sum(self.block_sizes), DIM, shrinkage=SHRINKAGE)

    def pre(self, waveform: Tensor) -> Tensor:
        """(N, 1, T) -> (N, n_mels, n_frames), without pauses."""
        return self.log_mel(without_pauses(waveform))

    def core(self, x: Tensor) -> Tensor:
        """(N, n_mels, n_frames) -> (N, n_features): the blocks, one after another."""
        return torch.cat(self.network.blocks(x), dim=1)

    def post(self, features: Tensor) -> Tensor:
        return self.whiten(self.evened(features))

    def evened(self, features: Tensor) -> Tensor:
        """(N, n_features), the norm of each block its weight."""
        parts = torch.split(features, self.block_sizes, dim=1)
        evened: list[Tensor] = []
        for i, standardise in enumerate(self.standardise):
            evened.append(self.weights[i] * standardise(parts[i]))
        return torch.cat(evened, dim=1)

    def fit(self, features: Tensor) -> None:
        for standardise, part in zip(self.standardise, torch.split(features, self.block_sizes, dim=1), strict=True):
            cast(Standardise, standardise).fit(part)
        self.whiten.fit(self.evened(features))
