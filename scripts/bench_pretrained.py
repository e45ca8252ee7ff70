"""What a window costs with each pretrained architecture at the size it is published in, and whether its file is right.

Random weights: their cost is that of learnt ones. Milliseconds are processor time on one thread, the best of a few, as
TorchScript with the front end inside: of the whole model, and up to its middle layer, which gives the vector unless
another is named. Distance: in cosine, the largest between eager and file at several batch sizes, the last step fitted,
so that what all vectors have in common hides nothing.
"""

import argparse
import gc
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from audiorec.audio import CLIP_SAMPLES
from audiorec.benchmark import rendered
from audiorec.encoders import PRETRAINED_ENCODERS, make_encoder
from audiorec.encoders.base import Encoder
from audiorec.encoders.roster import measured_ms
from audiorec.export import LoadedEncoder, parity


def varied(n: int) -> torch.Tensor:
    """(n, 1, CLIP_SAMPLES) noises, each of another colour and loudness."""
    noise = torch.randn(n, 1, CLIP_SAMPLES, generator=torch.Generator().manual_seed(1)).clamp_(-1, 1)
    for i, window in enumerate(noise):
        window[:, i:] += 0.2 * i * window[:, : CLIP_SAMPLES - i].clone()
        window /= window.abs().max() * (1 + i)
    return noise


def distance(encoder: Encoder, batches: list[int]) -> float:
    with torch.inference_mode():
        encoder.fit(torch.cat([encoder.features(window[None]) for window in varied(8)]))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(encoder.scripted(), Path(folder) / "encoder.pt")
        return parity(encoder, LoadedEncoder(Path(folder) / "encoder.pt"), batches)


def row_of(name: str, make: Callable[[], Encoder], batches: list[int]) -> dict[str, object]:
    encoder = make()
    size = {"encoder": name, "parameters": f"{encoder.count_parameters() / 1e6:.1f} M", "dim": encoder.dim}
    ms, far = measured_ms(encoder), distance(encoder, batches)
    row = {**size, "ms a window": round(ms, 1), "distance": f"{far:.0e}"}
    print(*row.values(), file=sys.stderr, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of encoders; unless said, all")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [row_of("base", lambda: make_encoder("base"), arguments.batches)]
    for name in arguments.names or PRETRAINED_ENCODERS:
        kind = PRETRAINED_ENCODERS[name]
        middle = kind.published().layer
        for layer in (middle.n_layers, middle.index) if middle else (None,):
            title = name if layer is None else f"{name}, layer {layer}"
            rows.append(row_of(title, lambda kind=kind, layer=layer: kind.published(layer), arguments.batches))
            gc.collect()
    for row in rows:
        row["times base"] = round(float(str(row["ms a window"])) / float(str(rows[0]["ms a window"])), 1)
    print(rendered({"pretrained": rows}, as_json=arguments.json))


if __name__ == "__main__":
    main()
