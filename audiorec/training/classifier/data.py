"""What transformers' Trainer is given: random crops to learn from, and whole windows to validate on."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from audiorec.audio import CLIP_SAMPLES, Pcm, count_windows, sounding, windows
from audiorec.encoders.wav2vec2 import WaveFront
from audiorec.training.classifier.labelled import Labelled
from audiorec.training.contrast.clips import Ids
from audiorec.training.data import random_part

Array = npt.NDArray[np.float32]

MAX_VALIDATED = 1000  # clips: more take long, and say no more
MAX_WINDOWS = 4  # of a clip, for a validation
BLOCK_WINDOWS = 16

Item = Mapping[str, Tensor]


class Crops(Dataset[Item]):
    """All crops of a run, in the order in which they are learnt: each is a function of the seed and its number alone,
    so that any step can be resumed.
    """

    def __init__(
        self, data: Labelled, rows: Ids, front: WaveFront, n_items: int, crop_samples: int, *, seed: int
    ) -> None:
        """n_items: in all epochs together."""
        self._data = data
        self._rows = rows
        self._front = front
        self._n_items = n_items
        self._crop_samples = crop_samples
        self._seed = seed
        self._epoch, self._order = -1, rows

    def __len__(self) -> int:
        return self._n_items

    def __getitem__(self, number: int) -> Item:
        epoch, i = divmod(number, len(self._rows))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng((self._seed, epoch)).permutation(self._rows)
        row = int(self._order[i])
        rng = np.random.default_rng((self._seed, epoch, i))
        return item(crop_of(self._data.clips.pcm(row), self._crop_samples, rng), self._front, self._data.targets[row])


class Windows(Dataset[Item]):
    """The first sounding windows of some clips. clip: (n,), of each window the place of its clip among `rows`."""

    def __init__(self, data: Labelled, rows: Ids, front: WaveFront, *, max_windows: int = MAX_WINDOWS) -> None:
        self._data = data
        self._front = front
        self._at: list[tuple[int, int]] = []  # (row, sample) of each
        clip: list[int] = []
        for place, row in enumerate(rows.tolist()):
            starts = heard_starts(data.clips.pcm(row), max_windows)
            self._at += [(row, start) for start in starts]
            clip += [place] * len(starts)
        self.clip = np.array(clip, np.int64)
        self.targets = data.targets[rows]

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, number: int) -> Item:
        row, start = self._at[number]
        cut = windows(self._data.clips.pcm(row)[start : start + CLIP_SAMPLES])[0]
        return item(cut, self._front, self._data.targets[row])

    def by_clip(self, scores: Array) -> Array:
        """(n, n_labels) of each window -> (n_clips, n_labels), their mean."""
        sums = np.zeros(self.targets.shape, np.float64)
        np.add.at(sums, self.clip, scores)
        means: Array = (sums / np.bincount(self.clip, minlength=len(sums))[:, None]).astype(np.float32)
        return means


def heard_starts(pcm: Pcm, max_windows: int) -> list[int]:
    """At which samples the first sounding windows of a clip begin; of a long one no more is read than that takes."""
    starts: list[int] = []
    for first in range(0, count_windows(len(pcm)), BLOCK_WINDOWS):
        part = pcm[first * CLIP_SAMPLES : (first + BLOCK_WINDOWS) * CLIP_SAMPLES]
        starts += ((first + np.flatnonzero(sounding(windows(part)))) * CLIP_SAMPLES).tolist()
        if len(starts) >= max_windows:
            break
    return starts[:max_windows]


def crop_of(pcm: Pcm, crop_samples: int, rng: np.random.Generator) -> Array:
    """A random part of what an encoder is given of a clip: (crop_samples,) float32 in [-1, 1]; not a silent one, if a
    few attempts find another.
    """
    for _ in range(4):
        cut = random_part(pcm, crop_samples, rng)
        if sounding(cut[None])[0]:
            break
    return cut


def item(cut: Array, front: WaveFront, target: Array) -> Item:
    """cut: (n_samples,) float32 in [-1, 1]; target: (n_labels,). As the model takes them."""
    return {"input_values": front(torch.from_numpy(cut)[None, None])[0], "labels": torch.from_numpy(target)}


def collated(items: Sequence[Item]) -> dict[str, Tensor]:
    return {name: torch.stack([one[name] for one in items]) for name in items[0]}
