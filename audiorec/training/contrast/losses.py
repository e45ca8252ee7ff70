"""The contrastive loss."""

import torch
import torch.nn.functional as F
from torch import Tensor


def contrast(vectors: Tensor, positive: Tensor, temperature: float) -> Tensor:
    """How far each of n vectors is from its positives, against all others: a scalar, 0 when no vector has any.

    vectors: (n, D). positive: (n, n) bool; its diagonal does not count. With one positive each this is NT-Xent (Chen
    et al. 2020, eq. 1), with those of a label it is SupCon (Khosla et al., "Supervised contrastive learning",
    NeurIPS 2020, eq. 2, the sum outside the logarithm).
    """
    vectors = F.normalize(vectors, dim=1)
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    similarity = (vectors @ vectors.T / temperature).masked_fill(itself, -torch.inf)  # (n, n)
    positive = positive & ~itself
    log_probability = similarity - similarity.logsumexp(1, keepdim=True)
    n_positives = positive.sum(1)
    of_each = -log_probability.masked_fill(~positive, 0).sum(1) / n_positives.clamp(min=1)
    counts = n_positives > 0
    return (of_each * counts).sum() / counts.sum().clamp(min=1)
