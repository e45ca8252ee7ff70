"""What it costs to add clips to a catalogue and to remove them, beside building its release anew from ready vectors.

    scripts/bench_lifecycle.py [--sizes 10000 100000 1000000] [--changes 100]

Seconds are of the processor, decoders included, so that a busy machine does not count; a build that begins with sounds
takes longer by their decoding and encoding, of every clip, where an addition decodes and encodes the new ones alone.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.benchmark import rendered
from audiorec.publishing.edit import add, remove
from audiorec.release import open_release, release_names
from audiorec.release.describe import evaluation_of
from audiorec.release.projector import write_projector
from audiorec.release.sharing import link_or_copy, usage
from audiorec.testing import make_release

CLIP_S = 1.0


def processor_s(call: Callable[[], object]) -> float:
    """Seconds of processor that a call takes, in this process and in those that it started and waited for."""
    before = os.times()
    call()
    return sum(os.times()[:4]) - sum(before[:4])


def build(model_dir: Path, n_clips: int) -> None:
    """All that a build does once it has its vectors."""
    release = open_release(make_release(model_dir, n_clips))
    evaluation_of(release.embeddings, release.metadata, "random", {})
    link_or_copy(release.directory / "metadata.tsv", model_dir / "work" / "metadata.tsv")
    write_projector(model_dir / "work", release.embeddings)


def sounds(folder: Path, n_clips: int) -> Path:
    """A folder of short noises, each of a colour of its own."""
    folder.mkdir()
    for number in range(n_clips):
        sound = np.random.default_rng(number).standard_normal(int(CLIP_S * SAMPLE_RATE_HZ))
        sound = np.convolve(sound, np.hanning(4 + number % 60), "same")
        soundfile.write(folder / f"{folder.name}-{number:06d}.wav", sound / np.abs(sound).max(), SAMPLE_RATE_HZ)
    return folder


def rows_of(n_clips: int, n_changes: int, folder: Path) -> list[dict[str, Any]]:
    """A row an operation: what it took, and the release that came of it."""
    model_dir = folder / "model"
    build_s = processor_s(lambda: build(model_dir, n_clips))
    ids = open_release(model_dir).metadata
    gone = [ids.clip_id(row) for row in np.linspace(0, n_clips - 1, n_changes, dtype=np.int64).tolist()]
    warm, new = sounds(folder / "warm", 1), sounds(folder / "new", n_changes)
    add(model_dir, [warm])  # torch is loaded, as in a process that goes on
    seconds = {
        "build": build_s,
        f"add {n_changes}": processor_s(lambda: add(model_dir, [new])),
        f"remove {n_changes}": processor_s(lambda: remove(model_dir, gone)),
    }
    used = usage(model_dir / "versions" / name for name in release_names(model_dir))
    releases = [open_release(model_dir / "versions" / name) for name in ("0001", "0003", "0004")]
    return [
        {
            "clips": len(release.embeddings),
            "operation": operation,
            "processor s": taken,
            "of the build": taken / build_s,
            "recall@10": release.manifest.index.recall_at_10,
            "release MB": used[release.name].n_bytes / 1e6,
            "its own MB": used[release.name].n_own_bytes / 1e6,
        }
        for release, (operation, taken) in zip(releases, seconds.items(), strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="clips")
    parser.add_argument("--changes", type=int, default=100, help="clips that are added, and removed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = []
    for n_clips in options.sizes:
        folder = options.work_dir / f"lifecycle-{n_clips}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            figures += rows_of(n_clips, options.changes, folder)
        finally:
            shutil.rmtree(folder)
    print(rendered({"Changes to a catalogue": figures}, as_json=options.json))


if __name__ == "__main__":
    main()
