"""The first offline job: every clip of a folder to 16 kHz mono WAV in MODEL_DIR/work, resumable."""

import argparse
from pathlib import Path

from audiorec.audio.decoder import DecodeLimits
from audiorec.build import convert_step
from audiorec.report import conversion_summary
from audiorec.terminal import progress, reported


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("audio_dir", type=Path)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--max-s", type=float, default=DecodeLimits.max_s, help="the longest clip, in seconds")
    arguments = parser.parse_args()
    with reported():
        limits = DecodeLimits(max_s=arguments.max_s)
        print(
            conversion_summary(convert_step(arguments.audio_dir, arguments.model_dir, limits=limits, progress=progress))
        )


if __name__ == "__main__":
    main()
