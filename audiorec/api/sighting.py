"""How a release looks from outside, which changes when its files do; and the note of what a service's workers serve."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from audiorec.errors import NoSpace
from audiorec.files import replacing
from audiorec.release import SERVED_FILES, resolve
from audiorec.release.manifest import MANIFEST_FILE

NOTE_FILE = "serving.json"  # in the folder that all workers share

Stamp = tuple[int, int] | None  # bytes and time of change; None where nothing can be seen


@dataclass(frozen=True)
class Sighting:
    """A release, and how it looked. Cheap, on a network file system too.

    target: its folder, from the model directory on, or absolute where it was named itself. link: of `current`, if any.
    """

    target: str
    link: Stamp
    files: tuple[Stamp, ...]

    @property
    def name(self) -> str:
        """The release's."""
        return Path(self.target).name

    def shows(self, other: "Sighting") -> bool:
        """Whether both are of the same release, unchanged; the link may have been made anew."""
        return (self.target, self.files) == (other.target, other.files)


def look(model_dir: Path) -> Sighting | None:
    """What `current` leads to at this moment; None where there is no link, or none that can be read."""
    link = model_dir / "current"
    try:
        target = os.readlink(link)
    except OSError:
        return None
    return look_at(model_dir, target, _stamp(link, follow_symlinks=False))


def look_at(model_dir: Path, target: str, link: Stamp = None) -> Sighting:
    return Sighting(target, link, tuple(_stamp(model_dir / target / name) for name in (MANIFEST_FILE, *SERVED_FILES)))


def find(model_dir: Path) -> Sighting:
    """What a service is to serve when it starts: the current release, or the one that was named itself, without a link.

    Raises BadModelDir.
    """
    directory = resolve(model_dir)
    named_itself = (model_dir / MANIFEST_FILE).exists()
    return (None if named_itself else look(model_dir)) or look_at(model_dir, str(directory))


def _stamp(path: Path, *, follow_symlinks: bool = True) -> Stamp:
    try:
        status = os.stat(path, follow_symlinks=follow_symlinks)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


class Note:
    """What the workers of a service serve, for one that takes the place of a dead one: it is to go on with that.

    It is kept where `audiorec serve` has made place for it, and nowhere else: in a folder that another service may use
    after this one, it would be taken for its own.
    """

    def __init__(self, shared_dir: Path | None) -> None:
        path = shared_dir / NOTE_FILE if shared_dir else None
        self._path = path if path and path.exists() else None

    @property
    def is_kept(self) -> bool:
        return self._path is not None

    def read(self) -> Sighting | None:
        """None until a worker has served."""
        if self._path is None:
            return None
        seen: Sighting | None = _NOTED.validate_json(self._path.read_bytes())
        return seen

    def write(self, seen: Sighting) -> None:
        if self._path is not None:
            with suppress(NoSpace), replacing(self._path) as file:  # then an older one stays, which was good too
                file.write(_NOTED.dump_json(seen))


_NOTED: TypeAdapter[Sighting | None] = TypeAdapter(Sighting | None)


def make_note(shared_dir: Path) -> None:
    """An empty one."""
    (shared_dir / NOTE_FILE).write_bytes(_NOTED.dump_json(None))
