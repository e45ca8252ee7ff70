"""What does not change a clip should not move its vector: encoders on disturbed copies of clips.

    scripts/bench_robustness.py WORK_DIR AUDIO_DIR ... [--clips 200] [--base NAME=FILE ...] [--json]

For each folder and encoder the mean cosine of a clip and its copy, and beside it that of the worst twentieth; and the
ROC-AUC of copies against the clips that are nearest to theirs, those of the same sound, group or artist left out.
Copies go through the whole recipe, from the bytes of a file on. The encoders' last steps are fitted on each folder, but
for the first `base`, which is as it comes. WORK_DIR keeps what was converted and computed.
"""

import argparse
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from audiorec.audio import SAMPLE_RATE_HZ, Pcm
from audiorec.convert import DEFAULT_LIMITS, Conversion, convert
from audiorec.decoder import Decoder
from audiorec.embed import embed
from audiorec.encoders import BASELINES, make_encoder
from audiorec.encoders.base import Encoder
from audiorec.evaluate import Truth
from audiorec.features import vectors_of
from audiorec.files import sha256_of
from audiorec.fit import EagerEncoder, features_of_catalogue
from audiorec.report import table
from audiorec.terminal import progress, reported
from audiorec.wav import read_wav, wav_path

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

MP3_64 = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 1 - (64 - 8) / (160 - 8)}  # of 8 to 160
COPIES = ("MP3 64 kbit/s", "-20 dB", "1 s silence first", "22.05 kHz")
WORST = 0.05


class Ready(EagerEncoder):
    """An encoder of the registry as `embed` takes one."""

    def encode(self, cut: Array) -> Array:
        return self.post(self.features(cut))


def copies(pcm: Pcm) -> Iterator[bytes]:
    """The files of COPIES."""
    silence = np.zeros(SAMPLE_RATE_HZ, np.int16)
    resampled = soxr.resample(pcm.astype(np.float32) / 2**15, SAMPLE_RATE_HZ, 22_050)
    yield written(pcm, **MP3_64)
    yield written((pcm * 0.1).round().astype(np.int16))
    yield written(np.concatenate([silence, pcm]))
    yield written(resampled, 22_050)


def written(sound: npt.NDArray[Any], rate_hz: int = SAMPLE_RATE_HZ, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, rate_hz, **{"format": "WAV", **options})
    return file.getvalue()


def auc(positive: Array, negative: Array) -> float:
    """How often one of the first is above one of the second; equal ones count half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / (2 * len(ordered)))


def encoders(bases: list[str]) -> Iterator[tuple[str, Encoder, bool]]:
    """(title, encoder, whether its last step is fitted on the folder)."""
    yield "base, as it comes", make_encoder("base"), False
    for name in ("base", *BASELINES):
        yield name, make_encoder(name), True
    for given in bases:
        title, _, path = given.rpartition("=")
        yield f"base {title or Path(path).parent.name}", make_encoder("base", Path(path)), True


def catalogue_vectors(encoder: EagerEncoder, fitted: bool, sha256s: list[str], wav_dir: Path) -> Array:
    """(n, D)."""
    with features_of_catalogue(encoder, sha256s, wav_dir, wav_dir.parent / "features", progress) as store:
        if fitted:
            encoder.fit(store.of(sha256s))
        return np.stack([vector for vector, _ in vectors_of(encoder.post, store, sha256s, encoder.dim)])


def same_sound(sha256s: list[str], wav_dir: Path) -> list[Rows]:
    """For each clip the rows of those whose sound is the same to the last bit, itself among them."""
    by_sound: defaultdict[str, list[int]] = defaultdict(list)
    digests = [sha256_of(wav_path(wav_dir, sha256)) for sha256 in sha256s]
    for row, digest in enumerate(digests):
        by_sound[digest].append(row)
    return [np.array(by_sound[digest]) for digest in digests]


def measured(
    encoder: Ready, vectors: Array, others: list[Mask], rows: list[int], disturbed: list[list[Pcm]]
) -> dict[str, float]:
    """vectors: of the whole catalogue. others: for each of the rows the clips that are not its duplicates, (n,).
    disturbed: for each of them the sounds of its COPIES.
    """
    found = np.stack([[embed(pcm, encoder).vector for pcm in of_row] for of_row in disturbed])  # (rows, COPIES, D)
    cosines = np.einsum("rcd,rd->rc", found, vectors[rows])
    nearest = [(vectors[mask] @ vectors[row]).max() for row, mask in zip(rows, others, strict=True)]
    result = {}
    for name, of_copy in zip(COPIES, cosines.T, strict=True):
        result[name] = float(of_copy.mean())
        result[f"{name}, worst"] = float(np.quantile(of_copy, WORST))
    return {**result, "AUC": auc(cosines.ravel(), np.array(nearest, np.float32))}


def not_duplicates(conversion: Conversion, wav_dir: Path, rows: list[int]) -> list[Mask]:
    """For each row (n,): all clips but those of its group, by its artist, and of the same sound."""
    truth, same = Truth.of(conversion.clips), same_sound(conversion.sha256s, wav_dir)
    masks = []
    for row in rows:
        mask = np.ones(len(conversion.clips), np.bool_)
        mask[np.concatenate([same[row], *truth.own[row]])] = False
        masks.append(mask)
    return masks


def sample(conversion: Conversion, n_clips: int) -> list[int]:
    n = len(conversion.clips)
    rows: list[int] = np.sort(np.random.default_rng(0).choice(n, min(n, n_clips), replace=False)).tolist()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("audio_dirs", type=Path, nargs="+")
    parser.add_argument("--clips", type=int, default=200, help="of each folder, that are disturbed")
    parser.add_argument("--base", action="append", default=[], metavar="NAME=FILE", help="other weights of base")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    with reported(), closing(Decoder(DEFAULT_LIMITS)) as decoder:
        for audio_dir in arguments.audio_dirs:
            wav_dir = arguments.work_dir / audio_dir.name / "wav"
            conversion = convert(audio_dir, wav_dir, progress=progress)
            chosen = sample(conversion, arguments.clips)
            others = not_duplicates(conversion, wav_dir, chosen)
            sounds = (read_wav(wav_dir, conversion.sha256s[row]) for row in chosen)
            bar = progress(sounds, total=len(chosen), stage="disturb", unit="clip")
            disturbed = [[decoder.decode(copy) for copy in copies(pcm)] for pcm in bar]
            for title, encoder, fitted in encoders(arguments.base):
                ready = Ready(encoder)
                vectors = catalogue_vectors(ready, fitted, conversion.sha256s, wav_dir)
                rows.append(
                    {"folder": audio_dir.name, "encoder": title, **measured(ready, vectors, others, chosen, disturbed)}
                )
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    header = ("folder", "encoder", *COPIES, "AUC")
    cells = [
        [
            row["folder"],
            row["encoder"],
            *(f"{row[name]:.3f} {row[f'{name}, worst']:.3f}" for name in COPIES),
            row["AUC"],
        ]
        for row in rows
    ]
    print(table(header, cells))


if __name__ == "__main__":
    main()
