"""The checkpoint that a build of a learned encoder uses: one that is given, one that is kept, or one trained now."""

from pathlib import Path

from audiorec.encoders import LEARNED_ENCODERS, check_name, make_encoder
from audiorec.errors import BadSetting
from audiorec.files import replacing
from audiorec.training.checkpoint import LAST_FILE
from audiorec.training.run import settings_of
from audiorec.training.settings import TrainingSettings, make_settings
from audiorec.training.vqvae import Say, train
from audiorec.workplace import Workplace

DEFAULT_TRAIN_MINUTES = 30.0


def check_encoder(encoder: str, checkpoint_path: Path | None) -> None:
    """What can be known before an hour of converting. Raises BadSetting, BadCheckpoint."""
    check_name(encoder)
    if checkpoint_path is None:
        return
    if encoder not in LEARNED_ENCODERS:
        raise BadSetting(f"got a checkpoint for {encoder}, which learns nothing, expected none: leave it out")
    make_encoder(encoder, checkpoint_path)


def provide_checkpoint(work: Workplace, encoder: str, given: Path | None, minutes: float, say: Say) -> None:
    """Sees to `work.checkpoint_path` for an encoder that needs one; trains it for `minutes` where there is none."""
    if encoder not in LEARNED_ENCODERS:
        return
    if given is not None:
        _keep(given, work)
    elif not work.checkpoint_path.exists():
        settings, resume = _settings(work.training_dir / LAST_FILE, minutes)
        with work.timed("train"):
            _keep(train(work.wav_dir, work.training_dir, settings, resume=resume, say=say).best_path, work)


def _keep(path: Path, work: Workplace) -> None:
    with replacing(work.checkpoint_path, durable=True) as file:
        file.write(path.read_bytes())


def _settings(last_path: Path, minutes: float) -> tuple[TrainingSettings, bool]:
    """(settings, whether to resume): a training that was interrupted goes on as it began."""
    if not last_path.exists():
        return make_settings({"minutes": minutes}), False
    return settings_of(last_path), True
