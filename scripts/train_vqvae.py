"""Train a VQ-VAE-2 as a config says: `scripts/train_vqvae.py AUDIO_DIR exp/vqvae --minutes 30`.

The config is exp/NAME/config.toml where there is one; its outputs go beside it, to exp/NAME/run.
"""

import argparse
from pathlib import Path

from audiorec.terminal import progress, reported
from audiorec.training.run import run
from audiorec.training.summary import training_summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("audio_dir", type=Path, help="clips, converted clips, or a model directory")
    parser.add_argument("experiment_dir", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--cpu-minutes", type=float)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    config_path = arguments.experiment_dir / "config.toml"
    with reported():
        trained = run(
            arguments.audio_dir,
            arguments.experiment_dir / "run",
            {"minutes": arguments.minutes, "cpu_minutes": arguments.cpu_minutes, "epochs": arguments.epochs},
            config_path=config_path if config_path.exists() and not arguments.resume else None,
            resume=arguments.resume,
            n_threads=arguments.threads,
            progress=progress,
            say=print,
        )
        print(training_summary(trained))


if __name__ == "__main__":
    main()
