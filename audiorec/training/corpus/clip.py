"""One clip of the corpus: its sound, and what is known about it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audiorec.audio import FULL_SCALE, SAMPLE_RATE_HZ, Pcm, to_clip
from audiorec.errors import BadAudio

MAX_S = 12.0
MIN_S = 0.01
QUIET = 10 ** (-55 / 20)  # under the peak: what is trimmed off both ends
MARGIN_SAMPLES = SAMPLE_RATE_HZ // 200
OWN_LICENCE = "CC0-1.0"


@dataclass(frozen=True)
class Clip:
    """pcm: (n_samples,) int16, peak-normalised, without silence at its ends.

    label: what it is ("kick", "trumpet", "cumbia", the word that is said). instance: clips of one instance are
    positives for each other (a patch, a phrase on an instrument, a word). take: what differs between them (a kit, a
    voice, a player). credit: who made it and where it comes from. parameters: of a patch, in [0, 1].
    """

    pcm: Pcm
    label: str
    instance: str
    take: str
    licence: str = OWN_LICENCE
    credit: str = "audiorec"
    parameters: tuple[float, ...] = ()


def name_of(kind: str, seed: Sequence[int], number: int) -> str:
    """The name of an instance, told apart by the seed of its shard and its number there."""
    return f"{kind}/{'-'.join(map(str, seed))}/{number}"


def to_pcm(sound: npt.ArrayLike, rate_hz: int = SAMPLE_RATE_HZ) -> Pcm | None:
    """(n_samples,) or (n_samples, n_channels) of any level as a clip's PCM; None where there is nothing to hear."""
    samples = np.asarray(sound, np.float32)
    blocks = [samples if samples.ndim == 2 else samples[:, None]]
    try:
        pcm = trimmed(to_clip(blocks, rate_hz, max_s=60.0))
    except BadAudio:
        return None
    return pcm if len(pcm) / SAMPLE_RATE_HZ >= MIN_S else None


def trimmed(pcm: Pcm) -> Pcm:
    """Without what is 55 dB under the peak at either end, 5 ms of it left; at most MAX_S of it."""
    loud = np.flatnonzero(np.abs(pcm) > QUIET * FULL_SCALE)
    start = max(loud[0] - MARGIN_SAMPLES, 0)
    return pcm[start : loud[-1] + 1 + MARGIN_SAMPLES][: round(MAX_S * SAMPLE_RATE_HZ)]
