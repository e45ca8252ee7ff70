"""The pipeline: a folder of clips to a published release, in steps that each go on where they stopped.

convert   AUDIO_DIR -> work/wav/        every clip as 16 kHz WAV, `clips.tsv`, `refused.tsv`
export    work/wav/ -> work/encoder/    the encoder, fitted on the catalogue, as TorchScript
index     both      -> versions/NNNN/   embeddings, index, evaluation; published when anything is new
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from audiorec.audio.decoder import DecodeLimits
from audiorec.catalogue import check_folder
from audiorec.catalogue.convert import CLIPS_FILE, DEFAULT_LIMITS, REFUSED_FILE, Conversion, convert, read_conversion
from audiorec.encoders import DEFAULT_ENCODER, make_encoder
from audiorec.errors import BadModelDir, BadSetting
from audiorec.files import sha256_of
from audiorec.fit import FittedEncoder, fit_encoder, read_fitted
from audiorec.fit.chosen_model import keep_model, named_model, settle_layer
from audiorec.progress import Progress, silent
from audiorec.publishing import already_published, publish_guarded
from audiorec.publishing.stage import stage_release
from audiorec.publishing.workplace import Workplace
from audiorec.release import ENCODER_FILE, open_release
from audiorec.release.guard import DEFAULT_GUARD, Guard
from audiorec.release.manifest import Manifest
from audiorec.training.loop import Say, unsaid
from audiorec.training.on_demand import DEFAULT_TRAIN_MINUTES, check_encoder, kept_checkpoint, provide_checkpoint


@dataclass(frozen=True)
class Built:
    """What `build` or `index` ended with. published: whether the release is new. held_back: why it is not current,
    empty when it is. seconds: by stage.
    """

    release_dir: Path
    manifest: Manifest
    published: bool
    held_back: str
    conversion: Conversion
    seconds: dict[str, float]


def build(
    audio_dir: Path,
    model_dir: Path,
    *,
    encoder: str = DEFAULT_ENCODER,
    checkpoint_path: Path | None = None,
    model: str | None = None,
    layer: int | None = None,
    train_minutes: float = DEFAULT_TRAIN_MINUTES,
    limits: DecodeLimits = DEFAULT_LIMITS,
    n_workers: int | None = None,
    placeholder_artists: bool = False,
    refit: bool = False,
    baselines: bool = True,
    guard: Guard = DEFAULT_GUARD,
    progress: Progress = silent,
    say: Say = unsaid,
) -> Built:
    """From a folder of clips to a published release, everything in one.

    Killed anywhere, the same call goes on where it stopped; with nothing new it changes nothing; with something new it
    publishes the next release and computes only what is new. refit: fit the encoder's last step anew. baselines: also
    evaluate MeanMel and MFCC beside the encoder. checkpoint_path: for an encoder that learns; the next builds keep it.
    `base` takes one in place of its own weights, and Path("base") for these again; any other is trained first where
    there is none, for train_minutes; say: is told of that, line by line. model: a directory or a hub id, for an encoder
    that is made of a pretrained model; the next builds use it. layer: of that model, the one that gives the vector;
    unless said, the one whose neighbours share most labels, or without labels the one in the middle.
    placeholder_artists: make up names where there are none, see `placeholders.py`.

    The release has the clips of the folder, no others: those that `add` put into the current one are in it when their
    files are in the folder, those that `remove` took out are in it while theirs are. Where that would undo something,
    and where the guard objects to its figures, it is published but does not become current.
    Raises BadCatalogue, BadSetting, BadCheckpoint, BadModel, TrainingFailed, Busy, NoSpace.
    """
    check_encoder(Workplace(model_dir), encoder, checkpoint_path, layer)
    _check_folders(audio_dir, model_dir)
    reference = named_model(Workplace(model_dir), encoder, model, layer, refit=refit, say=say)
    with Workplace(model_dir).locked() as work:
        with work.timed("convert"):
            conversion = convert(
                audio_dir,
                work.wav_dir,
                limits=limits,
                n_workers=n_workers,
                placeholder_artists=placeholder_artists,
                progress=progress,
            )
        provide_checkpoint(work, encoder, checkpoint_path, train_minutes, say, layer=layer)
        keep_model(work, encoder, reference)
        fitted = _export(work, conversion, encoder, refit, progress)
        return _index(work, conversion, fitted, baselines, guard, progress)


def convert_step(
    audio_dir: Path,
    model_dir: Path,
    *,
    limits: DecodeLimits = DEFAULT_LIMITS,
    n_workers: int | None = None,
    placeholder_artists: bool = False,
    progress: Progress = silent,
) -> Conversion:
    """The first step alone: `work/wav/`."""
    _check_folders(audio_dir, model_dir)
    with Workplace(model_dir).locked() as work:
        return convert(
            audio_dir,
            work.wav_dir,
            limits=limits,
            n_workers=n_workers,
            placeholder_artists=placeholder_artists,
            progress=progress,
        )


def export_step(
    model_dir: Path,
    *,
    encoder: str = DEFAULT_ENCODER,
    checkpoint_path: Path | None = None,
    model: str | None = None,
    layer: int | None = None,
    train_minutes: float = DEFAULT_TRAIN_MINUTES,
    refit: bool = False,
    progress: Progress = silent,
    say: Say = unsaid,
) -> FittedEncoder:
    """The second step alone, on what `convert` left: `work/encoder/`."""
    check_encoder(Workplace(model_dir), encoder, checkpoint_path, layer)
    reference = named_model(Workplace(model_dir), encoder, model, layer, refit=refit, say=say)
    with Workplace(model_dir).locked() as work:
        conversion = read_conversion(work.wav_dir)
        provide_checkpoint(work, encoder, checkpoint_path, train_minutes, say, layer=layer)
        keep_model(work, encoder, reference)
        return _export(work, conversion, encoder, refit, progress)


def index_step(
    model_dir: Path, *, baselines: bool = True, guard: Guard = DEFAULT_GUARD, progress: Progress = silent
) -> Built:
    """The last step alone, on what `convert` and `export` left: the next release, unless nothing is new."""
    with Workplace(model_dir).locked() as work:
        fitted = _last_encoder(work)
        if fitted is None or fitted.facts.features_key != _features_key(work, fitted):
            raise BadModelDir(
                f"got {model_dir} without an encoder exported by this audiorec, expected one: "
                "run `audiorec export` first"
            )
        return _index(work, read_conversion(work.wav_dir), fitted, baselines, guard, progress)


def _features_key(work: Workplace, fitted: FittedEncoder) -> str:
    """What this audiorec would compute before the last step, under the name of an exported encoder."""
    return make_encoder(fitted.facts.name, kept_checkpoint(work, fitted.facts.name)).features_key()


def _check_folders(audio_dir: Path, model_dir: Path) -> None:
    """Before anything is written."""
    check_folder(audio_dir)
    if model_dir.resolve().is_relative_to(audio_dir.resolve()):
        raise BadSetting(
            f"got the model directory {model_dir} inside the folder of clips {audio_dir}, expected it elsewhere: "
            "the next build would take what this one writes for clips"
        )


def _export(work: Workplace, conversion: Conversion, encoder: str, refit: bool, progress: Progress) -> FittedEncoder:
    settle_layer(work, encoder, conversion.clips, progress)
    with work.timed("encode"):
        return fit_encoder(
            encoder,
            conversion.sha256s,
            wav_dir=work.wav_dir,
            features_dir=work.features_dir,
            encoder_dir=work.encoder_dir,
            checkpoint_path=kept_checkpoint(work, encoder),
            kept=None if refit else _last_encoder(work),
            clips=conversion.clips,
            progress=progress,
        )


def _last_encoder(work: Workplace) -> FittedEncoder | None:
    """The encoder of the last export; where the work folder was deleted, the one of the current release."""
    fitted = read_fitted(work.encoder_dir)
    if fitted is not None:
        return fitted
    try:
        release = open_release(work.model_dir, verify=True)
    except BadModelDir:
        return None
    return FittedEncoder(release.directory / ENCODER_FILE, release.manifest.encoder)


def _index(
    work: Workplace, conversion: Conversion, fitted: FittedEncoder, baselines: bool, guard: Guard, progress: Progress
) -> Built:
    key = _build_key(work.wav_dir, fitted, baselines)
    published = already_published(key, work.model_dir, guard)
    if published is None:
        stage_release(work, conversion, fitted, build_key=key, baselines=baselines, progress=progress)
        with work.timed("publish"):
            published = publish_guarded(work.staging_dir, work.model_dir, guard)
    return Built(
        published.release_dir, published.manifest, published.new, published.held_back, conversion, work.seconds
    )


def _build_key(wav_dir: Path, fitted: FittedEncoder, baselines: bool) -> str:
    """Equal when the same clips, metadata and refusals meet the same encoder."""
    parts = [sha256_of(wav_dir / CLIPS_FILE), sha256_of(wav_dir / REFUSED_FILE), fitted.facts.key, str(baselines)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
