"""A catalogue that lives: clips added to it and removed from it, each time a new release that keeps every other vector.

The release itself is the source, and its own encoder hears the new clips: a copied model directory without its `work/`
is as good. A later `build` of a folder publishes that folder and nothing else. Where this would undo what was added or
removed here, which releases remember (`changes.tsv`), the new release is held back until told otherwise.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audiorec.audio.decoder import DecodeLimits
from audiorec.audio.wav import read_wav
from audiorec.catalogue import Refusal, scan_all
from audiorec.catalogue.convert import DEFAULT_LIMITS, REFUSED_FILE, Conversion, Row, convert_found, read_refused
from audiorec.errors import BadCatalogue, BadModelDir
from audiorec.features import FeatureStore, add_features, means_of, vectors_of
from audiorec.metadata import Metadata
from audiorec.progress import Progress, silent
from audiorec.publishing import Published, already_published, publish_guarded
from audiorec.publishing.changes import REMOVED, read_changes
from audiorec.publishing.revision import Additions, stage_revision
from audiorec.publishing.workplace import Workplace
from audiorec.release import Release, open_release, resolve
from audiorec.release.guard import DEFAULT_GUARD, Guard
from audiorec.release.manifest import MANIFEST_FILE


@dataclass(frozen=True)
class Edited:
    """What `add` or `remove` ended with.

    published: the release that has what was asked for; `new` unless all of it was there before. unchanged: ids that
    were there with the same content. refusals: what could not be added, and why. unknown: ids that could not be
    removed. seconds: by stage.
    """

    published: Published
    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "release": self.published.release_dir.name,
            "new": self.published.new,
            "current": self.published.is_current,
            "held_back": self.published.held_back or None,
            "added": self.added,
            "replaced": self.replaced,
            "removed": self.removed,
            "unchanged": self.unchanged,
            "refused": [asdict(refusal) for refusal in self.refusals],
            "unknown": self.unknown,
        }


def add(
    model_dir: Path,
    clips: Sequence[Path],
    *,
    replace: bool = False,
    guard: Guard = DEFAULT_GUARD,
    limits: DecodeLimits = DEFAULT_LIMITS,
    n_workers: int | None = None,
    placeholder_artists: bool = False,
    progress: Progress = silent,
) -> Edited:
    """Publishes the next release with these clips in it: files, and folders as `build` takes them.

    A clip whose id is there with the same sound is passed over; with another sound it is refused, one by one, unless
    `replace`, which also takes over what is now said of it. placeholder_artists: make up names for those of these clips
    that have none, see `placeholders.py`. Killed anywhere, the same call goes on where it stopped.
    Raises BadModelDir, BadCatalogue when there is nothing to add, Busy, NoSpace.
    """
    with _locked(model_dir) as (work, base):
        found, wav_dir = scan_all(clips), work.added_dir / "wav"
        if not found.candidates and not found.refusals:
            raise BadCatalogue(f"got no clip, but {found.n_ignored} other files, expected sound files")
        with work.timed("convert"):
            conversion = convert_found(
                found,
                wav_dir,
                limits=limits,
                n_workers=n_workers,
                placeholder_artists=placeholder_artists,
                progress=progress,
            )
        plan = _Plan.of(conversion, base, replace)
        gone = [row for row in map(base.metadata.find, plan.clip_ids) if row is not None]
        published = _publish(
            work, base, gone, plan.rows, lambda: _additions(work, base, plan.rows, progress), plan.refused(base), guard
        )
        shutil.rmtree(work.added_dir, ignore_errors=True)
        return Edited(
            published,
            added=[clip_id for clip_id in plan.clip_ids if base.metadata.find(clip_id) is None],
            replaced=[base.metadata.clip_id(row) for row in gone],
            unchanged=plan.unchanged,
            refusals=plan.refusals,
            seconds=work.seconds,
        )


def remove(model_dir: Path, clip_ids: Iterable[str], *, guard: Guard = DEFAULT_GUARD) -> Edited:
    """Publishes the next release without these clips. An id that was removed before is passed over.

    Killed anywhere, the same call does the rest. Raises BadModelDir, BadCatalogue when no clip would be left, Busy,
    NoSpace; an id that the catalogue does not have is `unknown` and stops nothing.
    """
    with _locked(model_dir) as (work, base):
        rows = {clip_id: base.metadata.find(clip_id) for clip_id in dict.fromkeys(clip_ids)}
        gone = sorted(row for row in rows.values() if row is not None)
        if len(gone) == len(base.embeddings):
            raise BadCatalogue(f"got all {len(gone):,} clips to remove, expected at least one to stay: leave one out")
        refused = read_refused(base.directory / REFUSED_FILE)
        published = _publish(work, base, gone, [], lambda: Additions.none(base.dim, base.n_labels), refused, guard)
        before = read_changes(base.directory)
        absent = [clip_id for clip_id, row in rows.items() if row is None]
        return Edited(
            published,
            removed=[clip_id for clip_id, row in rows.items() if row is not None],
            unchanged=[clip_id for clip_id in absent if before.get(clip_id) == REMOVED],
            unknown=[clip_id for clip_id in absent if before.get(clip_id) != REMOVED],
            seconds=work.seconds,
        )


@contextmanager
def _locked(model_dir: Path) -> Iterator[tuple[Workplace, Release]]:
    """The lock that builds take too, and the current release, every file of which is what was published."""
    if (model_dir / MANIFEST_FILE).exists():
        raise BadModelDir(
            f"got {model_dir}, which is a release, expected a model directory, where the next one can go: "
            f"make one by `audiorec use MODEL_DIR {model_dir}`"
        )
    resolve(model_dir)  # before anything is written to a folder that may be anything
    with Workplace(model_dir).locked() as work:
        with work.timed("verify"):
            base = open_release(model_dir)
            base.check_hashes()
        yield work, base


@dataclass(frozen=True)
class _Plan:
    """What is to become of clips that were converted. rows: of those that go in. unchanged: ids."""

    rows: list[Row]
    unchanged: list[str]
    refusals: list[Refusal]

    @property
    def clip_ids(self) -> list[str]:
        return [row["clip_id"] for row in self.rows]

    @classmethod
    def of(cls, conversion: Conversion, base: Release, replace: bool) -> "_Plan":
        plan = cls([], [], list(conversion.refusals))
        for row in conversion.clips:
            clip_id = row["clip_id"]
            there = base.metadata.find(clip_id)
            if there is None:
                plan.rows.append(row)
            elif _sounds_alike(row, base.metadata, there) and not (replace and _differs(row, base.metadata, there)):
                plan.unchanged.append(clip_id)
            elif replace:
                plan.rows.append(row)
            else:
                message = (
                    f"got another sound for the id {clip_id}, which the catalogue has, expected one that is new: "
                    "change it, or replace the clip by --replace"
                )
                plan.refusals.append(Refusal(clip_id, "id_taken", message))
        return plan

    def refused(self, base: Release) -> list[Refusal]:
        """What has been left out of the catalogue in the end."""
        taken = set(self.clip_ids)
        before = read_refused(base.directory / REFUSED_FILE)
        by_id = {refusal.clip_id: refusal for refusal in before if refusal.clip_id not in taken}
        by_id |= {refusal.clip_id: refusal for refusal in self.refusals}
        return [by_id[clip_id] for clip_id in sorted(by_id)]


def _sounds_alike(row: Row, metadata: Metadata, there: int) -> bool:
    return bool(metadata.column("sha256").take(np.array([there]))[0] == row["sha256"])


def _differs(row: Row, metadata: Metadata, there: int) -> bool:
    """Whether anything else is said of a clip now than in a row of a catalogue."""
    if any(cell and name not in metadata.columns for name, cell in row.items()):
        return True
    try:
        columns = ((metadata.column(name), row.get(name, "")) for name in metadata.columns)
        return any(column.take(np.array([there]))[0] != column.parse(cell) for column, cell in columns)
    except ValueError:  # a word where all others have numbers
        return True


def _additions(work: Workplace, base: Release, rows: Sequence[Row], progress: Progress) -> Additions:
    """The vectors of clips, by the encoder of the release; those that it has the same sound of are taken from there."""
    there = {row["clip_id"]: base.metadata.find(row["clip_id"]) for row in rows}
    vectors = {
        clip_id: (
            base.embeddings[at],
            base.windows[slice(*np.searchsorted(base.window_rows, [at, at + 1]))],
            base.predictions.scores[at] if base.predictions is not None else np.empty(0, np.float16),
        )
        for row in rows
        if (at := there[clip_id := row["clip_id"]]) is not None and _sounds_alike(row, base.metadata, at)
    }
    new = {row["clip_id"]: row["sha256"] for row in rows if row["clip_id"] not in vectors}
    dim = base.dim
    with FeatureStore(work.added_dir / f"vectors-{base.manifest.encoder.key}", dim + base.n_labels) as store:
        missing = [sha256 for sha256 in dict.fromkeys(new.values()) if sha256 not in store]
        if missing:
            with work.timed("encode"):
                sounds = ((sha256, read_wav(work.added_dir / "wav", sha256)) for sha256 in missing)
                encoded = add_features(base.encoder.outputs, sounds, store)
                for _ in progress(encoded, total=len(missing), stage="encode", unit="clip"):
                    pass
        sha256s = list(new.values())
        of_new = vectors_of(lambda outputs: outputs[:, :dim], store, sha256s, dim)
        scores = means_of(lambda outputs: outputs[:, dim:], store, sha256s)
        vectors |= {clip_id: (*both, one) for clip_id, both, one in zip(new, of_new, scores, strict=True)}
    in_order = [vectors[row["clip_id"]] for row in rows]
    return Additions(
        rows,
        np.stack([vector for vector, _, _ in in_order]),
        np.concatenate([windows for _, windows, _ in in_order]).astype(np.float16),
        np.array([len(windows) for _, windows, _ in in_order], np.int64),
        np.stack([scores for _, _, scores in in_order]).astype(np.float16),
    )


def _publish(
    work: Workplace,
    base: Release,
    gone: Sequence[int],
    rows: Sequence[Row],
    additions: Callable[[], Additions],
    refusals: Sequence[Refusal],
    guard: Guard,
) -> Published:
    if not gone and not rows:
        return Published(base.directory, base.manifest, False, True)
    change = [base.manifest.build_key, list(gone), [sorted(row.items()) for row in rows]]
    key = hashlib.sha256(json.dumps(change).encode()).hexdigest()
    there = already_published(key, work.model_dir, guard)
    if there is not None:
        return there
    stage_revision(work, base, np.array(gone, np.int64), additions(), refusals, build_key=key)
    with work.timed("publish"):
        return publish_guarded(work.staging_dir, work.model_dir, guard)
