"""What a contrastive training learns from: clips of a corpus or of a converted folder, and what is known of them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiorec.audio import Pcm
from audiorec.audio.wav import HEADER_BYTES
from audiorec.catalogue.convert import read_conversion
from audiorec.errors import BadCatalogue, BadSetting
from audiorec.metadata import split_labels
from audiorec.training.corpus.reader import Corpus
from audiorec.training.data import MIN_CLIPS, MIN_GROUPS, read_clips

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Clips:
    """pcm: a clip's sound by row, (n_samples,) int16. truth: what `evaluate.Truth.of` takes, a row a clip.

    source, instance, group: (n,) int64. Takes of an instance belong together; clips of a group are held back together.
    """

    pcm: Callable[[int], Pcm]
    truth: Sequence[dict[str, str]]
    labels: Sequence[tuple[str, ...]]
    source: Ids
    instance: Ids
    group: Ids

    def __len__(self) -> int:
        return len(self.source)

    def sha256(self) -> str:
        """Other clips, labels or groups, another one."""
        known = [[row.get(name, "") for name in ("sha256", "label", "group", "artist")] for row in self.truth]
        return hashlib.sha256(json.dumps([known, self.group.tolist()]).encode()).hexdigest()

    def of(self, rows: Ids) -> "Clips":
        """Some of them, by row."""
        numbers = rows.tolist()
        return Clips(
            lambda row: self.pcm(int(rows[row])),
            [self.truth[row] for row in numbers],
            [self.labels[row] for row in numbers],
            _numbered(self.source[rows]),
            _numbered(self.instance[rows]),
            _numbered(self.group[rows]),
        )


def from_corpus(corpus: Corpus, leave_out: Sequence[str] = ()) -> Clips:
    """leave_out: names of sources. Raises BadSetting for one that there is not."""
    names = corpus.source.names.tolist()
    if unknown := set(leave_out) - set(names):
        raise BadSetting(f"got leave_out = {', '.join(sorted(unknown))}, expected of {', '.join(names)}")
    rows = np.flatnonzero(~np.isin(corpus.source.names[corpus.source.ids], list(leave_out)))
    source = corpus.source.ids[rows]
    # an instance is one of its source: "kick" of percussion and of speech are not the same thing
    instance = _numbered(source * len(corpus.instance.names) + corpus.instance.ids[rows])
    labels = corpus.label.names[corpus.label.ids[rows]].tolist()
    truth = [{"label": label, "group": str(one)} for label, one in zip(labels, instance.tolist(), strict=True)]
    split = [tuple(filter(None, [label])) for label in labels]
    return Clips(lambda row: corpus[int(rows[row])], truth, split, _numbered(source), instance, instance)


def from_wavs(wav_dir: Path) -> Clips:
    """Converted clips, each its own instance: two clips of a recording are not the same sound. Raises BadCatalogue."""
    files = {clip.path.stem: clip for clip in read_clips(wav_dir)}
    by_sha256: dict[str, dict[str, Any]] = {row["sha256"]: dict(row) for row in read_conversion(wav_dir).clips}
    truth = [by_sha256[sha256] for sha256 in files]
    paths = [clip.path for clip in files.values()]
    return Clips(
        lambda row: np.memmap(paths[row], "<i2", "r", offset=HEADER_BYTES),
        truth,
        [tuple(dict.fromkeys(split_labels(row.get("label", "")))) for row in truth],
        np.zeros(len(paths), np.int64),
        np.arange(len(paths)),
        _numbered([clip.group for clip in files.values()]),
    )


def held_back(clips: Clips, share: float, *, seed: int) -> tuple[Ids, Ids]:
    """(rows to learn from, rows to validate on): whole groups, until the second has `share` of the clips.

    Raises BadCatalogue when there are too few.
    """
    n_groups = int(clips.group.max()) + 1 if len(clips) else 0
    if len(clips) < MIN_CLIPS or n_groups < MIN_GROUPS:
        raise BadCatalogue(
            f"got {len(clips)} clips of {n_groups} groups to learn from and to validate on, expected at least "
            f"{MIN_CLIPS} clips of {MIN_GROUPS} groups: add clips of other groups, or hold back fewer"
        )
    sizes = np.bincount(clips.group)
    order = np.random.default_rng(seed).permutation(n_groups)
    n_held = 1 + int(np.searchsorted(np.cumsum(sizes[order]), share * len(clips)))
    held = np.isin(clips.group, order[: min(n_held, n_groups - 1)])
    return np.flatnonzero(~held), np.flatnonzero(held)


def _numbered(names: Any) -> Ids:
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)
