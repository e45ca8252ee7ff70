"""Synthetic sounds for tests: the same in every run, made where they are used."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

RATE_HZ = 16_000
BAD = {  # a file of formats/bad -> the reason that it is refused for
    "claims_4_gigabytes.wav": "lying_header",
    "dc_offset_only.wav": "offset_only",
    "empty.wav": "empty",
    "header_only.wav": "no_samples",
    "nan_and_inf.wav": "not_finite",
    "picture.wav": "picture",
    "silence.wav": "silent",
    "ten_hours_of_silence.flac": "too_long",
    "text.mp3": "text",
    "truncated.flac": "truncated",
    "video_without_audio.mp4": "no_audio_stream",
    "zero_sample_rate.wav": "bad_sample_rate",
}

Sound = npt.NDArray[np.float32]  # (n_samples,) or (n_samples, n_channels)


def tone(length_s: float, hz: float = 440.0, rate_hz: int = RATE_HZ, peak: float = 0.5) -> Sound:
    """A sine that begins at zero: (n_samples,)."""
    time_s = np.arange(round(length_s * rate_hz)) / rate_hz
    return (peak * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def noise(length_s: float, seed: int = 0, rate_hz: int = RATE_HZ, peak: float = 0.5) -> Sound:
    """White noise whose loudest sample is `peak`: (n_samples,)."""
    return _at_peak(np.random.default_rng(seed).standard_normal(round(length_s * rate_hz)), peak)


def bursts(length_s: float, seed: int = 0, rate_hz: int = RATE_HZ, peak: float = 0.5) -> Sound:
    """Noise that dies away, four times a second: (n_samples,)."""
    since_s = np.arange(round(length_s * rate_hz)) / rate_hz % 0.25
    return _at_peak(noise(length_s, seed, rate_hz) * np.exp(-20 * since_s), peak)


def _at_peak(sound: npt.NDArray[np.floating], peak: float) -> Sound:
    scaled: Sound = (sound * (peak / np.abs(sound).max())).astype(np.float32)
    return scaled


def encoded(
    sound: Sound | npt.NDArray[np.int16], rate_hz: int = RATE_HZ, container: str = "WAV", subtype: str | None = None
) -> bytes:
    """The bytes of a sound file."""
    file = io.BytesIO()
    soundfile.write(file, sound, rate_hz, format=container, subtype=subtype)
    return file.getvalue()


@cache
def silent_flac(length_s: int, *, length_known: bool = True) -> bytes:
    """Silence in 3 bytes a second; without a length, as written to a pipe, only decoding tells how long it is."""
    sound = bytearray(encoded(np.zeros(length_s * 1000, np.int16), 1000, "FLAC"))
    if not length_known:
        assert sound[:5] == b"fLaC\0"
        sound[21] &= 0xF0  # the last 36 of the 144 bits in STREAMINFO from byte 18 on count the samples; 0 is unknown
        sound[22:26] = bytes(4)
    return bytes(sound)


def make_clips(folder: Path) -> Path:
    """Six clips in three formats and two labels, and a file that is none."""
    for label in ("noises", "tones"):
        (folder / label).mkdir(parents=True)
    (folder / "tones/low.wav").write_bytes(encoded(tone(0.6, 220)))
    (folder / "tones/high.flac").write_bytes(encoded(tone(0.5, 1760, 44_100), 44_100, "FLAC"))
    (folder / "tones/höher.ogg").write_bytes(encoded(tone(0.7, 3520, 48_000), 48_000, "OGG"))
    (folder / "noises/white.wav").write_bytes(encoded(noise(0.4, 1)))
    (folder / "noises/bursts.wav").write_bytes(encoded(bursts(9.0, 2, 8_000), 8_000))
    (folder / "noises/long.flac").write_bytes(encoded(bursts(13.0, 3), RATE_HZ, "FLAC"))
    (folder / "noises/broken.wav").write_bytes(b"RIFF, said the text")
    return folder
