"""The checkpoint that a build uses: one that is given, one that is kept, one trained now, or none."""

from pathlib import Path

from audiorec.encoders import LEARNED_ENCODERS, PRETRAINED_ENCODERS, check_name, make_encoder, takes_checkpoint
from audiorec.encoders.classifier import Classifier, keep_classifier
from audiorec.encoders.frozen import layer_of
from audiorec.encoders.pretrained import Base
from audiorec.errors import BadSetting
from audiorec.files import replacing
from audiorec.publishing.workplace import Workplace
from audiorec.training.checkpoint import LAST_FILE
from audiorec.training.loop import Say
from audiorec.training.run import settings_of
from audiorec.training.settings import TrainingSettings, make_settings
from audiorec.training.vqvae import train

DEFAULT_TRAIN_MINUTES = 30.0
SHIPPED = Path(Base.name)  # as a checkpoint of `base`: its own weights again


def check_encoder(work: Workplace, encoder: str, checkpoint_path: Path | None, layer: int | None = None) -> None:
    """What can be known before an hour of converting. Raises BadSetting, BadCheckpoint."""
    check_name(encoder)
    if encoder == Classifier.name:
        classifier_at(work, checkpoint_path, layer)
        return
    if checkpoint_path is None or _is_shipped(encoder, checkpoint_path):
        return
    if not takes_checkpoint(encoder):
        raise BadSetting(f"got a checkpoint for {encoder}, which learns nothing, expected none: leave it out")
    make_encoder(encoder, checkpoint_path)


def provide_checkpoint(
    work: Workplace, encoder: str, given: Path | None, minutes: float, say: Say, *, layer: int | None = None
) -> None:
    """Keeps a checkpoint that is given, for this build and the next; trains one for an encoder that needs it and has
    none, for `minutes`. layer: of a classifier, to give the vector in place of the one that was measured.
    """
    if encoder == Classifier.name:
        if given is not None or layer is not None:
            keep_classifier(given or work.classifier_path, work.classifier_path, layer)
        return
    kept = work.base_path if encoder == Base.name else work.checkpoint_path
    if given is not None and _is_shipped(encoder, given):
        kept.unlink(missing_ok=True)
    elif given is not None:
        _keep(given, kept)
    elif encoder in LEARNED_ENCODERS and not kept.exists():
        settings, resume = _settings(work.training_dir / LAST_FILE, minutes)
        with work.timed("train"):
            _keep(train(work.wav_dir, work.training_dir, settings, resume=resume, say=say).best_path, kept)


def kept_checkpoint(work: Workplace, encoder: str) -> Path | None:
    """What `provide_checkpoint` saw to; None for an encoder that uses none."""
    if encoder == Base.name:
        return work.base_path if work.base_path.exists() else None
    if encoder == Classifier.name:
        return work.classifier_path
    if encoder in PRETRAINED_ENCODERS:
        return work.model_path(encoder) if work.model_path(encoder).exists() else None
    return work.checkpoint_path if encoder in LEARNED_ENCODERS else None


def classifier_at(work: Workplace, given: Path | None, layer: int | None) -> None:
    """Opens the checkpoint of a classifier that a build would use. Raises BadSetting, BadCheckpoint."""
    path = given or (work.classifier_path if work.classifier_path.exists() else None)
    found = make_encoder(Classifier.name, path).layer
    if layer is not None and found is not None:
        layer_of(found.n_layers, layer)


def _is_shipped(encoder: str, checkpoint_path: Path) -> bool:
    return encoder == Base.name and checkpoint_path == SHIPPED


def _keep(path: Path, kept: Path) -> None:
    with replacing(kept, durable=True) as file:
        file.write(path.read_bytes())


def _settings(last_path: Path, minutes: float) -> tuple[TrainingSettings, bool]:
    """(settings, whether to resume): a training that was interrupted goes on as it began."""
    if not last_path.exists():
        return make_settings({"minutes": minutes}), False
    return settings_of(last_path), True
