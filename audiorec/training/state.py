"""Where a training run is."""

import math
from dataclasses import dataclass, field

import torch

from audiorec.encoders.vqvae.model import VQVAE
from audiorec.training.settings import TrainingSettings


@dataclass
class TrainingState:
    """step: how many are done. seconds, cpu_seconds: how long they and their validations took, by the
    clock and on all cores. figures: of the last validation."""

    settings: TrainingSettings
    model: VQVAE
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best_loss: float = math.inf
    figures: dict[str, float] = field(default_factory=dict)
    validated_step: int = -1  # when that was
