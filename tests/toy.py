"""An encoder whose vectors can be worked out by hand, for tests that are about everything around it."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audiorec.encoders.base import StandardisedEncoder

N_SLOPES = 4


class Slopes(StandardisedEncoder):
    """How steep a sound is: the root mean square of its samples, and of their first, second and third differences."""

    name = "Slopes"

    def __init__(self) -> None:
        super().__init__(dim=N_SLOPES)

    def pre(self, waveform: Tensor) -> Tensor:
        """(N, 1, T) -> (N, T)."""
        return waveform[:, 0]

    def core(self, x: Tensor) -> Tensor:
        """(N, T) -> (N, 4)."""
        return torch.stack([torch.diff(x, n=i).square().mean(dim=1).sqrt() for i in range(4)], dim=1)


def slopes_of(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """What `Slopes` computes before it is fitted, by numpy: (n, T) -> (n, 4)."""
    wide = windows.astype(np.float64)
    return np.stack([np.sqrt(np.square(np.diff(wide, n=i)).mean(axis=1)) for i in range(N_SLOPES)], axis=1)
