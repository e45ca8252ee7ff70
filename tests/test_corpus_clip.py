"""From a rendering to a clip: loudness, length, silence, and what is refused."""

import numpy as np
import pytest

from audiorec.audio import FULL_SCALE, SAMPLE_RATE_HZ
from audiorec.training.corpus.clip import MAX_S, to_pcm


def tone(length_s: float, level: float = 0.1, rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    return level * np.sin(2 * np.pi * 500 * np.arange(round(length_s * rate_hz)) / rate_hz)


@pytest.mark.parametrize("level", [1e-3, 0.1, 40.0])
def test_any_level_comes_to_full_scale(level: float) -> None:
    pcm = to_pcm(tone(0.5, level))
    assert pcm is not None
    assert pcm.dtype == np.int16
    assert np.abs(pcm).max() == FULL_SCALE


def test_silence_at_both_ends_goes() -> None:
    padded = np.concatenate([np.zeros(8000), tone(0.5), np.zeros(16000)])
    pcm = to_pcm(padded)
    assert pcm is not None
    assert 0.5 <= len(pcm) / SAMPLE_RATE_HZ <= 0.52


def test_another_rate_and_channels_are_converted() -> None:
    stereo = np.stack([tone(0.5, rate_hz=32_000)] * 2, axis=1)
    pcm = to_pcm(stereo, 32_000)
    assert pcm is not None
    assert abs(len(pcm) / SAMPLE_RATE_HZ - 0.5) < 0.01


def test_a_long_one_is_cut() -> None:
    pcm = to_pcm(tone(MAX_S + 3))
    assert pcm is not None
    assert len(pcm) == MAX_S * SAMPLE_RATE_HZ


@pytest.mark.parametrize(
    "sound",
    [np.zeros(8000), np.full(8000, 0.5), np.full(8000, np.nan), np.append(tone(0.5), np.inf), np.zeros(0), tone(0.003)],
    ids=["silence", "offset", "nan", "infinite", "empty", "too short"],
)
def test_what_cannot_be_heard_is_none(sound: np.ndarray) -> None:
    assert to_pcm(sound) is None
