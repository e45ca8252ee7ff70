"""A step down the gradient, the same for all learners."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from audiorec.errors import TrainingFailed


def descend(
    loss: Tensor,
    parameters: Iterable[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    learning_rate: float,
    max_norm: float,
    step: int,
) -> float:
    """Changes the parameters once. Returns the norm of their gradient, before it was cut to max_norm.

    step: how many were done, for the message. Raises TrainingFailed, and changes nothing, when the loss or the
    gradient is not a number.
    """
    check_finite("a loss", loss.item(), step)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))
    check_finite("a gradient", norm, step)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    return norm


def check_finite(what: str, value: float, step: int) -> None:
    """Raises TrainingFailed."""
    if not math.isfinite(value):
        raise TrainingFailed(
            f"got {what} of {value} at step {step}, expected a number: lower --learning-rate", code="nan_loss"
        )
