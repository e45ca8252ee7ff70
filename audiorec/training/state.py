"""Where a training run is."""

import math
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel

from audiorec.training.run_settings import RunSettings


@dataclass
class TrainingState:
    """kind: of the checkpoint. config: of the model, all that is needed to make it again.

    step: how many are done. seconds, cpu_seconds: how long they and their validations took, by the
    clock and on all cores. figures: of the last validation. facts: what is to be said of the model, beside that.
    """

    kind: str
    settings: RunSettings
    config: BaseModel
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best_loss: float = math.inf
    figures: dict[str, float] = field(default_factory=dict)
    validated_step: int = -1  # when that was
    facts: dict[str, str] = field(default_factory=dict)
