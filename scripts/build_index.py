"""The last offline job: embed the converted clips of MODEL_DIR, index, evaluate, and publish the next release."""

import argparse
from pathlib import Path

from audiorec.build import index_step
from audiorec.report import summary
from audiorec.terminal import progress, reported


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--no-baselines", action="store_true", help="do not evaluate the baselines beside the encoder")
    arguments = parser.parse_args()
    with reported():
        built = index_step(arguments.model_dir, baselines=not arguments.no_baselines, progress=progress)
        print(summary(built, arguments.model_dir))


if __name__ == "__main__":
    main()
