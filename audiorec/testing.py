"""Releases of random clips, for benchmarks and tests."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from audiorec.audio import CLIP_S
from audiorec.catalogue.convert import REFUSED_FILE, write_refused
from audiorec.encoders.base import Encoder
from audiorec.errors import BadModelDir
from audiorec.export import export_encoder
from audiorec.fit import facts_of
from audiorec.index.tuning import Tuning, tune
from audiorec.metadata import Cell, write_metadata
from audiorec.publishing.workplace import Workplace
from audiorec.release import (
    EMBEDDINGS_FILE,
    ENCODER_FILE,
    INDEX_FILE,
    WINDOW_ROWS_FILE,
    WINDOWS_FILE,
    open_release,
    publish,
)
from audiorec.release.describe import write_manifest
from audiorec.release.manifest import (
    CatalogueFacts,
    EncoderScores,
    Evaluation,
)

Array = npt.NDArray[np.float32]

N_LABELS = 50
N_GENRES = 200
CLIPS_PER_ARTIST = 20


class Envelope(Encoder):
    """How loud a window is in each of `dim` equal parts: vectors that can be worked out by hand.

    turn: by how many places the parts are moved on, so that there can be several of these that differ.
    """

    name = "Envelope"
    order: Tensor

    def __init__(self, dim: int = 64, turn: int = 0) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("order", torch.arange(dim).roll(turn))

    def pre(self, waveform: Tensor) -> Tensor:
        """(N, 1, T) -> (N, dim, T / dim)."""
        return waveform.reshape(waveform.shape[0], self.dim, -1)

    def core(self, x: Tensor) -> Tensor:
        """(N, dim, T / dim) -> (N, dim)."""
        return x.square().mean(dim=2).sqrt()[:, self.order]

    def post(self, features: Tensor) -> Tensor:
        """(N, dim) -> (N, dim), unit norm."""
        return F.normalize(features, dim=1)


def random_embeddings(n_clips: int, dim: int, *, seed: int = 0) -> Array:
    """(n_clips, dim) float32 unit vectors that resemble those of real clips.

    A mixture of n / 100 clusters of very different sizes (Pareto, exponent 1.5) and widths (log-normal), in which
    dimension i has a standard deviation of 1 / i: the spectrum of the baselines' vectors of real recordings, which have
    nearly the same quartiles of the tenth neighbour's cosine, and need the same `search_k`.
    """
    rng = np.random.default_rng(seed)
    n_clusters = max(1, n_clips // 100)
    weights = rng.pareto(1.5, n_clusters) + 1
    widths = rng.lognormal(0, 0.3, n_clusters).astype(np.float32)
    centres = rng.standard_normal((n_clusters, dim), dtype=np.float32)
    cluster = rng.choice(n_clusters, n_clips, p=weights / weights.sum())
    vectors: Array = rng.standard_normal((n_clips, dim), dtype=np.float32)
    vectors *= 0.6 * widths[cluster, None]
    vectors += centres[cluster]
    vectors /= np.arange(1, dim + 1, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def make_release(
    model_dir: Path, n_clips: int, *, dim: int = 64, seed: int = 0, mark: str = "", encoder: Encoder | None = None
) -> Path:
    """Publishes a release of `n_clips` random clips with random metadata, and a real index, encoder and manifest.

    seed: of the vectors, and the encoder's `turn`; the clips are the same. mark: what every title ends with. encoder:
    in place of an `Envelope`, with its own dimension.
    The release of an earlier call with the same arguments is kept, while it is current. Returns where it is.
    Minutes for a million clips.
    """
    encoder = encoder or Envelope(dim, turn=seed)
    build_key = f"random {n_clips} {encoder.dim} {seed} {mark} {encoder.name}"
    try:
        kept = open_release(model_dir)
        if kept.manifest.build_key == build_key:
            return kept.directory
    except BadModelDir:
        pass
    work = Workplace(model_dir)
    with work.locked():
        staging = work.staging_dir
        staging.mkdir(exist_ok=True)
        tuning = _write_vectors(staging, random_embeddings(n_clips, encoder.dim, seed=seed))
        write_metadata(staging, _random_rows(n_clips, mark), ["genre", "year"])
        write_refused(staging / REFUSED_FILE, [])
        export_encoder(encoder, staging / ENCODER_FILE)
        hours = round(n_clips * CLIP_S / 3600, 4)
        catalogue = CatalogueFacts(n_clips=n_clips, n_windows=n_clips, n_refused=0, hours=hours)
        scores = EncoderScores(name=encoder.name, hubness=0.0, n_queries=0)
        evaluation = Evaluation(n_clips=0, encoder=scores, baselines={})
        write_manifest(staging, build_key, facts_of(encoder), tuning, catalogue, evaluation)
        return publish(staging, model_dir)


def _write_vectors(staging: Path, embeddings: Array) -> Tuning:
    np.save(staging / EMBEDDINGS_FILE, embeddings)
    np.save(staging / WINDOWS_FILE, embeddings.astype(np.float16))  # every clip is one window
    np.save(staging / WINDOW_ROWS_FILE, np.arange(len(embeddings), dtype=np.int32))
    return tune(embeddings, staging / INDEX_FILE)


def _random_rows(n_clips: int, mark: str) -> Iterator[Mapping[str, Cell]]:
    rng = np.random.default_rng(0)
    artists = rng.integers(max(1, n_clips // CLIPS_PER_ARTIST), size=n_clips).tolist()
    labels = rng.integers(N_LABELS, size=n_clips).tolist()
    genres = rng.integers(N_GENRES, size=n_clips).tolist()
    years = rng.integers(1950, 2025, size=n_clips).tolist()
    for row, (artist, label, genre, year) in enumerate(zip(artists, labels, genres, years, strict=True)):
        clip_id = f"{label:02d}/{artist:06d}/clip-{row:08d}.wav"
        yield {
            "clip_id": clip_id,
            "url": f"https://clips.example/{clip_id}",
            "title": f"Take {row}{mark}",
            "artist": f"Artist {artist}",
            "label": f"label {label:02d}",
            "duration_s": CLIP_S,
            "license": "CC0-1.0",
            "sha256": f"{row:064x}",
            "source": "random",
            "genre": f"genre {genre:03d}",
            "year": year,
        }
