"""What a run tells while it runs: `log.jsonl`, and TensorBoard where it is installed."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.audio.mel import HOP_SAMPLES, LOG_FLOOR, N_FFT, N_MELS
from audiorec.files import replacing, writing_to_disk
from audiorec.torchaudio_cpu import torchaudio

LOG_FILE = "log.jsonl"
GRIFFIN_LIM_ROUNDS = 32


class Logs:
    """A line of figures a step that is logged; with TensorBoard also pictures and sounds."""

    def __init__(self, directory: Path, last_step: int | None = None) -> None:
        """last_step: of a run that goes on. What it logged of later ones before it was killed is forgotten, for they
        are done again.
        """
        self._path = directory / LOG_FILE
        if last_step is not None:
            _forget_after(last_step, self._path)
        self._board = _tensorboard(directory / "tensorboard", None if last_step is None else last_step + 1)

    @property
    def has_board(self) -> bool:
        return self._board is not None

    def figures(self, step: int, figures: dict[str, float]) -> None:
        with writing_to_disk(LOG_FILE), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **{name: round(value, 6) for name, value in figures.items()}}) + "\n")
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)

    def reconstructions(self, step: int, before: Tensor, after: Tensor) -> None:
        """before, after: (N, 80, n_frames) log-mel. A picture and two sounds each."""
        if self._board is None:
            return
        for i, (one, other) in enumerate(zip(before.cpu(), after.cpu(), strict=True)):
            self._board.add_image(f"reconstruction/{i}", side_by_side(one, other), step, dataformats="HW")
            for name, log_mel in (("input", one), ("reconstruction", other)):
                self._board.add_audio(f"{name}/{i}", sound_of(log_mel), step, sample_rate=SAMPLE_RATE_HZ)

    def sounds(self, step: int, sounds: Mapping[str, Tensor], rate_hz: int) -> None:
        """sounds: (1, n_samples) in [-1, 1], by what they are called."""
        if self._board is not None:
            for name, sound in sounds.items():
                self._board.add_audio(name, sound.clamp(-1, 1), step, sample_rate=rate_hz)

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()


def _forget_after(step: int, path: Path) -> None:
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        with replacing(path) as file:
            file.writelines(line for line in lines if line.endswith(b"\n") and _step_of(line) <= step)


def _step_of(line: bytes) -> float:
    """Of a line of the log; infinite for one that was not written to its end."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return math.inf


def _tensorboard(directory: Path, purge_step: int | None) -> Any:
    """A SummaryWriter; None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    with writing_to_disk("the TensorBoard logs"):
        return SummaryWriter(str(directory), purge_step=purge_step)


def side_by_side(before: Tensor, after: Tensor) -> Tensor:
    """Two (80, n_frames) log-mels as one picture, low bands at the bottom: (80, 2 n_frames + 2) in [0, 1]."""
    low, high = before.min(), before.max()
    gap = high.expand(len(before), 2)
    picture = torch.cat([before, gap, after], dim=1).flip(0)
    return ((picture - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)


def sound_of(log_mel: Tensor) -> Tensor:
    """(80, n_frames) to (1, n_samples), phases by Griffin & Lim, "Signal estimation from modified STFT", 1984."""
    inverse_mel = torchaudio.transforms.InverseMelScale(N_FFT // 2 + 1, N_MELS, SAMPLE_RATE_HZ, driver="gelsd")
    griffin_lim = torchaudio.transforms.GriffinLim(N_FFT, GRIFFIN_LIM_ROUNDS, hop_length=HOP_SAMPLES)
    power = (log_mel.exp() - LOG_FLOOR).clamp(min=0)
    with torch.random.fork_rng(devices=[]):  # it begins with random phases: they must not be those of the training
        sound: Tensor = griffin_lim(inverse_mel(power))
    return (sound / sound.abs().max().clamp(min=1e-6))[None]
