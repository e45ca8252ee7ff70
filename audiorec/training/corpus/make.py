"""Makes the corpus: plans its shards, and fills those that are missing, in several processes."""

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from audiorec.errors import BadSetting, TrainingFailed
from audiorec.files import locked, remove_leftovers, replacing
from audiorec.progress import Progress, silent
from audiorec.training.corpus import general_midi, music, patches, real, speech
from audiorec.training.corpus.clip import Clip
from audiorec.training.corpus.shards import CORPUS_FILE, is_complete, write_shard

RECIPE_VERSION = 1  # raise it when a seed makes other clips: a corpus is not gone on with by another recipe
MAKERS = {
    "patches": patches.patches,
    "notes": general_midi.notes,
    "percussion": general_midi.percussion,
    "music": music.music,
    "speech": speech.speech,
}
SHARES = {"patches": 0.56, "notes": 0.15, "percussion": 0.08, "music": 0.08, "speech": 0.13}
SHARD_CLIPS = 480  # a multiple of the takes of every source
RECORDINGS_PER_SHARD = 300


@dataclass(frozen=True)
class Shard:
    """Which clips a shard has: `n_clips` of a source, of its own seed, or some recordings."""

    number: int
    source: str
    seed: tuple[int, ...]
    n_clips: int
    recordings: tuple[real.Recording, ...] = ()

    def clips(self) -> Iterator[Clip]:
        if self.recordings:
            return real.clips(self.recordings)
        return MAKERS[self.source](self.seed, self.n_clips)


def plan(seed: int, n_clips: int, recordings: list[real.Recording]) -> list[Shard]:
    """The shards of a corpus, source after source."""
    shards: list[Shard] = []
    for place, (source, share) in enumerate(SHARES.items()):
        n_of_source = round(share * n_clips)
        for part, start in enumerate(range(0, n_of_source, SHARD_CLIPS)):
            shards.append(Shard(len(shards), source, (seed, place, part), min(SHARD_CLIPS, n_of_source - start)))
    for start in range(0, len(recordings), RECORDINGS_PER_SHARD):
        some = tuple(recordings[start : start + RECORDINGS_PER_SHARD])
        shards.append(Shard(len(shards), "real", (seed,), len(some), some))
    return shards


def make(
    corpus_dir: Path,
    *,
    n_clips: int,
    seed: int = 0,
    data_dir: Path | None = None,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Makes a corpus of `n_clips` and the recordings of `data_dir` in `corpus_dir`, or goes on with it.

    data_dir: a folder of sets, each with a `labels.csv`; rows whose licence is not free are left out. Raises BadSetting
    for a folder with another corpus in it, for numbers out of range, and where fluidsynth, a soundfont or espeak-ng is
    missing; Busy, NoSpace, and TrainingFailed when a worker dies.
    """
    if n_clips < 1 or n_workers < 1 or seed < 0:
        raise BadSetting(
            f"got {n_clips} clips, {n_workers} workers and seed {seed}, "
            "expected at least one clip and one worker, and a seed of at least 0"
        )
    recordings = real.recordings(data_dir) if data_dir else []
    shards = plan(seed, n_clips, recordings)
    facts = {"recipe": RECIPE_VERSION, "seed": seed, "n_clips": n_clips, "n_recordings": len(recordings)}
    with locked(corpus_dir / ".lock", "the corpus"):
        remove_leftovers(corpus_dir)
        _agree(corpus_dir / CORPUS_FILE, {**facts, "n_shards": len(shards)})
        missing = [shard for shard in shards if not is_complete(corpus_dir, shard.number)]
        for _ in (progress or silent)(
            _filled(corpus_dir, missing, n_workers), total=len(missing), stage="make", unit="shard"
        ):
            pass


def _agree(path: Path, facts: dict[str, int]) -> None:
    """Writes what the corpus is; raises BadSetting when it is something else already."""
    if not path.is_file():
        with replacing(path) as file:
            file.write(json.dumps(facts, indent=1).encode())
        return
    try:
        there = json.loads(path.read_bytes())
    except ValueError:
        there = "a broken one"
    if there != facts:
        raise BadSetting(f"got a folder with another corpus in it ({there}), expected {facts}: name a new folder")


def _filled(corpus_dir: Path, shards: list[Shard], n_workers: int) -> Iterator[int]:
    """Fills shards, in any order; yields how many clips each has."""
    if n_workers == 1:
        yield from (fill(corpus_dir, shard) for shard in shards)
        return
    # a new interpreter each: the libraries that play and speak keep state of their own
    with ProcessPoolExecutor(n_workers, multiprocessing.get_context("spawn")) as executor:
        futures = [executor.submit(fill, corpus_dir, shard) for shard in shards]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise TrainingFailed(
                f"got a worker that died, expected {n_workers} that live, each with 1 GB: "
                "run the same command again with fewer workers, it goes on where it stopped",
                code="worker_died",
            ) from None
        finally:
            executor.shutdown(cancel_futures=True)


def fill(corpus_dir: Path, shard: Shard) -> int:
    """Makes one shard; returns how many clips it has."""
    return write_shard(corpus_dir, shard.number, shard.source, shard.clips())
