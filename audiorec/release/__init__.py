"""Releases: opening one, which is verifying it, and publishing one at once or not at all.

MODEL_DIR/current -> versions/0003    what is served
MODEL_DIR/versions/NNNN/              releases, which never change
MODEL_DIR/work/                       caches and unfinished work
"""

import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audiorec.audio import CLIP_SAMPLES, SAMPLE_RATE_HZ
from audiorec.errors import BadModelDir, BadQuery
from audiorec.files import sha256_of, sync_directory, writing_to_disk
from audiorec.files.npy import open_npy
from audiorec.index import ENGINES, Engine, open_engine
from audiorec.metadata import METADATA_FILES, Metadata
from audiorec.metadata.predictions import HEAD_FILE, SCORES_FILE, Labels, Predictions
from audiorec.release.holds import Hold
from audiorec.release.manifest import MANIFEST_FILE, FileFacts, Manifest, read_manifest
from audiorec.release.sharing import share
from audiorec.text import TEXT_ENCODERS, TEXT_FILES

if TYPE_CHECKING:
    from audiorec.export import LoadedEncoder
    from audiorec.text_encoder import LoadedTextEncoder

Array = npt.NDArray[np.float32]

ENCODER_FILE = "encoder.pt"
INDEX_FILE = "index.ann"
EMBEDDINGS_FILE = "embeddings.npy"
WINDOWS_FILE = "windows.npy"
WINDOW_ROWS_FILE = "window_rows.npy"
SERVED_FILES = (ENCODER_FILE, INDEX_FILE, EMBEDDINGS_FILE, WINDOWS_FILE, WINDOW_ROWS_FILE, *METADATA_FILES)

NEXT_LINK = ".current"  # becomes `current`

NORM_TOLERANCE = 1e-3
NORM_BLOCK_ROWS = 2**12
NORM_SAMPLE_VALUES = 2**24  # up to this many numbers every row's norm is looked at when opening, above it a sample


class Release:
    """An open release: read-only memory maps that all workers share. Made by `open_release`; row = clip everywhere.

    embeddings: (n_clips, D) float32, unit norm. windows: (n_windows, D) float16, unit norm, zero for a silent window;
    window_rows: (n_windows,) int32, the clip of each, in order. predictions: of the clips' labels, by an encoder that
    was trained to tell labels apart, else None.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = directory.name
        self.manifest = read_manifest(directory)
        self.hold = Hold(directory)  # until nobody uses this object any more
        _check_sizes(directory, self.manifest)
        n_clips, n_windows = self.manifest.catalogue.n_clips, self.manifest.catalogue.n_windows
        self.dim = self.manifest.encoder.dim
        _check_encoder_facts(self.manifest)
        self.embeddings: Array = open_npy(directory / EMBEDDINGS_FILE, (n_clips, self.dim), np.float32)
        self.windows = open_npy(directory / WINDOWS_FILE, (n_windows, self.dim), np.float16)
        self.window_rows = open_npy(directory / WINDOW_ROWS_FILE, (n_windows,), np.int32)
        _check_norms(self.embeddings)
        self.metadata = Metadata.open(directory)
        if len(self.metadata) != n_clips:
            raise BadModelDir(
                f"got {len(self.metadata)} clips in metadata.arrow, expected {n_clips} as in the manifest"
            )
        self.predictions = self._open_predictions()
        self.engine = self._open_engine()
        self._lock = Lock()

    def _open_predictions(self) -> Predictions | None:
        head = self.manifest.encoder.head
        if head is None:
            return None
        return Predictions(self.directory, len(self.embeddings), Labels(head.labels, head.multi_label))

    def _open_engine(self) -> Engine:
        facts = self.manifest.index
        if facts.kind not in ENGINES or facts.metric != "angular":
            raise BadModelDir(
                f"got an index of kind '{facts.kind}' and metric '{facts.metric}', "
                f"expected one of {', '.join(sorted(ENGINES))} and angular"
            )
        path = self.directory / INDEX_FILE
        return open_engine(facts.kind, path, self.embeddings, n_trees=facts.n_trees, search_k=facts.search_k)

    @property
    def n_labels(self) -> int:
        """How many labels its encoder tells apart; 0 for one without a head."""
        return len(self.manifest.encoder.head.labels) if self.manifest.encoder.head else 0

    @cached_property
    def encoder(self) -> "LoadedEncoder":
        """Loaded when first asked for: torch is not imported before. Raises BadModelDir."""
        from audiorec.export import LoadedEncoder

        head = self.manifest.encoder.head
        with self._lock:
            encoder = LoadedEncoder(self.directory / ENCODER_FILE, self.directory / HEAD_FILE if head else None)
        if encoder.dim != self.dim:
            raise BadModelDir(f"got an encoder of {encoder.dim} dimensions, expected {self.dim} as in the manifest")
        if encoder.n_labels != self.n_labels:
            raise BadModelDir(
                f"got a {HEAD_FILE} of {encoder.n_labels} labels, expected {self.n_labels} as in the manifest: "
                "build it again"
            )
        return encoder

    def encoder_key(self) -> tuple[str, ...]:
        """Equal for two releases whose encoders, and heads where they have any, are the same files."""
        names = [ENCODER_FILE, *([HEAD_FILE] if self.manifest.encoder.head else [])]
        return tuple(self.manifest.files[name].sha256 for name in names)

    @property
    def has_text(self) -> bool:
        """Whether texts can be looked for."""
        return self.manifest.encoder.text is not None

    def text_key(self) -> tuple[str, ...]:
        """Equal for two releases with the same text encoder; empty for one without."""
        return tuple(self.manifest.files[name].sha256 for name in TEXT_FILES) if self.has_text else ()

    @cached_property
    def text_encoder(self) -> "LoadedTextEncoder":
        """Loaded when first asked for, as `encoder` is. Raises BadModelDir, BadQuery for a release without one."""
        facts = self.manifest.encoder.text
        if facts is None:
            raise no_text_encoder(self.manifest.encoder.name)
        from audiorec.text_encoder import LoadedTextEncoder

        with self._lock:
            return LoadedTextEncoder(self.directory, dim=facts.dim, max_tokens=facts.max_tokens)

    def rows(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Clips as the service answers them: `Metadata.rows`, with `predicted_label` where there is a classifier."""
        known = self.metadata.rows(rows)
        if self.predictions is not None:
            for clip, predicted in zip(known, self.predictions.predicted(rows), strict=True):
                clip["predicted_label"] = predicted
        return known

    def verify(self) -> None:
        """Reads every byte: hashes, norms, order, and the inside of the index. Raises BadModelDir."""
        from audiorec.index.annoy_file import verify_annoy

        self.check_hashes()
        _check_norms(self.embeddings, every=True)
        _check_window_rows(self.window_rows, len(self.embeddings))
        self.metadata.verify()
        verify_annoy(self.directory / INDEX_FILE, self.embeddings, self.manifest.index.n_trees)

    def check_hashes(self) -> None:
        """Raises BadModelDir for a file that has changed since the release was published."""
        for name, facts in self.manifest.files.items():
            try:
                got = sha256_of(self.directory / name)
            except OSError as error:
                raise BadModelDir(f"got {name}, which cannot be read ({error.strerror}), expected it whole") from None
            if got != facts.sha256:
                raise BadModelDir(
                    f"got {name} with SHA-256 {got[:12]}…, expected {facts.sha256[:12]}…: "
                    "it has changed since it was published, copy the release again or build it again"
                )


