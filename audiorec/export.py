"""Eager encoder to TorchScript file, proven equal; and the one loader of such files."""

import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audiorec.audio import CLIP_SAMPLES
from audiorec.encoders.base import Encoder
from audiorec.errors import AudiorecError, BadModelDir
from audiorec.files import replacing

Array = npt.NDArray[np.float32]

PARITY_TOLERANCE = 1e-4  # the least cosine that eager and scripted may have in common is 1 - this
PARITY_BATCHES = (1, 3, 16)


def export_encoder(encoder: Encoder, path: Path) -> float:
    """Scripts an encoder, writes it to `path` at once or not at all, loads it back and compares it with eager.

    Returns the largest cosine distance seen. Raises AudiorecError when it is above PARITY_TOLERANCE, NoSpace.
    """
    encoder.eval()
    with replacing(path, durable=True) as file, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is the format, by the owner's decision
        torch.jit.save(torch.jit.script(encoder), file)
        file.flush()
        distance = parity(encoder, LoadedEncoder(Path(file.name)))
        if not distance <= PARITY_TOLERANCE:
            raise AudiorecError(
                f"got a TorchScript {encoder.name} that differs from eager by {distance:.2g} in cosine, "
                f"expected at most {PARITY_TOLERANCE:g}: this encoder cannot be exported with this torch",
                code="export_parity",
            )
    return distance


def parity(encoder: Encoder, loaded: "LoadedEncoder") -> float:
    """The largest cosine distance between the two, over batches of noise, tones, clicks and quiet."""
    generator = torch.Generator().manual_seed(0)
    distances = []
    for n in PARITY_BATCHES:
        waveform = torch.randn(n, 1, CLIP_SAMPLES, generator=generator).clamp_(-1, 1)
        waveform[::3] *= torch.sin(torch.arange(CLIP_SAMPLES) * 0.05)
        waveform[1::3] *= 1e-3
        with torch.no_grad():
            eager = encoder(waveform)
        scripted = torch.from_numpy(loaded.encode(waveform[:, 0].numpy()))
        distances.append(1 - (eager * scripted).sum(dim=1))  # (n,)
    return float(torch.cat(distances).max())  # NaN when one of them is, unlike Python's max


class LoadedEncoder:
    """A TorchScript encoder from a file: numpy in, numpy out, one thread, no gradients."""

    def __init__(self, path: Path) -> None:
        """Raises BadModelDir when the file is not an encoder of ours."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self._module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
            self.dim = self._measured_dim()
        except (RuntimeError, AttributeError, OSError, ValueError) as error:
            reason = str(error).replace(str(path), path.name).strip().splitlines()[-1:] or [type(error).__name__]
            raise BadModelDir(
                f"got an encoder file {path.name} that TorchScript cannot run ({reason[0][:200]}), "
                "expected one written by audiorec: export the encoder again"
            ) from None

    def _measured_dim(self) -> int:
        phase = np.arange(CLIP_SAMPLES, dtype=np.float32)
        vectors = self.encode(np.stack([np.sin(0.1 * phase), np.sin(0.7 * phase)]))
        norms = np.linalg.norm(vectors, axis=-1)
        if norms.shape != (2,) or vectors.dtype != np.float32 or not np.allclose(norms, 1, atol=1e-3):
            raise ValueError(f"got {vectors.dtype} {vectors.shape} of norm {norms.max():g} from 2 windows")
        return vectors.shape[1]

    def encode(self, windows: Array) -> Array:
        """windows: (N, CLIP_SAMPLES) float32 in [-1, 1]. Returns (N, dim) float32, unit norm."""
        return self._call(self._module, windows[:, None])

    def post(self, features: Array) -> Array:
        """features: (N, n_features). Returns (N, dim) float32, unit norm."""
        return self._call(self._module.post, features)

    def _call(self, function: Any, x: Array) -> Array:
        with torch.inference_mode():
            result = cast(Tensor, function(torch.from_numpy(np.ascontiguousarray(x))))
        return cast(Array, result.numpy())
