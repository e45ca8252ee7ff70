"""torchaudio beside any build of torch: take it from here, `from audiorec.torchaudio_cpu import torchaudio`.

The only torchaudio wheel for Linux on PyPI links CUDA: loading its extension beside a torch without CUDA fails, and
with it `import torchaudio` and every library that imports it. audiorec needs only the parts written in Python
(transforms, functional), so a stand-in takes the extension's place where torch brings no CUDA libraries.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

EXTENSION = "torchaudio._extension"


def _fail_if_no_align(function: Callable[..., Any]) -> Callable[..., Any]:
    def unavailable(*_: object, **__: object) -> None:
        raise RuntimeError(f"{function.__name__} needs torchaudio's compiled extension, which this torch cannot load")

    return unavailable


def stand_in() -> ModuleType:
    module = ModuleType(EXTENSION)
    module.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=_fail_if_no_align,
        _check_cuda_version=lambda: None,
    )
    return module


def torch_has_cuda_libraries() -> bool:
    return (Path(torch.__file__).parent / "lib" / "libc10_cuda.so").exists()


if sys.platform == "linux" and not torch_has_cuda_libraries():
    sys.modules.setdefault(EXTENSION, stand_in())

import torchaudio  # noqa: E402

__all__ = ["torchaudio"]
