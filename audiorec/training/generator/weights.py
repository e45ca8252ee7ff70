"""The weights of an adapter while it is trained: those that learn, and their moving average, which is what is used."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

EARLY_STEPS = 10  # the average begins as one over the last tenth of the steps done


class AveragedWeights(nn.Module):
    """learning: the parameters that are on the UNet. average: as Polyak & Juditsky 1992; Tarvainen & Valpola 2017."""

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        named = {name.replace(".", "/"): weight for name, weight in weights.items()}  # a parameter's name has no dot
        self.learning = nn.ParameterDict(named)
        self.average = nn.ParameterDict(
            {name: nn.Parameter(weight.detach().clone(), requires_grad=False) for name, weight in named.items()}
        )

    @torch.no_grad()
    def move_average(self, decay: float, step: int) -> None:
        """Towards what learns, faster while it has seen few steps."""
        share = 1 - min(decay, (1 + step) / (EARLY_STEPS + step))
        for name, average in self.average.items():
            average.lerp_(self.learning[name], share)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The UNet has the average for the block."""
        kept = {name: weight.detach().clone() for name, weight in self.learning.items()}
        self._set(dict(self.average.items()))
        try:
            yield
        finally:
            self._set(kept)

    @torch.no_grad()
    def _set(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, weight in self.learning.items():
            weight.copy_(values[name])
