"""`python -m audiorec.samples OUT_DIR` renders the sample catalogue."""

import argparse
from pathlib import Path

from audiorec.errors import AudiorecError
from audiorec.samples import render


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m audiorec.samples", description="Render the sample catalogue.")
    parser.add_argument("out_dir", type=Path, help="folder for the clips and their labels.csv")
    out_dir = parser.parse_args().out_dir
    try:
        n_clips = render(out_dir)
    except AudiorecError as error:
        parser.exit(error.exit_code, f"{error.message}\n")
    print(f"{n_clips} clips in {out_dir}")


if __name__ == "__main__":
    main()
