"""From the files of a release to the current one: what is there is not published twice, what is worse is held back."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from audiorec.errors import BadModelDir
from audiorec.files import writing_to_disk
from audiorec.metadata import Metadata
from audiorec.publishing.changes import read_changes, undone
from audiorec.release import current_name, make_current, open_release, publish, release_names
from audiorec.release.guard import Guard
from audiorec.release.manifest import Manifest, read_manifest


@dataclass(frozen=True)
class Published:
    """A release, whether it is `new`, and whether it is current; `held_back` says why it is not."""

    release_dir: Path
    manifest: Manifest
    new: bool
    is_current: bool

    @property
    def held_back(self) -> str:
        """Empty for a current release."""
        if self.is_current:
            return ""
        return self.manifest.held_back or "another one was made current since"


def already_published(key: str, model_dir: Path, guard: Guard) -> Published | None:
    """The release with this build key, whole, if it is the current one or the newest.

    The newest takes the place of a current one that is gone or damaged, or when the guard is told so.
    """
    for path in (model_dir / "current", *(model_dir / "versions" / name for name in release_names(model_dir)[-1:])):
        try:
            if read_manifest(path).build_key != key:
                continue
            release = open_release(path, verify=True)
        except BadModelDir:
            continue
        is_current = path.name == "current"
        if not is_current and (guard.make_current or _current(model_dir) is None):
            make_current(model_dir, release.name)
            is_current = True
        return Published(release.directory, release.manifest, False, is_current)
    return None


def publish_guarded(staging: Path, model_dir: Path, guard: Guard) -> Published:
    """Publishes a finished release; it becomes current unless the guard objects, which its manifest then says.

    Raises BadModelDir for one that is not whole, NoSpace.
    """
    manifest = read_manifest(staging)
    objections = [] if guard.make_current else list(_objections(staging, manifest, model_dir, guard))
    if objections:
        manifest = manifest.model_copy(update={"held_back": "; ".join(objections)})
        with writing_to_disk("the release"):
            manifest.write(staging)
    return Published(publish(staging, model_dir), manifest, True, not objections)


def _objections(staging: Path, manifest: Manifest, model_dir: Path, guard: Guard) -> Iterable[str]:
    current = _current(model_dir)
    if current is None:
        return
    name = current_name(model_dir) or "current"
    yield from guard.objections(manifest, current, name)
    if manifest.change is None and (changes := read_changes(model_dir / "current")):
        yield from undone(Metadata.open(staging), Metadata.open(model_dir / "current"), changes)


def _current(model_dir: Path) -> Manifest | None:
    """What the current release says of itself; None where there is none that can be served."""
    try:
        return open_release(model_dir / "current").manifest
    except BadModelDir:
        return None
