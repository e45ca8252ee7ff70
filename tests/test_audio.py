"""The recipe: from blocks of any rate and channels to a clip, from a clip to windows."""

from collections.abc import Iterator

import numpy as np
import pytest
from sounds import RATE_HZ, Sound, bursts, noise, tone

from audiorec.audio import CLIP_S, CLIP_SAMPLES, FULL_SCALE, MIN_CLIP_SAMPLES, Pcm, sounding, to_clip, windows
from audiorec.errors import BadAudio


def clip_of(sound: Sound, rate_hz: int = RATE_HZ, max_s: float = 60) -> Pcm:
    return to_clip([sound if sound.ndim == 2 else sound[:, None]], rate_hz, max_s=max_s)


def strongest_hz(pcm: Pcm) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(spectrum.argmax() * RATE_HZ / len(pcm))


def test_a_window_is_exactly_8192_ms() -> None:
    assert (CLIP_SAMPLES, CLIP_S) == (131_072, 8.192)


def test_a_clip_is_int16_with_its_peak_at_full_scale() -> None:
    pcm = clip_of(bursts(1.0) * 0.3)
    assert pcm.dtype == np.int16
    assert pcm.shape == (16_000,)
    assert np.abs(pcm.astype(int)).max() == FULL_SCALE == 32_767


@pytest.mark.parametrize("scale", [32_767, 32_768, 40_000])
def test_sixteen_bits_come_through_bit_for_bit(scale: int) -> None:
    pcm = np.random.default_rng(0).permutation(np.arange(-FULL_SCALE, FULL_SCALE + 1, 2)).astype(np.int16)
    np.testing.assert_array_equal(clip_of((pcm / scale).astype(np.float32)), pcm)


@pytest.mark.parametrize("gain_db", [-70, -40, -6, 40, 190])
def test_gain_does_not_matter(gain_db: float) -> None:
    loud = bursts(2.0)
    difference = clip_of(loud * np.float32(10 ** (gain_db / 20))).astype(int) - clip_of(loud)
    assert np.abs(difference).max() <= 1


def test_quantising_before_normalising_would_have_mattered() -> None:
    loud = bursts(2.0)
    quiet = loud * np.float32(10 ** (-70 / 20))
    stored_first = (np.rint(quiet * FULL_SCALE) / FULL_SCALE).astype(np.float32)
    assert np.abs(clip_of(stored_first).astype(int) - clip_of(loud)).max() > 1000


@pytest.mark.parametrize("offset", [-3.0, 0.01, 0.5])
def test_a_constant_offset_is_taken_away(offset: float) -> None:
    sound = tone(1.0, 440, peak=0.2)
    assert np.abs(clip_of(sound + np.float32(offset)).astype(int) - clip_of(sound)).max() <= 1


@pytest.mark.parametrize("rate_hz", [1_000, 8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000, 1_000_000])
def test_every_rate_keeps_length_and_pitch(rate_hz: int) -> None:
    pcm = clip_of(tone(2.0, 440, rate_hz), rate_hz)
    assert len(pcm) == 32_000
    assert strongest_hz(pcm) == pytest.approx(440, abs=0.6)


