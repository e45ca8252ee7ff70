"""The learning rate over a run: one cycle.

Smith & Topin, "Super-convergence", 2018: up, then far down. Written as a function of how much of the run is over, not
of a step, because a run may be given minutes; for a number of steps it is torch's OneCycleLR.
"""

import math

WARM_UP = 0.1  # of the run
START_FACTOR = 1 / 25
END_FACTOR = START_FACTOR / 1e4


def one_cycle(fraction: float) -> float:
    """fraction: how much of the run is over, in [0, 1]. Returns the learning rate as a share of the highest."""
    if fraction < WARM_UP:
        return _between(START_FACTOR, 1.0, fraction / WARM_UP)
    return _between(1.0, END_FACTOR, min(1.0, (fraction - WARM_UP) / (1 - WARM_UP)))


def _between(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
