"""Numpy files as read-only memory maps of a known shape and type."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiorec.errors import BadModelDir


def open_npy(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The array in a .npy file, mapped. Raises BadModelDir for one that is missing, broken or not as expected."""
    expected = np.dtype(dtype)
    try:
        items = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise BadModelDir(f"{path.name} is missing; build the release again") from None
    except Exception:  # numpy's header parser lets through whatever Python's own tokenizer and evaluator raise
        raise BadModelDir(f"{path.name} is cut off or not a numpy file; build the release again") from None
    if items.shape != shape or items.dtype != expected:
        raise BadModelDir(f"{path.name} holds {items.dtype} {items.shape}, expected {expected} {shape}")
    return np.asarray(items)
