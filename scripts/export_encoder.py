"""The second offline job: fit an encoder on the converted clips of MODEL_DIR and export it as TorchScript."""

import argparse
from pathlib import Path

from audiorec.build import export_step
from audiorec.encoders import DEFAULT_ENCODER, ENCODERS
from audiorec.terminal import progress, reported


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, choices=["base", *sorted(ENCODERS)])
    parser.add_argument("--refit", action="store_true", help="fit the last step anew")
    arguments = parser.parse_args()
    with reported():
        fitted = export_step(arguments.model_dir, encoder=arguments.encoder, refit=arguments.refit, progress=progress)
        print(f"{fitted.path}: {fitted.facts.name}, {fitted.facts.dim} dimensions")


if __name__ == "__main__":
    main()
