"""Make the corpus that the encoder `base` learns from: `scripts/make_corpus.py OUT_DIR --real DATA_DIR --workers 2`."""

import argparse
from pathlib import Path

from audiorec.terminal import progress, reported
from audiorec.training.corpus.make import make
from audiorec.training.corpus.summary import corpus_summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--clips", type=int, default=48_000, help="how many clips are made, recordings not counted")
    parser.add_argument("--real", type=Path, help="a folder of sets of recordings, each with a labels.csv")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    arguments = parser.parse_args()
    with reported():
        make(
            arguments.out_dir,
            n_clips=arguments.clips,
            seed=arguments.seed,
            data_dir=arguments.real,
            n_workers=arguments.workers,
            progress=progress,
        )
        print(corpus_summary(arguments.out_dir))


if __name__ == "__main__":
    main()
