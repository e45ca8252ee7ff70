"""Pauses taken out of windows: what stays, what goes, what repeats in its place."""

import pytest
import torch
from torch import Tensor

from audiorec.audio import CLIP_SAMPLES
from audiorec.encoders import make_encoder
from audiorec.encoders.pauses import BLOCK_SAMPLES, GAP_BLOCKS, without_pauses

SOUND = 40  # blocks of noise


def noise(n_blocks: int, seed: int = 0) -> Tensor:
    """(n_blocks * BLOCK_SAMPLES,) in [-1, 1], no block of it silent."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n_blocks * BLOCK_SAMPLES, generator=generator) * 2 - 1


def silence(n_blocks: int) -> Tensor:
    return torch.zeros(n_blocks * BLOCK_SAMPLES)


def row(*parts: Tensor) -> Tensor:
    return torch.cat(parts)[None, None]


@pytest.mark.parametrize("gap", [0, 1, GAP_BLOCKS])
def test_a_gap_that_is_rhythm_stays(gap: int) -> None:
    waveform = row(noise(SOUND), silence(gap), noise(SOUND, 1), silence(gap), noise(SOUND, 2))
    assert torch.equal(without_pauses(waveform), waveform)


def test_a_longer_gap_goes_and_the_rest_repeats() -> None:
    one, other = noise(SOUND), noise(SOUND, 1)
    waveform = row(one, silence(GAP_BLOCKS + 1), other)
    expected = torch.cat([one, other, one])[: waveform.shape[2]]
    assert torch.equal(without_pauses(waveform)[0, 0], expected)


@pytest.mark.parametrize("n_before", [0, 1, 30, 200])
@pytest.mark.parametrize("n_after", [0, 3, 100])
def test_silence_at_the_ends_goes_whatever_its_length(n_before: int, n_after: int) -> None:
    waveform = row(silence(n_before), noise(SOUND), silence(n_after))
    expected = noise(SOUND).repeat(10)[: waveform.shape[2]]
    assert torch.equal(without_pauses(waveform)[0, 0], expected)


def test_a_short_clip_that_repeats_with_silence_is_the_clip_that_repeats() -> None:
    period = torch.cat([silence(250), noise(SOUND)])
    with_silence = period.repeat(8)[: 2048 * BLOCK_SAMPLES]
    alone = noise(SOUND).repeat(52)[: len(with_silence)]
    assert torch.equal(without_pauses(row(with_silence)), row(alone))


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_a_row_without_sound_stays_as_it_is(level: float) -> None:
    waveform = torch.full((2, 1, 50 * BLOCK_SAMPLES), level)
    assert torch.equal(without_pauses(waveform), waveform)


def test_what_is_60_db_quieter_is_silence_whatever_its_offset_and_the_level_of_all() -> None:
    hum = 4e-4 * noise(GAP_BLOCKS + 1, 1) + 0.1
    waveform = row(noise(SOUND), hum, noise(SOUND, 2))
    expected = torch.cat([noise(SOUND), noise(SOUND, 2), noise(SOUND)])[: waveform.shape[2]]
    for gain in (1.0, 1e-4):
        torch.testing.assert_close(without_pauses(gain * waveform)[0, 0], gain * expected)
    audible = row(noise(SOUND), 4 * hum, noise(SOUND, 2))
    assert torch.equal(without_pauses(audible), audible)


def test_rows_do_not_depend_on_each_other() -> None:
    rows = [row(silence(n), noise(100 - n, n)) for n in (0, 7, 60, 99)] + [row(silence(100))]
    together = without_pauses(torch.cat(rows))
    for i, alone in enumerate(rows):
        assert torch.equal(together[i], without_pauses(alone)[0])


def test_what_does_not_fill_a_block_is_left_out() -> None:
    assert without_pauses(torch.ones(1, 1, 3 * BLOCK_SAMPLES + 5)).shape == (1, 1, 3 * BLOCK_SAMPLES)
    assert without_pauses(torch.ones(1, 1, CLIP_SAMPLES)).shape == (1, 1, CLIP_SAMPLES)


def test_torchscript_takes_out_the_same() -> None:
    waveform = torch.cat([row(silence(n), noise(100 - n, n)) for n in (0, 40)])
    with pytest.warns(DeprecationWarning, match="script"):
        scripted = torch.jit.script(without_pauses)
    assert torch.equal(scripted(waveform), without_pauses(waveform))


def test_base_hears_no_pauses() -> None:
    base = make_encoder("base")
    hit = torch.exp(-torch.arange(4_000) / 800) * noise(4_000 // BLOCK_SAMPLES + 1)[:4_000]
    period = torch.cat([torch.zeros(16_000), hit])
    windows = torch.stack([sound.repeat(40)[:CLIP_SAMPLES] for sound in (hit, period)])[:, None]
    with torch.no_grad():
        one, other = base(windows)
    assert float(one @ other) > 0.95
