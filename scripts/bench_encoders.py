"""Windows a second of every encoder, eager and as TorchScript, one, four and sixteen at a time, on one thread.

The VQ-VAEs have random weights: their speed does not depend on them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from audiorec.audio import CLIP_S, CLIP_SAMPLES
from audiorec.encoders import ENCODERS, LEARNED_ENCODERS, make_encoder
from audiorec.encoders.base import Encoder
from audiorec.encoders.vqvae.config import PRESETS
from audiorec.encoders.vqvae.model import VQVAE
from audiorec.export import LoadedEncoder, export_encoder
from audiorec.fit import EagerEncoder
from audiorec.report import table

BATCHES = (1, 4, 16)


def encoders() -> Iterator[tuple[str, Encoder]]:
    for name in ("base", *sorted(ENCODERS)):
        yield name, make_encoder(name)
    for preset, config in PRESETS.items():
        model = VQVAE(config)
        for name, make in LEARNED_ENCODERS.items():
            yield f"{name} {preset}", make(model).eval()


def windows_per_s(encode: Callable[[np.ndarray], np.ndarray], n: int, seconds: float) -> float:
    """The best of many calls: what else the machine does makes none faster."""
    windows = np.random.default_rng(0).uniform(-1, 1, (n, CLIP_SAMPLES)).astype(np.float32)
    encode(windows)
    encode(windows)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        encode(windows)
        best = min(best, time.perf_counter() - start)
    return n / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, encoder in encoders():
            export_encoder(encoder, Path(folder) / "encoder.pt")
            eager, scripted = EagerEncoder(encoder), LoadedEncoder(Path(folder) / "encoder.pt")
            ways = (lambda windows, eager=eager: eager.post(eager.features(windows)), scripted.encode)
            rates = [windows_per_s(way, n, arguments.seconds) for way in ways for n in BATCHES]
            size = f"{encoder.count_parameters() / 1e6:.2f} M"
            scripted_ms = 1000 / rates[len(BATCHES)]
            rows.append([name, size, encoder.dim, *(f"{rate:.0f}" for rate in rates), f"{scripted_ms:.1f}"])
    header = ["encoder", "weights", "dim", *(f"{way} x{n}" for way in ("eager", "script") for n in BATCHES), "ms"]
    print(f"windows of {CLIP_S} s a second, {arguments.threads} thread(s), torch {torch.__version__}\n")
    print(table(header, rows))


if __name__ == "__main__":
    main()
