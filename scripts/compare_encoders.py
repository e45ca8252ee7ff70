"""How well encoders find clips of the same label, each folder of clips a catalogue of its own: P@5 and mAP.

    scripts/compare_encoders.py WORK_DIR AUDIO_DIR ... [--checkpoint NAME=FILE ...] [--base NAME=FILE ...]

The baselines and `base` always; for every checkpoint of a VQ-VAE the three encoders that learn, for every one of a
contrastive training `base` with its weights. Each fitted on each catalogue. WORK_DIR keeps what was converted and
computed; clips of a query's own group or artist do not count, as everywhere.
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from audiorec.catalogue.convert import Conversion, convert
from audiorec.encoders import BASELINES, LEARNED_ENCODERS, make_encoder
from audiorec.encoders.base import Encoder
from audiorec.evaluate import Truth, evaluate
from audiorec.features import vectors_of
from audiorec.fit import EagerEncoder, features_of_catalogue
from audiorec.report import table
from audiorec.terminal import progress, reported


def encoders(checkpoints: list[str], bases: list[str]) -> Iterator[tuple[str, Encoder]]:
    for name in (*BASELINES, "base"):
        yield name, make_encoder(name)
    for names, given in ((LEARNED_ENCODERS, checkpoints), (["base"], bases)):
        for checkpoint in given:
            title, _, path = checkpoint.rpartition("=")
            for name in names:
                yield f"{name} {title or Path(path).parent.name}", make_encoder(name, Path(path))


def score(encoder: EagerEncoder, conversion: Conversion, wav_dir: Path, features_dir: Path) -> tuple[float, float]:
    """(P@5, mAP) of an encoder fitted on this catalogue."""
    sha256s = conversion.sha256s
    with features_of_catalogue(encoder, sha256s, wav_dir, features_dir, progress) as store:
        encoder.fit(store.of(sha256s))
        vectors = np.stack([vector for vector, _ in vectors_of(encoder.post, store, sha256s, encoder.dim)])
    scores = evaluate(vectors, Truth.of(conversion.clips))
    return scores.precision["5"], scores.mean_average_precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("audio_dirs", type=Path, nargs="+")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NAME=FILE", help="may be repeated")
    parser.add_argument("--base", action="append", default=[], metavar="NAME=FILE", help="may be repeated")
    arguments = parser.parse_args()
    with reported():
        wav_dirs = [arguments.work_dir / audio_dir.name / "wav" for audio_dir in arguments.audio_dirs]
        catalogues = [
            convert(audio_dir, wav_dir, progress=progress)
            for audio_dir, wav_dir in zip(arguments.audio_dirs, wav_dirs, strict=True)
        ]
        rows = []
        for title, encoder in encoders(arguments.checkpoint, arguments.base):
            eager = EagerEncoder(encoder)
            found = [
                score(eager, conversion, wav_dir, wav_dir.parent / "features")
                for conversion, wav_dir in zip(catalogues, wav_dirs, strict=True)
            ]
            found.append((statistics.mean(p5 for p5, _ in found), statistics.mean(m for _, m in found)))
            rows.append([title, *(f"{p5:.3f} {average:.3f}" for p5, average in found)])
            print(rows[-1], flush=True)
        print()
        print(table(["P@5 mAP", *(audio_dir.name for audio_dir in arguments.audio_dirs), "mean"], rows))


if __name__ == "__main__":
    main()
