"""Waiting for what comes true a moment later: for as long as it may take on a machine that does much else."""

import time
from collections.abc import Callable

WAIT_S = 150.0
LOOK_S = 0.02


def wait_until(condition: Callable[[], bool], explain: Callable[[], str] = str) -> None:
    """Fails when it does not come true. explain: what is known then."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(LOOK_S)
