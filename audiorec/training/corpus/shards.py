"""The corpus on disk: shards, each a function of the seed and its number, written whole or not at all.

corpus.json              format, seed, n_clips and what they were made from
00007.pcm.npy            int16, the clips of a shard one after another
00007.parameters.npy     float16 (n_clips, N_PARAMETERS), NaN where a clip has none
00007.tsv                offset, n_samples, source, label, instance, take, licence, credit; written last
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audiorec.errors import BadCatalogue, BadModelDir
from audiorec.files import replacing
from audiorec.files.tsv import read_tsv, tsv_line
from audiorec.training.corpus.clip import Clip
from audiorec.training.corpus.patch import N_PARAMETERS

CORPUS_FILE = "corpus.json"
WORD_COLUMNS = ("source", "label", "instance", "take", "licence", "credit")
COLUMNS = ("offset", "n_samples", *WORD_COLUMNS)


def shard_paths(corpus_dir: Path, number: int) -> tuple[Path, Path, Path]:
    """(sound, parameters, table) of a shard."""
    name = f"{number:05d}"
    return corpus_dir / f"{name}.pcm.npy", corpus_dir / f"{name}.parameters.npy", corpus_dir / f"{name}.tsv"


def is_complete(corpus_dir: Path, number: int) -> bool:
    """Whether a shard is there: its table comes last."""
    return shard_paths(corpus_dir, number)[2].is_file()


def write_shard(corpus_dir: Path, number: int, source: str, clips: Iterable[Clip]) -> int:
    """Writes the clips as a shard; returns how many. Raises NoSpace."""
    kept = list(clips)
    sound_path, parameters_path, table_path = shard_paths(corpus_dir, number)
    parameters = np.full((len(kept), N_PARAMETERS), np.nan, np.float16)
    lines, offset = [tsv_line(COLUMNS)], 0
    for row, clip in enumerate(kept):
        few = clip.parameters[:N_PARAMETERS]
        parameters[row, : len(few)] = few
        n_samples = len(clip.pcm)
        where = (str(offset), str(n_samples), source)
        lines.append(tsv_line((*where, clip.label, clip.instance, clip.take, clip.licence, clip.credit)))
        offset += n_samples
    sound = np.concatenate([clip.pcm for clip in kept]) if kept else np.zeros(0, np.int16)
    for path, array in ((sound_path, sound), (parameters_path, parameters)):
        with replacing(path) as file:
            np.save(file, array)
    with replacing(table_path) as file:
        file.write(b"".join(lines))
    return len(kept)


@dataclass(frozen=True)
class ShardData:
    """rows: {column: text} of each clip. sound: int16, mapped. parameters: (n_clips, N_PARAMETERS) float16."""

    rows: list[dict[str, str]]
    sound: npt.NDArray[np.int16]
    parameters: npt.NDArray[np.float16]


def read_shard(corpus_dir: Path, number: int) -> ShardData:
    """A shard that has been written. Raises BadCatalogue when it is missing or broken."""
    sound_path, parameters_path, table_path = shard_paths(corpus_dir, number)
    try:
        data = ShardData(list(read_tsv(table_path)), np.load(sound_path, mmap_mode="r"), np.load(parameters_path))
        if len(data.sound) != sum(int(row["n_samples"]) for row in data.rows):
            raise ValueError("the table and the sound differ in length")
        if data.parameters.shape != (len(data.rows), N_PARAMETERS):
            raise ValueError("the table and the parameters differ in length")
    except (OSError, EOFError, ValueError, KeyError, BadModelDir) as error:
        raise BadCatalogue(
            f"got shard {number} missing or broken ({error}), expected a whole corpus: "
            f"delete {table_path.name} if it is there, and make the corpus again, it goes on where it stopped"
        ) from None
    return data
