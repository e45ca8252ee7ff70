"""Running out of memory, and what would have fitted."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from audiorec.errors import TrainingFailed

Array = npt.NDArray[np.float32]


def is_out_of_memory(error: BaseException) -> bool:
    """On a GPU torch has an error of its own; on the CPU a RuntimeError says it in words."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def fitting(attempt: Callable[[Array], None], batch: Array) -> int:
    """The length of the first half, quarter ... of a batch for which `attempt` ends well; 0 when none does."""
    n = len(batch)
    while n := n // 2:
        torch.cuda.empty_cache()
        try:
            attempt(batch[:n])
            return n
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
    return 0


def no_memory(
    batch_size: int, unit: str, n_fit: int, *, smaller: str = "a smaller model", at_least: int = 1
) -> TrainingFailed:
    """n_fit: how many of `unit` would have fitted. at_least: the smallest batch there is. smaller: what to take where
    that does not fit.
    """
    advice = f"{n_fit} would fit: begin anew with --batch-size {n_fit}"
    if n_fit < at_least:
        advice = f"not even {at_least} would fit: take {smaller}"
    return TrainingFailed(f"got no memory for a batch of {batch_size} {unit}, {advice}", code="out_of_memory")
