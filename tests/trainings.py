"""Small trainings: converted clips without a decoder, a model that learns in milliseconds."""

import resource
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sounds import bursts, noise, tone

from audiorec.audio import SAMPLE_RATE_HZ, to_clip
from audiorec.audio.wav import wav_path
from audiorec.catalogue.convert import CLIPS_FILE, REFUSED_FILE, write_refused, write_rows
from audiorec.encoders.convnet import ConvNetConfig
from audiorec.encoders.vqvae.config import VQVAEConfig
from audiorec.metadata import CORE_COLUMNS
from audiorec.training.contrast.settings import ContrastSettings
from audiorec.training.settings import TrainingSettings

TINY = VQVAEConfig(
    channels=8, block_channels=4, code_dim=8, n_top_codes=8, n_top_books=2, n_bottom_codes=16, n_bottom_books=1
)
TINY_CONV = ConvNetConfig(widths=(2, 4, 4, 8), n_blocks=(0, 0, 1, 0), dim=8)


def settings(**fields: Any) -> TrainingSettings:
    said = {"epochs": 1, "batch_size": 4, "validate_steps": 4, "model": TINY, **fields}
    if said.keys() & {"minutes", "cpu_minutes", "steps"}:
        del said["epochs"]
    return TrainingSettings.model_validate(said)


def contrast_settings(**fields: Any) -> ContrastSettings:
    said = {"epochs": 4, "batch_size": 8, "crop_samples": 2**13, "validate_steps": 3, "validation_share": 0.3}
    said |= {"model": TINY_CONV, **fields}
    if said.keys() & {"minutes", "cpu_minutes", "steps"}:
        del said["epochs"]
    return ContrastSettings.model_validate(said)


def make_wavs(wav_dir: Path, n_clips: int = 12, *, group_size: int = 1, labelled: bool = False) -> Path:
    """Tones, noises and bursts of 0.3 to 12 s as `convert` leaves them; group_size clips share a group."""
    rows = []
    for i in range(n_clips):
        seconds = 12.0 if i == 1 else 0.3 + 0.2 * i
        sound = [tone(seconds, 110.0 * (i + 1)), noise(seconds, i), bursts(seconds, i)][i % 3]
        pcm = to_clip([sound[:, None]], SAMPLE_RATE_HZ, max_s=60)
        sha256 = f"{i:064x}"
        path = wav_path(wav_dir, sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as wav:
            wav.setparams((1, 2, SAMPLE_RATE_HZ, len(pcm), "NONE", ""))
            wav.writeframes(pcm.tobytes())
        duration_s = f"{len(pcm) / SAMPLE_RATE_HZ:.4f}"
        group = f"group {i // group_size}"
        label = ("tone", "noise", "burst")[i % 3] if labelled else ""
        row = {"clip_id": f"{i:02d}.wav", "sha256": sha256, "duration_s": duration_s, "group": group, "label": label}
        rows.append(row)
    write_rows(wav_dir / CLIPS_FILE, [*CORE_COLUMNS, "group"], rows)
    write_refused(wav_dir / REFUSED_FILE, [])
    return wav_dir


@contextmanager
def one_thread() -> Iterator[None]:
    """Several threads for a thing this small only wait for each other."""
    kept = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(kept)


@contextmanager
def disk_of(n_bytes: int) -> Iterator[None]:
    """No file can grow beyond this many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def log_mels(n: int, n_frames: int = 257, *, seed: int = 0) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """(n, 80, n_frames) of numbers like those of real ones."""
    rng = np.random.default_rng(seed)
    return rng.normal(-5, 3, (n, 80, n_frames)).astype(np.float32)
