"""Eager encoder to TorchScript file, proven equal; and the one loader of such files."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
LARGE_PARAMETERS = 10_000_000  # of an encoder whose activations for many windows at once take gigabytes
LARGE_PARITY_BATCHES = (1, 2, 5)


def export_encoder(encoder: Encoder, path: Path) -> float:
    """Scripts an encoder, writes it to `path` at once or not at all, loads it back and compares it with eager.

    Returns the largest cosine distance seen. Raises AudiorecError when it is above PARITY_TOLERANCE, NoSpace.
    """
    encoder.eval()
    with replacing(path, durable=True) as file, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is the format, by the owner's decision
        torch.jit.save(encoder.scripted(), file)
        file.flush()
        distance = parity(encoder, LoadedEncoder(Path(file.name)))
        if not distance <= PARITY_TOLERANCE:
            raise AudiorecError(
                f"got a TorchScript {encoder.name} that differs from eager by {distance:.2g} in cosine, "
                f"expected at most {PARITY_TOLERANCE:g}: this encoder cannot be exported with this torch",
                code="export_parity",
            )
    return distance


def parity(encoder: Encoder, loaded: "LoadedEncoder", batches: Sequence[int] = ()) -> float:
    """The largest cosine distance between the two, over batches of noise, tones, clicks and quiet."""
    generator = torch.Generator().manual_seed(0)
    distances = []
    usual = LARGE_PARITY_BATCHES if encoder.count_parameters() > LARGE_PARAMETERS else PARITY_BATCHES
    for n in batches or usual:
        waveform = torch.randn(n, 1, CLIP_SAMPLES, generator=generator).clamp_(-1, 1)
        waveform[::3] *= torch.sin(torch.arange(CLIP_SAMPLES) * 0.05)
        waveform[1::3] *= 1e-3
        with torch.no_grad():
            eager = encoder(waveform)
        scripted = torch.from_numpy(loaded.encode(waveform[:, 0].numpy()))
        distances.append(1 - (eager * scripted).sum(dim=1))  # (n,)
    return float(torch.cat(distances).max())  # NaN when one of them is, unlike Python's max


def load_script(path: Path) -> Any:
    """A TorchScript module, for use. Raises whatever torch does for a file that is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]


class LoadedEncoder:
    """A TorchScript encoder from a file, and its classification head where there is one: numpy in, numpy out, one
    thread, no gradients.
    """

    def __init__(self, path: Path, head_path: Path | None = None) -> None:
        """Raises BadModelDir when a file is not one of ours, or the head not of this encoder."""
        self._head = None
        self.n_labels = 0
        with _naming(path, "an encoder file"):
            self._module = load_script(path)
            self.dim = self._measured_dim()
        if head_path is not None:
            with _naming(head_path, "a classification head"):
                self._head = load_script(head_path)
                self.n_labels = self._measured_labels()

    def _measured_dim(self) -> int:
        vectors = self.encode(_tones())
        norms = np.linalg.norm(vectors, axis=-1)
        if norms.shape != (2,) or vectors.dtype != np.float32 or not np.allclose(norms, 1, atol=1e-3):
            raise ValueError(f"got {vectors.dtype} {vectors.shape} of norm {norms.max():g} from 2 windows")
        return vectors.shape[1]

    def _measured_labels(self) -> int:
        scores = self.outputs(_tones())[:, self.dim :]
        if not len(scores[0]) or not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError(f"got scores {scores.shape} up to {scores.max(initial=0):g} from 2 windows")
        return scores.shape[1]

    def encode(self, windows: Array) -> Array:
        """windows: (N, CLIP_SAMPLES) float32 in [-1, 1]. Returns (N, dim) float32, unit norm."""
        return self._call(self._module, windows[:, None])

    def outputs(self, windows: Array) -> Array:
        """windows: as `encode`. Returns (N, dim + n_labels): the vectors, and behind them the scores of the labels."""
        if self._head is None:
            return self.encode(windows)
        features = self._call(self._module.features, windows[:, None])
        return np.concatenate([self.post(features), self.scores(features)], axis=1)

    def scores(self, features: Array) -> Array:
        """features: (N, n_features). Returns (N, n_labels) float32 in [0, 1]: how much each label fits."""
        assert self._head is not None
        return self._call(self._head, features)

    def post(self, features: Array) -> Array:
        """features: (N, n_features). Returns (N, dim) float32, unit norm."""
        return self._call(self._module.post, features)

    def _call(self, function: Any, x: Array) -> Array:
        with torch.inference_mode():
            result = cast(Tensor, function(torch.from_numpy(np.ascontiguousarray(x))))
        return cast(Array, result.numpy())


def _tones() -> Array:
    """(2, CLIP_SAMPLES) to try an encoder on."""
    phase = np.arange(CLIP_SAMPLES, dtype=np.float32)
    return np.stack([np.sin(0.1 * phase), np.sin(0.7 * phase)])


@contextmanager
def _naming(path: Path, what: str) -> Iterator[None]:
    """Turns what torch says of a file that it cannot run into BadModelDir."""
    try:
        yield
    except (RuntimeError, AttributeError, OSError, ValueError) as error:
        reason = str(error).replace(str(path), path.name).strip().splitlines()[-1:] or [type(error).__name__]
        raise BadModelDir(
            f"got {what} {path.name} that TorchScript cannot run ({reason[0][:200]}), "
            "expected one written by audiorec: export the encoder again"
        ) from None
