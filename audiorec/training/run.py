"""A training as a person asks for it: from a folder of clips, with settings from here and there, new or resumed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from audiorec.catalogue.convert import CLIPS_FILE, convert
from audiorec.encoders.vqvae.weights import config_of, read_checkpoint
from audiorec.errors import BadCheckpoint, BadSetting
from audiorec.progress import Progress, silent
from audiorec.publishing.workplace import Workplace
from audiorec.training.checkpoint import LAST_FILE
from audiorec.training.loop import Say, unsaid
from audiorec.training.settings import TrainingSettings, make_settings
from audiorec.training.vqvae import Trained, train


def run(
    audio_dir: Path,
    out_dir: Path,
    given: Mapping[str, Any],
    *,
    config_path: Path | None = None,
    preset: str | None = None,
    start_from: Path | None = None,
    resume: bool = False,
    n_threads: int | None = None,
    progress: Progress = silent,
    say: Say = unsaid,
) -> Trained:
    """given: fields of TrainingSettings, None where nothing was said. audio_dir: clips, converted or not.

    A resumed run has the settings it began with; saying others is refused. A warm start has the model of its
    checkpoint, unless a config or preset is named. Raises what `train` does.
    """
    if resume and start_from is not None:
        raise BadSetting("got --resume and --from, expected one: the same run goes on, or another begins")
    began = settings_of(out_dir / LAST_FILE).model_dump(exclude_none=True) if resume else {}
    if start_from is not None and config_path is None and preset is None:
        began = {"model": config_of(read_checkpoint(start_from))}
    settings = make_settings(given, began=began, config_path=config_path, preset=preset)
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    wav_dir = converted(audio_dir, out_dir, progress=progress)
    return train(wav_dir, out_dir, settings, start_from=start_from, resume=resume, say=say)


def converted(audio_dir: Path, out_dir: Path, *, progress: Progress = silent) -> Path:
    """The converted clips of a folder: its own, those of a model directory, else converted now, to OUT/wav."""
    for wav_dir in (audio_dir, Workplace(audio_dir).wav_dir):
        if (wav_dir / CLIPS_FILE).exists():
            return wav_dir
    if dist.is_torchelastic_launched():
        raise BadSetting(f"got {audio_dir} under torchrun, expected converted clips: run `audiorec convert` first")
    convert(audio_dir, out_dir / "wav", progress=progress)
    return out_dir / "wav"


def settings_of(last_path: Path) -> TrainingSettings:
    """What a run began with. Raises BadCheckpoint."""
    stored = read_checkpoint(last_path)
    try:
        return TrainingSettings.model_validate(stored["settings"])
    except (KeyError, ValueError):
        raise BadCheckpoint(f"got a {last_path.name} without whole settings, expected a run's: begin another") from None
