"""PCA-whitening, fitted on a catalogue: features that say the same thing count once."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHRINKAGE = 1.0  # of the average variance, added to each: whitening would lift noise to the height of everything else


class Whiten(nn.Module):
    """Centres features, turns them to the `dim` directions of largest variance, evens these out; then unit norm."""

    mean: Tensor
    projection: Tensor

    def __init__(self, n_features: int, dim: int, *, shrinkage: float = SHRINKAGE) -> None:
        super().__init__()
        self.dim = dim
        self.shrinkage = shrinkage
        generator = torch.Generator().manual_seed(0)
        any_directions, _ = torch.linalg.qr(torch.randn(n_features, dim, generator=generator))
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("projection", any_directions)  # (n_features, dim)

    def fit(self, features: Tensor) -> None:
        """features: (M, n_features). Where they never vary, nothing is changed: there is nothing to tell apart."""
        mean = features.double().mean(dim=0)
        centred = features.double() - mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(features))  # the smallest first
        variances, directions = variances.flip(0).clamp(min=0), directions.flip(1)
        if float(variances.sum()) < 1e-12:
            return
        n_kept = min(len(variances), len(features), self.projection.shape[1])
        scale = (variances[:n_kept] + self.shrinkage * variances[:n_kept].mean()).rsqrt()
        self.mean.copy_(mean)
        self.projection.zero_()
        self.projection[:, :n_kept] = (directions[:, :n_kept] * scale).float()

    def forward(self, features: Tensor) -> Tensor:
        """(N, n_features) -> (N, dim), unit norm."""
        return F.normalize(torch.matmul(features - self.mean, self.projection), dim=1)
