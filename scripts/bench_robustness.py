"""What does not change a clip should not move its vector: encoders on disturbed copies of clips.

    scripts/bench_robustness.py WORK_DIR AUDIO_DIR ... [--clips 200] [--base NAME=FILE ...] [--json]

For each folder and encoder the mean cosine of a clip and its copy, and beside it that of the worst twentieth; and the
ROC-AUC of copies against the clips that are nearest to theirs, of another group and artist, and not the same recording
once more; "same" says how many of these there were, nearer than the nearest other. Copies go through the whole recipe,
from the bytes of a file on. The encoders' last steps are fitted on each folder, but for the first `base`, which is as
it comes. WORK_DIR keeps what was converted and computed.
"""

import argparse
import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from audiorec.audio import CLIP_SAMPLES, SAMPLE_RATE_HZ, Pcm
from audiorec.audio.decoder import Decoder
from audiorec.audio.wav import read_wav
from audiorec.catalogue.convert import DEFAULT_LIMITS, Conversion, convert
from audiorec.embed import embed
from audiorec.encoders import BASELINES, make_encoder
from audiorec.encoders.base import Encoder
from audiorec.evaluate import Truth
from audiorec.features import vectors_of
from audiorec.fit import EagerEncoder, features_of_catalogue
from audiorec.report import table
from audiorec.terminal import progress, reported

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
Sounds = Callable[[int], Pcm]

MP3_64 = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 1 - (64 - 8) / (160 - 8)}  # of 8 to 160
COPIES = ("MP3 64 kbit/s", "-20 dB", "1 s silence first", "22.05 kHz")
WORST = 0.05
SAME = 0.9  # of a cosine between waveforms: the same recording; noise played twice by one machine is at 0.4


class Ready(EagerEncoder):
    """An encoder of the registry as `embed` takes one."""

    n_labels = 0

    def outputs(self, cut: Array) -> Array:
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


def same_recording(one: Pcm, other: Pcm) -> bool:
    """Whether one is the other, cut, padded or scaled: the cosine of their waveforms, shifted as fits best, is SAME.

    Of long clips the first window is compared.
    """
    parts = [pcm[:CLIP_SAMPLES].astype(np.float32) for pcm in (one, other)]
    n = 2 ** int(np.ceil(np.log2(sum(map(len, parts)))))  # so that no shift wraps round
    spectrum, other_spectrum = (np.fft.rfft(part, n) for part in parts)
    highest = np.abs(np.fft.irfft(spectrum * other_spectrum.conj(), n)).max()
    return bool(highest >= SAME * np.linalg.norm(parts[0]) * np.linalg.norm(parts[1]))


def nearest_other(vectors: Array, mask: Mask, row: int, sounds: Sounds) -> tuple[float | None, int]:
    """(cosine of the nearest clip of the mask that is another recording, None where none is; how many of the same
    recording are nearer).
    """
    similarities, pcm = vectors[mask] @ vectors[row], sounds(row)
    for n_same, place in enumerate(np.argsort(-similarities)):
        if not same_recording(pcm, sounds(int(np.flatnonzero(mask)[place]))):
            return float(similarities[place]), n_same
    return None, len(similarities)


def measured(
    encoder: Ready, vectors: Array, others: list[Mask], rows: list[int], disturbed: list[list[Pcm]], sounds: Sounds
) -> dict[str, float | None]:
    """vectors: of the whole catalogue. others: for each of the rows the clips of others, (n,).
    disturbed: for each of them the sounds of its COPIES. sounds: those of the catalogue, by row.

    No AUC where nobody has others, as in a folder of one group.
    """
    found = np.stack([[embed(pcm, encoder).vector for pcm in of_row] for of_row in disturbed])  # (rows, COPIES, D)
    cosines = np.einsum("rcd,rd->rc", found, vectors[rows])
    others_found = [nearest_other(vectors, mask, row, sounds) for row, mask in zip(rows, others, strict=True)]
    nearest = np.array([similarity for similarity, _ in others_found if similarity is not None], np.float32)
    result: dict[str, float | None] = {}
    for name, of_copy in zip(COPIES, cosines.T, strict=True):
        result[name] = float(of_copy.mean())
        result[f"{name}, worst"] = float(np.quantile(of_copy, WORST))
    area = auc(cosines.ravel(), nearest) if len(nearest) else None
    return {**result, "AUC": area, "same": sum(n_same for _, n_same in others_found)}


def of_others(conversion: Conversion, rows: list[int]) -> list[Mask]:
    """For each row (n,): all clips but those of its group and by its artist."""
    truth = Truth.of(conversion.clips)
    masks = []
    for row in rows:
        mask = np.ones(len(conversion.clips), np.bool_)
        mask[np.concatenate([[row], *truth.own[row]])] = False
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
            others = of_others(conversion, chosen)
            sounds = (read_wav(wav_dir, conversion.sha256s[row]) for row in chosen)
            bar = progress(sounds, total=len(chosen), stage="disturb", unit="clip")
            disturbed = [[decoder.decode(copy) for copy in copies(pcm)] for pcm in bar]

            def sound(row: int, wav_dir: Path = wav_dir, sha256s: list[str] = conversion.sha256s) -> Pcm:
                return read_wav(wav_dir, sha256s[row])

            for title, encoder, fitted in encoders(arguments.base):
                ready = Ready(encoder)
                vectors = catalogue_vectors(ready, fitted, conversion.sha256s, wav_dir)
                figures = measured(ready, vectors, others, chosen, disturbed, sound)
                rows.append({"folder": audio_dir.name, "encoder": title, **figures})
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    header = ("folder", "encoder", *COPIES, "AUC", "same")
    cells = [
        [
            row["folder"],
            row["encoder"],
            *(f"{row[name]:.3f} {row[f'{name}, worst']:.3f}" for name in COPIES),
            "" if row["AUC"] is None else row["AUC"],
            row["same"],
        ]
        for row in rows
    ]
    print(table(header, cells))


if __name__ == "__main__":
    main()
