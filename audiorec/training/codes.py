"""How much of a code book is used: what a bag of codes can mean at all."""

import torch
from torch import Tensor

COLLAPSED_SHARE = 0.1  # of a book in use, or of the perplexity it could have: less, and its codes say little


class Usage:
    """Counts the codes of one level over many batches."""

    def __init__(self, n_codes: int) -> None:
        self._counts = torch.zeros(n_codes, dtype=torch.int64)

    def add(self, codes: Tensor) -> None:
        """codes: int64 of any shape."""
        self._counts += torch.bincount(codes.reshape(-1).cpu(), minlength=len(self._counts))

    @property
    def share(self) -> float:
        """Of the code words, how many were chosen at all."""
        return float((self._counts > 0).double().mean())

    @property
    def perplexity(self) -> float:
        """How many code words, all equally often chosen, would say as much: in [1, n_codes]."""
        shares = self._counts.double() / self._counts.sum().clamp(min=1)
        return float(torch.special.entr(shares).sum().exp())

    def is_collapsed(self) -> bool:
        """Whether few words are in use, or a very few have nearly all; few vectors cannot use many."""
        possible = min(len(self._counts), int(self._counts.sum()))
        return min(self.share * len(self._counts), self.perplexity) < COLLAPSED_SHARE * possible