def test_what_16_khz_cannot_hold_is_filtered_out_and_not_folded_down() -> None:
    audible, ultrasonic = tone(2.0, 440, 44_100, peak=0.01), tone(2.0, 12_000, 44_100, peak=0.5)
    pcm = clip_of(audible + ultrasonic, 44_100)[RATE_HZ // 4 : -RATE_HZ // 4].astype(float)
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    folded_at = round(4_000 * len(pcm) / RATE_HZ)
    assert strongest_hz(pcm.astype(np.int16)) == pytest.approx(440, abs=2)
    assert spectrum[folded_at - 20 : folded_at + 20].max() < 1e-3 * spectrum.max()


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("block_samples", [1, 997, 65_536])
def test_how_it_was_cut_into_blocks_does_not_matter(rate_hz: int, block_samples: int) -> None:
    sound = bursts(0.5, rate_hz=rate_hz)[:, None]
    blocks = [sound[i : i + block_samples] for i in range(0, len(sound), block_samples)]
    np.testing.assert_array_equal(to_clip(blocks, rate_hz, max_s=60), clip_of(sound, rate_hz))


@pytest.mark.parametrize("n_channels", [2, 6, 64])
def test_channels_are_averaged(n_channels: int) -> None:
    channels = np.stack([noise(0.5, seed) for seed in range(n_channels)], axis=1)
    difference = clip_of(channels).astype(int) - clip_of(channels.mean(axis=1))
    assert np.abs(difference).max() <= 1


def test_a_silent_channel_and_nearly_opposite_ones_are_no_reason_to_refuse() -> None:
    sound = tone(1.0)
    np.testing.assert_array_equal(clip_of(np.stack([sound, 0 * sound], axis=1)), clip_of(sound))
    np.testing.assert_allclose(clip_of(np.stack([sound, -0.9 * sound], axis=1)), clip_of(sound), atol=1)


def with_one(value: float) -> Sound:
    sound = noise(0.5)
    sound[4_000] = value
    return sound


def only_in_the_tail() -> Sound:
    """9 s, of which the windows keep 8.192."""
    return np.concatenate([np.zeros(9 * RATE_HZ - 4_000, np.float32), noise(0.25)])


@pytest.mark.parametrize(
    ("sound", "code", "message"),
    [
        pytest.param(noise(1.0)[:0], "no_samples", "without a single sample", id="nothing"),
        pytest.param(noise(1.0)[:1], "too_short", "got 1 samples .* at least 80", id="one sample"),
        pytest.param(noise(1.0)[:79], "too_short", "got 79 samples .* at least 80", id="4.9 ms"),
        pytest.param(np.zeros(16_000, np.float32), "silent", r"peak 0 of 1.*-80 dB", id="zeros"),
        pytest.param(noise(1.0, peak=9e-5), "silent", r"peak 9e-05 of 1", id="below -80 dB"),
        pytest.param(np.full(16_000, 0.25, np.float32), "offset_only", "constant offset", id="offset"),
        pytest.param(with_one(np.nan), "not_finite", "from nan to nan.* finite", id="NaN"),
        pytest.param(with_one(np.inf), "not_finite", "to inf, expected finite", id="infinity"),
        pytest.param(with_one(-np.inf), "not_finite", "from -inf to", id="minus infinity"),
        pytest.param(with_one(1e30), "not_finite", r"to 1e\+30, expected .* about -1 to 1", id="beyond measure"),
        pytest.param(np.stack([noise(1.0), -noise(1.0)], 1), "cancelled_out", "0.5 before, 0 after", id="opposite"),
        pytest.param(
            np.stack([noise(1.0), -0.99 * noise(1.0)], 1), "cancelled_out", "0.0025 after", id="nearly opposite"
        ),
        pytest.param(only_in_the_tail(), "silent", "before its last seconds", id="sound only in the dropped tail"),
        pytest.param(noise(60.1), "too_long", "at most 60 s", id="too long"),
    ],
)
def test_what_cannot_become_a_clip_is_refused(sound: Sound, code: str, message: str) -> None:
    with pytest.raises(BadAudio, match=message) as refused:
        clip_of(sound)
    assert refused.value.code == code


@pytest.mark.parametrize("rate_hz", [-1, 0, 1, 999, 1_000_001, 2**31])
def test_a_rate_that_cannot_be_is_refused(rate_hz: int) -> None:
    with pytest.raises(BadAudio, match=f"got a sample rate of {rate_hz} Hz, expected 1000 to 1000000 Hz") as refused:
        clip_of(noise(0.5), rate_hz)
    assert refused.value.code == "bad_sample_rate"


def test_five_milliseconds_are_enough() -> None:
    assert len(clip_of(noise(0.005))) == MIN_CLIP_SAMPLES == 80


def test_sound_before_the_dropped_tail_is_enough() -> None:
    pcm = clip_of(only_in_the_tail()[::-1].copy())
    assert len(pcm) == 9 * RATE_HZ
    assert sounding(windows(pcm)).tolist() == [True]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_the_limit_is_met_exactly(rate_hz: int) -> None:
    assert len(clip_of(noise(2.0, rate_hz=rate_hz), rate_hz, max_s=2.0)) == 32_000
    with pytest.raises(BadAudio, match=r"expected at most 2 s"):
        clip_of(noise(2.01, rate_hz=rate_hz), rate_hz, max_s=2.0)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 96_000])
def test_nothing_is_read_beyond_the_limit(rate_hz: int) -> None:
    read_samples = 0

    def endless() -> Iterator[Sound]:
        nonlocal read_samples
        while True:
            read_samples += rate_hz // 10
            yield np.zeros((rate_hz // 10, 1), np.float32)

    with pytest.raises(BadAudio, match="got more, expected at most 3 s"):
        to_clip(endless(), rate_hz, max_s=3.0)
    assert 3.0 <= read_samples / rate_hz <= 3.5


@pytest.mark.parametrize(
    ("n_samples", "n_windows"),
    [
        (1, 1),
        (100, 1),
        (CLIP_SAMPLES // 2, 1),
        (CLIP_SAMPLES - 1, 1),
        (CLIP_SAMPLES, 1),
        (CLIP_SAMPLES + 1, 1),
        (CLIP_SAMPLES + CLIP_SAMPLES // 2 - 1, 1),
        (CLIP_SAMPLES + CLIP_SAMPLES // 2, 2),
        (2 * CLIP_SAMPLES, 2),
        (2 * CLIP_SAMPLES + CLIP_SAMPLES // 2 - 1, 2),
        (2 * CLIP_SAMPLES + CLIP_SAMPLES // 2, 3),
        (5 * CLIP_SAMPLES - 7, 5),
    ],
)
def test_windows_follow_each_other_and_repeat_to_the_end(n_samples: int, n_windows: int) -> None:
    pcm = np.random.default_rng(n_samples).integers(-FULL_SCALE, FULL_SCALE, n_samples, np.int16, endpoint=True)
    cut = windows(pcm)
    assert cut.dtype == np.float32
    assert cut.shape == (n_windows, CLIP_SAMPLES)
    assert cut.flags.c_contiguous
    for i, window in enumerate(cut):
        part = pcm[i * CLIP_SAMPLES :][:CLIP_SAMPLES]
        expected = part[np.arange(CLIP_SAMPLES) % len(part)] / np.float32(FULL_SCALE)
        np.testing.assert_array_equal(window, expected, err_msg=f"window {i}")
    assert np.abs(cut).max() <= 1


def test_full_scale_is_one_on_both_sides() -> None:
    np.testing.assert_array_equal(windows(np.array([FULL_SCALE, -FULL_SCALE], np.int16))[0, :2], [1, -1])


def test_a_window_60_db_under_the_peak_does_not_sound() -> None:
    cut = windows(np.repeat(np.array([FULL_SCALE, 32, -33, 0], np.int16), CLIP_SAMPLES))
    assert sounding(cut).tolist() == [True, False, True, False]
