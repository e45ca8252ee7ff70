"""An encoder made ready for a catalogue: its features computed once a clip, its last step fitted on them, exported."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from audiorec.audio import CLIP_SAMPLES, SAMPLE_RATE_HZ
from audiorec.audio.wav import read_wav
from audiorec.encoders import make_encoder
from audiorec.encoders.base import Encoder
from audiorec.encoders.pretrained_model import fingerprint
from audiorec.export import export_encoder
from audiorec.features import Array, FeatureStore, add_features, vectors_of
from audiorec.files import replacing, sha256_of, writing_to_disk
from audiorec.fit.last_step import choose_last_step
from audiorec.progress import Progress, silent
from audiorec.release.manifest import EncoderFacts, HeadFacts, LastStep, LayerFacts, TextFacts

LOG = logging.getLogger("audiorec")

ENCODER_FILE = "encoder.pt"
FACTS_FILE = "encoder.json"
MAX_FIT_WINDOWS = 50_000  # statistics do not get better by more
REFIT_GROWTH = 2.0  # a catalogue that has grown or shrunk by more than this is fitted again


@dataclass(frozen=True)
class FittedEncoder:
    """A TorchScript file, its companions beside it, and what the manifest says of it."""

    path: Path
    facts: EncoderFacts

    @property
    def companions(self) -> list[Path]:
        return [self.path.parent / name for name in self.facts.companions]


class EagerEncoder:
    """An encoder of the registry, numpy in, numpy out: what `export.LoadedEncoder` is to a file."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.dim = encoder.dim
        self.n_features = self.features(np.zeros((1, CLIP_SAMPLES), np.float32)).shape[1]

    def features(self, windows: Array) -> Array:
        """windows: (N, CLIP_SAMPLES) float32. Returns (N, n_features) float32."""
        with torch.inference_mode():
            features: Array = self.encoder.features(torch.from_numpy(windows)[:, None]).numpy()
        return features

    def post(self, features: Array) -> Array:
        """features: (N, n_features) float32. Returns (N, dim) float32, unit norm."""
        with torch.inference_mode():
            unit: Array = self.encoder.post(torch.from_numpy(features)).numpy()
        return unit

    def fit(self, features: Array) -> None:
        """Fits the last step on the windows of a catalogue, (M, n_features); on a sample of them when they are many."""
        if len(features) > MAX_FIT_WINDOWS:
            rows = np.random.default_rng(0).choice(len(features), MAX_FIT_WINDOWS, replace=False)
            features = features[np.sort(rows)]
        self.encoder.fit(torch.from_numpy(features))


@contextmanager
def features_of_catalogue(
    encoder: EagerEncoder, sha256s: Sequence[str], wav_dir: Path, features_dir: Path, progress: Progress = silent
) -> Iterator[FeatureStore]:
    """The store with the features of all these clips in it, those that were missing computed now."""
    with FeatureStore(features_dir / encoder.encoder.features_key(), encoder.n_features) as store:
        missing = [sha256 for sha256 in dict.fromkeys(sha256s) if sha256 not in store]
        clips = ((sha256, read_wav(wav_dir, sha256)) for sha256 in missing)
        added = add_features(encoder.features, clips, store)
        for _ in progress(added, total=len(missing), stage=f"encode ({encoder.encoder.name})", unit="clip"):
            pass
        yield store


def fit_encoder(
    name: str,
    sha256s: Sequence[str],
    *,
    wav_dir: Path,
    features_dir: Path,
    encoder_dir: Path,
    checkpoint_path: Path | None = None,
    kept: FittedEncoder | None = None,
    clips: Sequence[Mapping[str, str]] | None = None,
    progress: Progress = silent,
) -> FittedEncoder:
    """Fits an encoder on a catalogue and exports it to `encoder_dir`; returns `kept` instead while that still fits.

    It is kept until the catalogue has more than doubled or halved, so that embeddings stay comparable from release to
    release. One that comes fitted is fitted anew only where that helps: clips, rows of `metadata.tsv`, are what it is
    measured by. checkpoint_path: of an encoder that learnt. Raises BadSetting for an unknown name, BadCheckpoint,
    NoSpace.
    """
    encoder = EagerEncoder(make_encoder(name, checkpoint_path))
    with features_of_catalogue(encoder, sha256s, wav_dir, features_dir, progress) as store:
        n_windows = sum(store.n_heard(sha256) for sha256 in sha256s)
        if kept is not None and _still_fits(kept.facts, encoder.encoder, n_windows):
            return kept
        last_step = _fit(encoder, store, sha256s, clips or [{}] * len(sha256s), n_windows)
    is_fitted = encoder.encoder.fitted and (last_step is None or last_step.is_fitted)
    facts = facts_of(
        encoder.encoder,
        checkpoint=fingerprint(checkpoint_path) if checkpoint_path is not None else None,
        n_windows=n_windows if is_fitted else 0,
        last_step=last_step,
    )
    return _export(encoder.encoder, encoder_dir, facts)


