"""The releases of a model directory: what each is and costs, which one is current, and which may go."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audiorec.errors import BadModelDir, BadSetting
from audiorec.files import sync_directory, writing_to_disk
from audiorec.publishing import already_published
from audiorec.publishing.workplace import Workplace
from audiorec.quoting import quoted
from audiorec.release import current_name, make_current, open_release, publish, release_names
from audiorec.release.guard import Guard
from audiorec.release.holds import Exclusive, is_held
from audiorec.release.manifest import MANIFEST_FILE, Manifest, read_manifest
from audiorec.release.sharing import disk_bytes, usage

GONE_PREFIX = ".gone-"  # of a release that is being deleted


@dataclass(frozen=True)
class Listed:
    """A release as `releases` lists it. n_own_bytes: of files that no other release here has. held: by a process.

    manifest: None for one that cannot be read, then `problem` says why.
    """

    name: str
    current: bool
    held: bool
    n_bytes: int
    n_own_bytes: int
    manifest: Manifest | None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Flat, with None for what is not known."""
        fields = {**asdict(self), "problem": self.problem or None}
        del fields["manifest"]
        manifest = self.manifest
        if manifest is None:
            return fields
        scores = manifest.evaluation.encoder
        has_labels = scores.n_queries > 0
        return fields | {
            "created_at": manifest.created_at,
            "encoder": manifest.encoder.name,
            "n_clips": manifest.catalogue.n_clips,
            "recall_at_10": manifest.index.recall_at_10,
            "p5": scores.precision.get("5") if has_labels else None,
            "mean_average_precision": scores.mean_average_precision if has_labels else None,
            "change": manifest.change.model_dump() if manifest.change else None,
            "held_back": manifest.held_back,
        }


def list_releases(model_dir: Path) -> list[Listed]:
    """All releases, oldest first. Reads no more than their manifests. Raises BadModelDir where there are none."""
    names = _names(model_dir)
    current, used = current_name(model_dir), usage(model_dir / "versions" / name for name in names)
    listed = []
    for name in names:
        manifest, held, problem = _looked_at(model_dir / "versions" / name)
        listed.append(
            Listed(name, name == current, held, used[name].n_bytes, used[name].n_own_bytes, manifest, problem)
        )
    return listed


def _looked_at(release_dir: Path) -> tuple[Manifest | None, bool, str]:
    """(its manifest, whether it is held, what is wrong with it)."""
    try:
        return read_manifest(release_dir), is_held(release_dir), ""
    except BadModelDir as error:
        return None, False, error.message


def _names(model_dir: Path) -> list[str]:
    names = release_names(model_dir)
    if not names:
        raise BadModelDir(
            f"got {model_dir} without a release, expected a model directory: publish one by `audiorec build`"
        )
    return names


def use(model_dir: Path, release: str) -> str:
    """Makes a release current, older or newer, after every byte of it was verified. Returns its name.

    release: a name, as 0003; or the path of a release elsewhere, which is copied and becomes the next one.
    Raises BadModelDir, BadSetting for a name that is unknown, Busy, NoSpace.
    """
    names, path = release_names(model_dir), Path(release)
    if release not in names and (path / MANIFEST_FILE).exists():
        if path.resolve().parent != (model_dir / "versions").resolve():
            return _take_over(model_dir, path)
        release = path.resolve().name
    if release not in _names(model_dir):
        raise BadSetting(f"got the release {quoted(release)}, expected one of {', '.join(names)}, or the path of one")
    with Workplace(model_dir).locked():
        open_release(model_dir / "versions" / release, verify=True)
        make_current(model_dir, release)
    return release


def _take_over(model_dir: Path, elsewhere: Path) -> str:
    release = open_release(elsewhere)  # which holds it while it is copied
    manifest = release.manifest
    with Workplace(model_dir).locked() as work:
        there = already_published(manifest.build_key, model_dir, Guard(make_current=True))
        if there is not None:
            return there.release_dir.name
        staging = work.staging_dir
        with writing_to_disk("the release"):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            for name in (*manifest.files, MANIFEST_FILE):
                shutil.copyfile(elsewhere / name, staging / name)
        name = publish(staging, model_dir).name
        make_current(model_dir, name)  # even when it was held back where it comes from
    return name


def rollback(model_dir: Path, release: str | None = None) -> str:
    """Makes an older release current, verified first; the one before the current by default. Returns its name.

    Releases that were held back when they were published are passed over by default. Raises as `use` does.
    """
    if release is not None:
        return use(model_dir, release)
    names, current = _names(model_dir), current_name(model_dir)
    if current is not None and not current.isdecimal():
        raise BadModelDir(
            f"got {quoted(current)} for the current release, expected one of {', '.join(names)} to go back from: "
            "choose one by `audiorec use`"
        )
    for name in reversed(names):
        manifest, _, _ = _looked_at(model_dir / "versions" / name)
        is_older = current is None or int(name) < int(current)
        if is_older and manifest is not None and manifest.held_back is None:
            return use(model_dir, name)
    raise BadModelDir(f"got no release before {current}, expected one to go back to: `audiorec releases` lists them")


@dataclass(frozen=True)
class Pruned:
    """deleted, kept: names, oldest first. held: those among the kept that somebody holds, and would be deleted else.

    n_bytes: what was given back.
    """

    deleted: list[str]
    kept: list[str]
    held: list[str]
    n_bytes: int


def prune(model_dir: Path, keep: int) -> Pruned:
    """Deletes all releases but the newest `keep`, the current one, and those that a process holds.

    Killed anywhere, what is left of a deleted release goes with the next call. Raises BadSetting for less than one to
    keep, BadModelDir, Busy, NoSpace.
    """
    if keep < 1:
        raise BadSetting(f"got {keep} releases to keep, expected at least 1")
    _names(model_dir)
    with Workplace(model_dir).locked():
        names, current = release_names(model_dir), current_name(model_dir)
        if current not in names:
            raise BadModelDir(
                f"got {model_dir} without a current release, expected one before others are deleted: "
                "choose it by `audiorec use`"
            )
        versions = model_dir / "versions"
        n_bytes_before = disk_bytes(versions / name for name in names)
        wanted = [name for name in names[:-keep] if name != current]
        with writing_to_disk("the releases"):
            for leftover in versions.glob(f"{GONE_PREFIX}*"):
                _remove(leftover)
            deleted = [name for name in wanted if _delete(versions / name)]
            sync_directory(versions)
        kept = [name for name in names if name not in deleted]
        held = [name for name in wanted if name not in deleted]
        return Pruned(deleted, kept, held, n_bytes_before - disk_bytes(versions / name for name in kept))


def _delete(release_dir: Path) -> bool:
    """Whether a release was deleted; not when somebody holds it. By a rename first: nobody opens half of it."""
    moved = release_dir.with_name(f"{GONE_PREFIX}{release_dir.name}")
    try:
        with Exclusive(release_dir) as exclusive:
            if exclusive.is_held:
                return False
            release_dir.rename(moved)
    except BadModelDir:  # without a manifest it cannot be held, nor opened
        release_dir.rename(moved)
    _remove(moved)
    return True


def _remove(path: Path) -> None:
    """A folder with all that is in it; of a link to one, on another disk perhaps, the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
