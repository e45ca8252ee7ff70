"""Train the encoder `base` from nothing: `scripts/train_base.py CORPUS_DIR exp/base --cpu-minutes 240`.

The settings are exp/NAME/config.toml where there is one; the run goes beside it, to exp/NAME/run. Killed anywhere,
--resume goes on.
"""

import argparse
from pathlib import Path

import torch

from audiorec.encoders.shipped import read_contrast
from audiorec.terminal import reported
from audiorec.training.checkpoint import LAST_FILE
from audiorec.training.contrast.clips import from_corpus
from audiorec.training.contrast.settings import make_settings
from audiorec.training.contrast.train import train
from audiorec.training.corpus.reader import Corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus_dir", type=Path)
    parser.add_argument("experiment_dir", type=Path)
    parser.add_argument("--run", default="run", help="the name of the run's folder in the experiment's")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--cpu-minutes", type=float)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config_path = arguments.experiment_dir / "config.toml"
    run_dir = arguments.experiment_dir / arguments.run
    given = {"minutes": arguments.minutes, "cpu_minutes": arguments.cpu_minutes, "epochs": arguments.epochs}
    with reported():
        settings = make_settings(
            given,
            began=read_contrast(run_dir / LAST_FILE)["settings"] if arguments.resume else {},
            config_path=config_path if config_path.exists() and not arguments.resume else None,
        )
        clips = from_corpus(Corpus(arguments.corpus_dir), settings.leave_out)
        ended = train(clips, run_dir, settings, resume=arguments.resume, say=lambda line: print(line, flush=True))
        print(f"{ended.n_steps} steps in {ended.seconds / 60:.1f} minutes, validation loss {ended.figures['loss']:.4f}")
        print(f"next: scripts/export_base.py {ended.best_path} {arguments.corpus_dir}")


if __name__ == "__main__":
    main()