def _fit(
    encoder: EagerEncoder,
    store: FeatureStore,
    sha256s: Sequence[str],
    clips: Sequence[Mapping[str, str]],
    n_windows: int,
) -> LastStep | None:
    def fit() -> None:
        encoder.fit(store.of(_sample(sha256s, MAX_FIT_WINDOWS / n_windows)))

    def embeddings(rows: Sequence[int]) -> Array:
        of_rows = [sha256s[row] for row in rows]
        return np.stack([vector for vector, _ in vectors_of(encoder.post, store, of_rows, encoder.dim)])

    if encoder.encoder.comes_fitted:
        return choose_last_step(encoder.encoder, fit, embeddings, clips, n_windows)
    fit()
    return None


def _sample(sha256s: Sequence[str], share: float) -> Sequence[str]:
    """As large a share of the clips: all features of a large catalogue need not fit into memory."""
    if share >= 1:
        return sha256s
    n = max(1, round(share * len(sha256s)))
    return [sha256s[row] for row in np.sort(np.random.default_rng(0).choice(len(sha256s), n, replace=False))]


def _still_fits(facts: EncoderFacts, encoder: Encoder, n_windows: int) -> bool:
    before = facts.last_step.n_windows if facts.last_step else facts.fitted_windows
    growth = max(n_windows, before) / max(1, min(n_windows, before))
    if facts.last_step is not None and not facts.last_step.is_fitted and facts.key != encoder.key():
        return False  # it was left as it comes, and another one is given, of the same network but another last step
    return facts.features_key == encoder.features_key() and (not encoder.fitted or growth <= REFIT_GROWTH)


def _export(encoder: Encoder, encoder_dir: Path, facts: EncoderFacts) -> FittedEncoder:
    with writing_to_disk("the encoder"):
        encoder_dir.mkdir(parents=True, exist_ok=True)
    facts = facts.model_copy(update={"companions": encoder.write_companions(encoder_dir)})
    fitted = FittedEncoder(encoder_dir / ENCODER_FILE, facts)
    export_encoder(encoder, fitted.path)
    with replacing(encoder_dir / FACTS_FILE) as file:
        file.write(json.dumps({"sha256": _hashes(fitted), "facts": facts.model_dump()}).encode())
    if facts.text is not None and facts.text.is_collapsed:
        LOG.warning("%s: %s", facts.name, facts.text.warning)
    return fitted


def _hashes(fitted: FittedEncoder) -> list[str]:
    return [sha256_of(path) for path in (fitted.path, *fitted.companions)]


def facts_of(
    encoder: Encoder, *, checkpoint: str | None = None, n_windows: int = 0, last_step: LastStep | None = None
) -> EncoderFacts:
    """What the manifest says of an encoder. checkpoint: its SHA-256. n_windows: that the last step was fitted on."""
    head, text, layer = encoder.head_facts(), encoder.text_facts(), encoder.layer
    return EncoderFacts(
        name=encoder.name,
        dim=encoder.dim,
        sample_rate_hz=SAMPLE_RATE_HZ,
        clip_samples=CLIP_SAMPLES,
        params=encoder.count_parameters(),
        licence=encoder.licence,
        origin=encoder.origin,
        checkpoint=checkpoint,
        key=encoder.key(),
        features_key=encoder.features_key(),
        fitted_windows=n_windows,
        last_step=last_step,
        layer=LayerFacts(**asdict(layer)) if layer else None,
        head=HeadFacts.model_validate(head) if head else None,
        text=TextFacts.model_validate(text) if text else None,
    )


def read_fitted(encoder_dir: Path) -> FittedEncoder | None:
    """The exported encoder of a directory; None where there is none, or not a whole one."""
    try:
        stored = json.loads((encoder_dir / FACTS_FILE).read_bytes())
        fitted = FittedEncoder(encoder_dir / ENCODER_FILE, EncoderFacts.model_validate(stored["facts"]))
        return fitted if _hashes(fitted) == stored["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
