"""Make the file that comes with audiorec: `scripts/export_base.py exp/base/run/best.pt CORPUS_DIR`.

Takes the encoder of a checkpoint, fits its last step on the windows of a corpus, and writes it to the package.
"""

import argparse
from datetime import date
from pathlib import Path

import numpy as np
import torch

from audiorec.audio import windows
from audiorec.commit import git_commit
from audiorec.embed import BATCH_WINDOWS
from audiorec.encoders import make_encoder
from audiorec.encoders.shipped import BASE_PATH, load_base, read_contrast, write_base
from audiorec.fit import EagerEncoder
from audiorec.terminal import progress, reported
from audiorec.training.contrast.clips import from_corpus
from audiorec.training.contrast.sampler import Sampler
from audiorec.training.corpus.reader import Corpus


def features(checkpoint_path: Path, corpus_dir: Path, n_clips: int, leave_out: list[str]) -> np.ndarray:
    """Of the first window of clips drawn as in training, but no clip twice."""
    encoder = EagerEncoder(make_encoder("base", checkpoint_path))
    clips = from_corpus(Corpus(corpus_dir), leave_out)
    sampler = Sampler(clips, np.arange(len(clips)), source_power=-0.5, by_label_share=0, mate_share=0)
    drawn, _ = sampler.pairs(2 * n_clips, np.random.default_rng(0))
    rows = np.unique(drawn)[:: max(1, len(np.unique(drawn)) // n_clips)]
    batches = [rows[i : i + BATCH_WINDOWS] for i in range(0, len(rows), BATCH_WINDOWS)]
    cut = (np.concatenate([windows(clips.pcm(row))[:1] for row in batch]) for batch in batches)
    bar = progress((encoder.features(batch) for batch in cut), total=len(batches), stage="encode", unit="batch")
    return np.concatenate(list(bar))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("corpus_dir", type=Path)
    parser.add_argument("--out", type=Path, default=BASE_PATH)
    parser.add_argument("--clips", type=int, default=10_000, help="that the last step is fitted on")
    parser.add_argument("--licence", default="CC-BY-SA-4.0")  # that of some of the recordings
    parser.add_argument("--origin", default="audiorec: scripts/train_base.py")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="SOURCE", help="of the corpus")
    arguments = parser.parse_args()
    with reported():
        stored = read_contrast(arguments.checkpoint)
        encoder = load_base(arguments.checkpoint)
        encoder.fit(
            torch.from_numpy(features(arguments.checkpoint, arguments.corpus_dir, arguments.clips, arguments.leave_out))
        )
        facts = {name: stored[name] for name in ("settings", "step", "cpu_seconds", "figures", "made_with")}
        facts |= {
            "licence": arguments.licence,
            "origin": arguments.origin,
            "git": git_commit(),
            "made_on": date.today().isoformat(),
        }
        write_base(encoder, arguments.out, facts)
        print(
            f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB, {encoder.count_parameters():,} parameters"
        )


if __name__ == "__main__":
    main()
