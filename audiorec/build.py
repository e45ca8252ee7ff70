"""The pipeline: a folder of clips to a published release, in steps that each go on where they stopped.

convert   AUDIO_DIR -> work/wav/        every clip as 16 kHz WAV, `clips.tsv`, `refused.tsv`
export    work/wav/ -> work/encoder/    the encoder, fitted on the catalogue, as TorchScript
index     both      -> versions/NNNN/   embeddings, index, evaluation; published when anything is new
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from audiorec.convert import CLIPS_FILE, DEFAULT_LIMITS, REFUSED_FILE, Conversion, convert, read_conversion
from audiorec.decoder import DecodeLimits
from audiorec.encoders import DEFAULT_ENCODER
from audiorec.errors import BadModelDir
from audiorec.files import sha256_of
from audiorec.fit import FittedEncoder, fit_encoder, read_fitted
from audiorec.manifest import Manifest, read_manifest
from audiorec.progress import Progress, silent
from audiorec.release import make_current, publish, release_names, resolve
from audiorec.stage import stage_release
from audiorec.workplace import Workplace


@dataclass(frozen=True)
class Built:
    """What `build` or `index` ended with. published: whether the release is new. seconds: by stage."""

    release_dir: Path
    manifest: Manifest
    published: bool
    conversion: Conversion
    seconds: dict[str, float]


def build(
    audio_dir: Path,
    model_dir: Path,
    *,
    encoder: str = DEFAULT_ENCODER,
    limits: DecodeLimits = DEFAULT_LIMITS,
    n_workers: int | None = None,
    refit: bool = False,
    baselines: bool = True,
    progress: Progress = silent,
) -> Built:
    """From a folder of clips to a published release, everything in one.

    Killed anywhere, the same call goes on where it stopped; with nothing new it changes nothing; with something new it
    publishes the next release and computes only what is new. refit: fit the encoder's last step anew. baselines: also
    evaluate MeanMel and MFCC beside the encoder. Raises BadCatalogue, BadSetting, Busy, NoSpace.
    """
    with Workplace(model_dir).locked() as work:
        with work.timed("convert"):
            conversion = convert(audio_dir, work.wav_dir, limits=limits, n_workers=n_workers, progress=progress)
        fitted = _export(work, conversion, encoder, refit, progress)
        return _index(work, conversion, fitted, baselines, progress)


def convert_step(
    audio_dir: Path,
    model_dir: Path,
    *,
    limits: DecodeLimits = DEFAULT_LIMITS,
    n_workers: int | None = None,
    progress: Progress = silent,
) -> Conversion:
    """The first step alone: `work/wav/`."""
    with Workplace(model_dir).locked() as work:
        return convert(audio_dir, work.wav_dir, limits=limits, n_workers=n_workers, progress=progress)


def export_step(
    model_dir: Path, *, encoder: str = DEFAULT_ENCODER, refit: bool = False, progress: Progress = silent
) -> FittedEncoder:
    """The second step alone, on what `convert` left: `work/encoder/`."""
    with Workplace(model_dir).locked() as work:
        return _export(work, read_conversion(work.wav_dir), encoder, refit, progress)


def index_step(model_dir: Path, *, baselines: bool = True, progress: Progress = silent) -> Built:
    """The last step alone, on what `convert` and `export` left: the next release, unless nothing is new."""
    with Workplace(model_dir).locked() as work:
        fitted = read_fitted(work.encoder_dir)
        if fitted is None:
            raise BadModelDir(f"got {model_dir} without an exported encoder, expected one: run `audiorec export` first")
        return _index(work, read_conversion(work.wav_dir), fitted, baselines, progress)


def _export(work: Workplace, conversion: Conversion, encoder: str, refit: bool, progress: Progress) -> FittedEncoder:
    with work.timed("encode"):
        return fit_encoder(
            encoder,
            conversion.sha256s,
            wav_dir=work.wav_dir,
            features_dir=work.features_dir,
            encoder_dir=work.encoder_dir,
            refit=refit,
            progress=progress,
        )


def _index(
    work: Workplace, conversion: Conversion, fitted: FittedEncoder, baselines: bool, progress: Progress
) -> Built:
    key = _build_key(work.wav_dir, fitted, baselines)
    kept = _release_with(key, work.model_dir)
    if kept is not None:
        return Built(kept, read_manifest(kept), False, conversion, work.seconds)
    stage_release(work, conversion, fitted, build_key=key, baselines=baselines, progress=progress)
    with work.timed("publish"):
        release_dir = publish(work.staging_dir, work.model_dir)
    return Built(release_dir, read_manifest(release_dir), True, conversion, work.seconds)


def _build_key(wav_dir: Path, fitted: FittedEncoder, baselines: bool) -> str:
    """Equal when the same clips, metadata and refusals meet the same encoder."""
    parts = [sha256_of(wav_dir / CLIPS_FILE), sha256_of(wav_dir / REFUSED_FILE), fitted.facts.key, str(baselines)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _release_with(key: str, model_dir: Path) -> Path | None:
    """The current release if it is of this build, else the newest if it is: a build killed before the swap."""
    names = release_names(model_dir)
    try:
        current = resolve(model_dir)
        if read_manifest(current).build_key == key:
            return current
        newest = model_dir / "versions" / names[-1]
        if newest != current and read_manifest(newest).build_key == key:
            make_current(model_dir, newest.name)
            return newest
    except (BadModelDir, IndexError):
        pass
    return None