def no_text_encoder(encoder: str) -> BadQuery:
    return BadQuery(
        f"got a text, but this release's {encoder} has no text encoder: ask by embedding, clip_id or sound, or build "
        f"the catalogue with --encoder {' or '.join(TEXT_ENCODERS)}, which has one",
        code="no_text_encoder",
    )


def open_release(path: Path | str, *, verify: bool = False) -> Release:
    """Opens the current release of a model directory, or a release itself.

    Checks version, sizes, counts, dimensions and a few self-queries; with `verify` also every file's hash.
    Raises BadModelDir, in a sentence, for whatever is missing, truncated, foreign or of another version.
    """
    release = Release(resolve(Path(path)))
    if verify:
        release.verify()
    return release


def resolve(path: Path) -> Path:
    """The release that a path stands for, links followed, so that a later swap of `current` does not mix two."""
    try:
        for directory in (path, path / "current"):
            if (directory / MANIFEST_FILE).exists():
                return directory.resolve()
        there = path.exists()
    except OSError as error:
        raise BadModelDir(f"got {path}, which cannot be read ({error.strerror}), expected a model directory") from None
    if not there:
        raise BadModelDir(f"got {path}, which does not exist, expected a model directory: make one by `audiorec build`")
    if names := release_names(path):
        raise BadModelDir(
            f"got {path} without a current release, expected it to be one of {', '.join(names)}: "
            "choose it by `audiorec use`"
        )
    raise BadModelDir(
        f"got {path} without a published release, expected a model directory: publish one by `audiorec build`"
    )


def _check_sizes(directory: Path, manifest: Manifest) -> None:
    expected = [*SERVED_FILES, *manifest.encoder.companions]
    if manifest.encoder.head is not None:
        expected += [HEAD_FILE, SCORES_FILE]
    if manifest.encoder.text is not None:
        expected += TEXT_FILES
    missing = [name for name in dict.fromkeys(expected) if name not in manifest.files]
    if missing:
        raise BadModelDir(f"got a manifest that does not name {', '.join(missing)}, expected all files of a release")
    for name, facts in manifest.files.items():
        if not (directory / name).is_file():
            raise BadModelDir(f"got a release without {name}, expected {facts.bytes:,} bytes of it: copy it again")
        got = (directory / name).stat().st_size
        if got != facts.bytes:
            raise BadModelDir(f"got {name} of {got:,} bytes, expected {facts.bytes:,}: copy the release again")


