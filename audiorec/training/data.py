"""Random crops of converted clips: a batch is a function of the seed and the step, so that any step can be resumed."""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from audiorec.audio import CLIP_SAMPLES, FULL_SCALE, SAMPLE_RATE_HZ, Pcm
from audiorec.audio.wav import HEADER_BYTES, wav_path
from audiorec.catalogue.convert import Row, read_conversion
from audiorec.errors import BadCatalogue

Array = npt.NDArray[np.float32]
T = TypeVar("T")

MIN_CLIPS = 8
MIN_GROUPS = 2
N_AHEAD = 4  # batches that are read while another is learnt


@dataclass(frozen=True)
class Clip:
    path: Path
    n_samples: int
    group: str


C = TypeVar("C", bound=Clip)


def read_clips(wav_dir: Path) -> list[Clip]:
    """The clips of converted sound, each file once. Raises BadCatalogue when one has gone, or there are too few."""
    clips = {row["sha256"]: _clip(row, wav_dir) for row in read_conversion(wav_dir).clips}
    n_groups = len({clip.group for clip in clips.values()})
    if len(clips) < MIN_CLIPS or n_groups < MIN_GROUPS:
        raise BadCatalogue(
            f"got {len(clips)} clips of {n_groups} groups, expected at least {MIN_CLIPS} clips of "
            f"{MIN_GROUPS} groups, to learn from some and validate on others: add clips"
        )
    return list(clips.values())


def _clip(row: Row, wav_dir: Path) -> Clip:
    """A clip without a group is one of its own: no other comes from the same recording."""
    path, n_samples = wav_path(wav_dir, row["sha256"]), round(float(row["duration_s"]) * SAMPLE_RATE_HZ)
    n_stored = (path.stat().st_size - HEADER_BYTES) // 2 if path.exists() else 0
    if not n_stored or abs(n_stored - n_samples) > 1:  # the table rounds to 0.1 ms
        raise BadCatalogue(f"got no whole {path.name} for {row['clip_id']}, expected a converted clip: convert again")
    return Clip(path, n_stored, row.get("group") or row["sha256"])


def split(clips: Sequence[C], share: float, *, seed: int) -> tuple[list[C], list[C]]:
    """(to learn from, to validate on): whole groups, drawn until the second has `share` of the clips; never none."""
    by_group: defaultdict[str, list[C]] = defaultdict(list)
    for clip in clips:
        by_group[clip.group].append(clip)
    groups = sorted(by_group)
    np.random.default_rng(seed).shuffle(groups)
    validation: list[C] = []
    while len(groups) > 1 and len(validation) < share * len(clips):
        validation += by_group[groups.pop()]
    return [clip for group in groups for clip in by_group[group]], validation


class Crops:
    """Crops of `crop_samples`; an epoch has as many of a clip as it is crops long, at least one."""

    def __init__(self, clips: Sequence[Clip], crop_samples: int, *, seed: int) -> None:
        n_crops = [max(1, round(clip.n_samples / crop_samples)) for clip in clips]
        self._clips = clips
        self._rows = np.repeat(np.arange(len(clips)), n_crops)
        self._crop_samples = crop_samples
        self._seed = seed
        self._epoch, self._order = -1, self._rows

    def __len__(self) -> int:
        """How many crops an epoch has."""
        return len(self._rows)

    def batch(self, step: int, batch_size: int, *, process: int = 0, n_processes: int = 1) -> Array:
        """A process's share of the batch of a step: (n, 1, crop_samples) float32 in [-1, 1]."""
        return self.numbered(range(step * batch_size + process, (step + 1) * batch_size, n_processes))

    def numbered(self, numbers: Iterable[int]) -> Array:
        """Crops by number, counted over epochs from the start of the training: (n, 1, crop_samples) float32."""
        return np.stack([self._crop(number) for number in numbers])[:, None]

    def _crop(self, number: int) -> Array:
        epoch, i = divmod(number, len(self))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng((self._seed, epoch)).permutation(len(self))
        clip = self._clips[self._rows[self._order[i]]]
        return crop(clip, self._crop_samples, np.random.default_rng((self._seed, epoch, i)))


def crop(clip: Clip, crop_samples: int, rng: np.random.Generator) -> Array:
    """See `random_part`."""
    return random_part(np.memmap(clip.path, "<i2", "r", offset=HEADER_BYTES), crop_samples, rng)


def random_part(pcm: Pcm, crop_samples: int, rng: np.random.Generator) -> Array:
    """Of what an encoder is given of a clip: (crop_samples,) float32 in [-1, 1]."""
    if len(pcm) < CLIP_SAMPLES:  # it repeats to fill a window
        start = int(rng.integers(len(pcm)))
        part = pcm.take(np.arange(start, start + crop_samples), mode="wrap")
    else:
        start = int(rng.integers(len(pcm) - crop_samples + 1))
        part = np.asarray(pcm[start : start + crop_samples])
    return part.astype(np.float32) / np.float32(FULL_SCALE)


def ahead(function: Callable[[int], T], items: Iterable[int]) -> Generator[T, None, None]:
    """function over items in order, some of them ahead in a thread."""
    remaining = iter(items)
    with ThreadPoolExecutor(1) as executor:
        pending: list[Future[T]] = [executor.submit(function, item) for item in islice(remaining, N_AHEAD)]
        while pending:
            done = pending.pop(0).result()
            pending += [executor.submit(function, item) for item in islice(remaining, 1)]
            yield done
