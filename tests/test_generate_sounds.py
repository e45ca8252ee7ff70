"""Generated samples: which are a sound, and the files that hold them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import noise, tone

from audiorec.audio.decoder import Decoder
from audiorec.errors import BadSetting, GenerationFailed
from audiorec.generate.sound import FORMATS, SUFFIXES, Sound, checked, encode_sound, format_of


def failure(samples: Any) -> GenerationFailed:
    with pytest.raises(GenerationFailed) as failed:
        checked(samples, 16_000)
    return failed.value


def test_a_sound_is_as_it_was() -> None:
    samples = tone(1.0, peak=0.25)
    sound = checked(samples, 16_000)
    assert np.array_equal(sound.samples, samples)
    assert sound.samples.dtype == np.float32
    assert (sound.rate_hz, sound.duration_s) == (16_000, 1.0)


def test_what_is_too_loud_is_scaled() -> None:
    samples = noise(1.0, peak=3.0) ** 3
    sound = checked(samples, 16_000)
    assert np.abs(sound.samples).max() == pytest.approx(1)
    assert np.allclose(sound.samples * np.abs(samples).max(), samples, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad: float) -> None:
    samples = tone(1.0)
    samples[100] = bad
    failed = failure(samples)
    assert failed.code == "not_finite"
    assert failed.message.startswith("got NaN or infinity in 0% of the samples, expected sound")
    assert failure(np.full((100, 2), bad)).message.startswith("got NaN or infinity in 100%")


@pytest.mark.parametrize("samples", [np.zeros(16_000), np.full(16_000, 0.5), tone(1.0, peak=5e-5), np.zeros((100, 2))])
def test_silence(samples: Any) -> None:
    assert failure(samples).code == "silent"


def test_noise_that_is_clipped() -> None:
    failed = failure(np.clip(noise(1.0, peak=20.0), -1, 1))
    assert failed.code == "clipped"
    assert "of the samples at full scale or beyond, expected at most 25%" in failed.message
    assert failure(noise(1.0, peak=20.0)).code == "clipped"


def test_nothing() -> None:
    assert failure(np.zeros(0)).code == "no_samples"


def test_loud_music_is_a_sound() -> None:
    loud = np.clip(tone(1.0, peak=1.02), -1, 1)
    assert (np.abs(loud) >= 0.99).mean() > 0.1
    assert checked(loud, 16_000).duration_s == 1.0


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 32_000, 44_100])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_every_format_holds_every_rate(name: str, rate_hz: int, n_channels: int) -> None:
    samples = tone(1.0, 440, rate_hz)
    if n_channels == 2:
        samples = np.stack([samples, tone(1.0, 660, rate_hz)], axis=1)
    content = encode_sound(Sound(samples, rate_hz), name)
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert (file.format, file.channels) == (FORMATS[name].container, n_channels)
        assert file.samplerate >= rate_hz
        read = file.read()
        assert len(read) / file.samplerate == pytest.approx(1.0, abs=0.1)
    left = read if n_channels == 1 else read[:, 0]
    spectrum = np.abs(np.fft.rfft(left))
    assert np.fft.rfftfreq(len(left), 1 / file.samplerate)[spectrum.argmax()] == pytest.approx(440, abs=2)


def test_a_whole_minute_of_stereo() -> None:
    samples = np.stack([noise(60, 1, 44_100), noise(60, 2, 44_100)], axis=1)
    for name in ("opus", "flac"):
        assert soundfile.info(io.BytesIO(encode_sound(Sound(samples, 44_100), name))).duration == pytest.approx(60)


def test_what_is_quiet_keeps_its_detail(decoder: Decoder) -> None:
    loud, quiet = (decoder.decode(encode_sound(Sound(peak * tone(1.0), 16_000))) for peak in (1.0, 0.001))
    assert np.abs(loud.astype(int) - quiet).max() <= 16  # at 16 bits it would be hundreds


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_formats_by_suffix(suffix: str) -> None:
    assert format_of(Path(f"a.b/c.d{suffix.upper()}")) in FORMATS


@pytest.mark.parametrize("name", ["sound", "sound.m4a", ".wav", "sound.wav.txt"])
def test_other_suffixes(name: str) -> None:
    with pytest.raises(BadSetting, match=r"expected one of \.wav, \.flac, \.mp3, \.ogg, \.opus"):
        format_of(Path(name))
