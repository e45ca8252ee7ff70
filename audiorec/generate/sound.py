"""A generated sound: whether it is one, and the bytes of its audio file."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from audiorec.audio import SILENCE_PEAK
from audiorec.errors import BadSetting, GenerationFailed

Samples = npt.NDArray[np.float32]

CHUNK_SAMPLES = 2**14  # libsndfile crashes when it is handed a minute of stereo Vorbis at once
RAIL = 0.99  # of full scale, where a decoder that overflows stays
CLIPPED_SHARE = 0.25  # of the samples: loud music has a hundredth of them there


@dataclass(frozen=True)
class Sound:
    """samples: (n,) mono or (n, n_channels), float32 in [-1, 1]. rate_hz: whole."""

    samples: Samples
    rate_hz: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz


@dataclass(frozen=True)
class Format:
    """A kind of audio file, as libsndfile calls it. rates_hz: those it can hold; all where there are none."""

    container: str
    subtype: str
    media_type: str
    rates_hz: tuple[int, ...] = ()


FORMATS = {  # 24 bits: what is quiet keeps its detail, as it is made louder before it is embedded
    "wav": Format("WAV", "PCM_24", "audio/wav"),
    "flac": Format("FLAC", "PCM_24", "audio/flac"),
    "mp3": Format("MP3", "MPEG_LAYER_III", "audio/mpeg", (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)),
    "opus": Format("OGG", "OPUS", "audio/ogg", (16_000, 24_000, 48_000)),
}
SUFFIXES = {".wav": "wav", ".flac": "flac", ".mp3": "mp3", ".ogg": "opus", ".opus": "opus"}


def checked(samples: npt.NDArray[Any], rate_hz: int) -> Sound:
    """samples: what a model gave, (n,) or (n, n_channels), of any amplitude; above 1 it is scaled down to 1.

    Raises GenerationFailed for what is no sound: NaN, silence, noise that is clipped all over.
    """
    if samples.size == 0:
        raise GenerationFailed("got no samples from the model, expected sound: ask for more seconds", code="no_samples")
    if not np.isfinite(samples).all():
        share = 1 - np.isfinite(samples).mean()
        raise GenerationFailed(
            f"got NaN or infinity in {share:.0%} of the samples, expected sound: "
            "compute in float32, or with less guidance",
            code="not_finite",
        )
    peak = float(np.abs(samples).max())
    swing = float(samples.max() - samples.min()) / 2  # a constant offset is no sound either
    if swing < SILENCE_PEAK:
        raise GenerationFailed(
            f"got silence from the model (peak {swing:.2g} of 1), expected sound: ask in other words, "
            "with more steps or another seed",
            code="silent",
        )
    share = float((np.abs(samples) >= RAIL).mean())
    if share > CLIPPED_SHARE:
        raise GenerationFailed(
            f"got {share:.0%} of the samples at full scale or beyond, expected at most {CLIPPED_SHARE:.0%}: "
            "it is noise that is clipped; ask with less guidance, or another seed",
            code="clipped",
        )
    return Sound((samples / max(1.0, peak)).astype(np.float32), rate_hz)


def format_of(path: Path) -> str:
    """The format that a file name asks for. Raises BadSetting."""
    found = SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise BadSetting(f"got a file name that ends in '{path.suffix}', expected one of {', '.join(SUFFIXES)}")
    return found


def encode_sound(sound: Sound, name: str = "wav") -> bytes:
    """The whole audio file. name: one of FORMATS; a rate that it cannot hold is resampled to the next one above."""
    import soundfile  # those who only want to know the formats do without

    form, buffer = FORMATS[name], io.BytesIO()
    samples, rate_hz = sound.samples, sound.rate_hz
    if form.rates_hz and rate_hz not in form.rates_hz:
        wanted_hz = next((rate for rate in form.rates_hz if rate > rate_hz), form.rates_hz[-1])
        samples, rate_hz = soxr.resample(samples, rate_hz, wanted_hz), wanted_hz
    n_channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(buffer, "w", rate_hz, n_channels, format=form.container, subtype=form.subtype) as file:
        for start in range(0, len(samples), CHUNK_SAMPLES):
            file.write(samples[start : start + CHUNK_SAMPLES])
    return buffer.getvalue()