def _check_encoder_facts(manifest: Manifest) -> None:
    facts = manifest.encoder
    got = (facts.format, facts.sample_rate_hz, facts.clip_samples)
    expected = ("torchscript", SAMPLE_RATE_HZ, CLIP_SAMPLES)
    if got != expected:
        raise BadModelDir(f"got an encoder of (format, Hz, samples) {got}, expected {expected}: build it again")
    if facts.text is not None and facts.text.dim != facts.dim:
        raise BadModelDir(
            f"got a text encoder of {facts.text.dim} dimensions, expected {facts.dim} as of the encoder: build it again"
        )


def _check_norms(embeddings: Array, *, every: bool = False) -> None:
    n_clips, dim = embeddings.shape
    step = 1 if every else -(-n_clips * dim // NORM_SAMPLE_VALUES)
    _check_unit(embeddings[-1:], first_row=n_clips - 1, step=1)
    for row in range(0, n_clips, step * NORM_BLOCK_ROWS):
        _check_unit(embeddings[row : row + step * NORM_BLOCK_ROWS : step], first_row=row, step=step)


def _check_unit(vectors: Array, *, first_row: int, step: int) -> None:
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))  # NaN too
    if len(wrong):
        row = first_row + step * int(wrong[0])
        raise BadModelDir(f"got an embedding of norm {norms[wrong[0]]:g} in row {row}, expected 1: build it again")


def _check_window_rows(window_rows: npt.NDArray[np.int32], n_clips: int) -> None:
    steps = np.diff(window_rows, prepend=-1, append=n_clips)
    if not ((steps == 0) | (steps == 1)).all():
        raise BadModelDir(f"got {WINDOW_ROWS_FILE} out of order, expected every clip from 0 to {n_clips - 1} in turn")


def describe_files(directory: Path) -> dict[str, FileFacts]:
    """Size and hash of every file of a release but its manifest."""
    names = sorted(path.name for path in directory.iterdir() if path.name != MANIFEST_FILE)
    return {
        name: FileFacts(bytes=(directory / name).stat().st_size, sha256=sha256_of(directory / name)) for name in names
    }


def publish(staging: Path, model_dir: Path) -> Path:
    """Moves a finished release to `versions/NNNN` by one rename, then swaps `current`. Returns where it is.

    One whose manifest says why it is held back does not become current. A file that the current release has as well is
    kept once, for both. Killed before the rename, nothing is published; killed between the two, the next command at
    work here ends the swap (`finish_swap`).
    """
    Release(staging).verify()
    with writing_to_disk("the release"):
        share(staging, model_dir / "current")
        for path in staging.iterdir():
            path.chmod(0o444)
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(staging)
        versions = model_dir / "versions"
        versions.mkdir(exist_ok=True)
        target = versions / f"{max([0, *map(int, release_names(model_dir))]) + 1:04d}"
        becomes_current = read_manifest(staging).held_back is None
        if becomes_current:
            _announce(model_dir, target.name)
        staging.rename(target)
        sync_directory(versions)
    if becomes_current:
        finish_swap(model_dir)
    return target


def make_current(model_dir: Path, name: str) -> None:
    """Points `current` at a release in one step: a reader sees the old one or the new one.

    Raises BadModelDir, NoSpace.
    """
    with writing_to_disk("the link to the current release"):
        _announce(model_dir, name)
    finish_swap(model_dir)


def _announce(model_dir: Path, name: str) -> None:
    """Makes the link that is to take the place of `current`: who is killed before that is known to have meant it."""
    current = model_dir / "current"
    if current.is_dir() and not current.is_symlink():
        raise BadModelDir(f"got {current}, which is a folder, expected a link to a release: move it away, build again")
    link = model_dir / NEXT_LINK
    link.unlink(missing_ok=True)
    link.symlink_to(Path("versions") / name)  # relative: the model directory may be mounted elsewhere


def finish_swap(model_dir: Path) -> None:
    """Ends the swap of `current` that was begun, if one was: to a release that is there, or not at all.

    Raises NoSpace.
    """
    link = model_dir / NEXT_LINK
    if not link.is_symlink():
        return
    with writing_to_disk("the link to the current release"):
        if (link / MANIFEST_FILE).exists():
            link.replace(model_dir / "current")
        else:
            link.unlink()
        sync_directory(model_dir)


def current_name(model_dir: Path) -> str | None:
    """The name of the current release, damaged or gone though it may be; None where there is no link to one."""
    try:
        return Path(os.readlink(model_dir / "current")).name
    except OSError:
        return None


def release_names(model_dir: Path) -> list[str]:
    """The releases of a model directory, oldest first."""
    versions = model_dir / "versions"
    names = os.listdir(versions) if versions.is_dir() else []
    return sorted((name for name in names if re.fullmatch(r"\d{4,}", name)), key=int)
