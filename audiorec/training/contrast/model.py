"""What a contrastive training learns: a network and two heads, and the encoder that its average becomes."""

import torch
from torch import Tensor, nn

from audiorec.encoders.convnet import ConvNet, ConvNetConfig
from audiorec.encoders.pretrained import Base

HEAD_DIM = 128
EARLY_STEPS = 10  # the average begins as one over the last tenth of the steps done


class ContrastModel(nn.Module):
    """network: what learns. encoder: its weights' moving average (Polyak & Juditsky 1992; Tarvainen & Valpola 2017),
    with a last step fitted at validation. The heads (Chen et al. 2020, sec. 4.2) are thrown away after training.
    """

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__()
        self.encoder = Base(config)
        self.network = ConvNet(config)
        self.instance_head = head(config.dim)
        self.label_head = head(config.dim)
        self.encoder.requires_grad_(False).eval()
        self.start_from(self.encoder)

    def start_from(self, encoder: Base) -> None:
        """Takes an encoder's weights, for both. It has the same config."""
        self.encoder.load_state_dict(encoder.state_dict())
        self.network.load_state_dict(encoder.network.state_dict())

    def train(self, mode: bool = True) -> "ContrastModel":
        super().train(mode)
        self.encoder.eval()
        return self

    @torch.no_grad()
    def average(self, decay: float, step: int) -> None:
        """Moves the encoder towards the network, faster while it has seen few steps."""
        share = 1 - min(decay, (1 + step) / (EARLY_STEPS + step))
        for averaged, value in zip(
            self.encoder.network.state_dict().values(), self.network.state_dict().values(), strict=True
        ):
            if averaged.is_floating_point():
                averaged.lerp_(value, share)
            else:
                averaged.copy_(value)

    def forward(self, log_mel: Tensor) -> Tensor:
        """(N, n_mels, T) -> (N, config.dim)."""
        vectors: Tensor = self.network(log_mel)
        return vectors


def head(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.ReLU(), nn.Linear(dim, HEAD_DIM))
