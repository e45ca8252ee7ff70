"""Numpy files as memory maps of a known shape and type."""

import os
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


def new_npy(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.memmap[Any, Any]:
    """A .npy file to write to through a map, its room on the disk taken first: a full one kills who writes to a map."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("rb+") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
