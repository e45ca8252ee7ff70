"""Converted clips on disk: 16-bit mono WAV at 16 kHz, each named by the SHA-256 of the file that it came from."""

import wave
from pathlib import Path
from typing import Any

import numpy as np

from audiorec.audio import SAMPLE_RATE_HZ, Pcm, too_long
from audiorec.audio.decode import decode
from audiorec.audio.tags import read_tags
from audiorec.errors import BadAudio
from audiorec.files import replacing, sha256_of, writing_to_disk

HEADER_BYTES = 44


def wav_path(wav_dir: Path, sha256: str) -> Path:
    """Two levels, because a folder of a million files is slow to open."""
    return wav_dir / sha256[:2] / f"{sha256}.wav"


def convert_file(path: Path, wav_dir: Path, *, max_s: float) -> dict[str, Any]:
    """Converts one file, unless the same bytes were converted before.

    Returns {"sha256", "n_samples" (at 16 kHz), "tags": {"artist", ...}}. Raises BadAudio, NoSpace, OSError.
    """
    sha256 = sha256_of(path)
    target = wav_path(wav_dir, sha256)
    n_samples = _n_samples(target)
    if n_samples > max_s * SAMPLE_RATE_HZ:  # it was converted under a higher limit
        raise too_long(max_s, n_samples / SAMPLE_RATE_HZ)
    if not n_samples:
        pcm = decode(path, max_s=max_s)
        n_samples = len(pcm)
        with writing_to_disk(target.name):
            target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file, wave.open(file, "wb") as wav:
            wav.setparams((1, 2, SAMPLE_RATE_HZ, n_samples, "NONE", ""))
            wav.writeframesraw(pcm.astype("<i2", copy=False).data)
    return {"sha256": sha256, "n_samples": n_samples, "tags": read_tags(path)}


def _n_samples(path: Path) -> int:
    """0 where there is no whole file."""
    try:
        with wave.open(str(path), "rb") as wav:
            n_samples = wav.getnframes()
    except (OSError, EOFError, wave.Error):
        return 0
    return n_samples if is_converted(path, n_samples) else 0


def is_converted(path: Path, n_samples: int) -> bool:
    """Whether a converted clip is there and whole, by its size: disks fill up, and power fails."""
    try:
        return path.stat().st_size == HEADER_BYTES + 2 * n_samples
    except OSError:
        return False


def read_wav(wav_dir: Path, sha256: str) -> Pcm:
    """A converted clip: (n_samples,) int16. Raises BadAudio when it has gone or is not one of ours."""
    path = wav_path(wav_dir, sha256)
    try:
        with wave.open(str(path), "rb") as wav:
            ours = (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) == (1, 2, SAMPLE_RATE_HZ)
            if ours and is_converted(path, wav.getnframes()):
                return np.frombuffer(wav.readframes(wav.getnframes()), "<i2")
    except (OSError, EOFError, wave.Error):
        pass
    raise BadAudio(
        f"got no readable 16 kHz mono WAV at {path.name}, expected a converted clip: run `audiorec convert` again",
        code="not_converted",
    )
