"""Torch's random numbers by several seeds."""

import numpy as np
import torch


def generator_of(*seeds: int) -> torch.Generator:
    """On the CPU, where torch looks at the lowest 32 bits of a seed alone: other seeds, other numbers."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
