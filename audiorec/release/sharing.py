"""Files that releases have in common: on the disk once, by hard links, as releases never change."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from audiorec.errors import BadModelDir
from audiorec.files import TEMPORARY_PREFIX, sha256_of
from audiorec.release.manifest import read_manifest


def share(staging: Path, release_dir: Path) -> None:
    """Puts links to the files of a release in the place of those that an unpublished one has byte for byte.

    What cannot be linked stays as it is: on another disk, or on one without hard links.
    """
    try:
        theirs = read_manifest(release_dir).files
    except BadModelDir:
        return
    for name, facts in read_manifest(staging).files.items():
        if facts == theirs.get(name) and not (staging / name).samefile(release_dir / name):
            with suppress(OSError):
                _replace_by_link(staging / name, release_dir / name, facts.sha256)


def link_or_copy(source: Path, target: Path) -> None:
    """Gives a file a second name where the disk can, a second copy where it cannot."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _replace_by_link(path: Path, source: Path, sha256: str) -> None:
    if sha256_of(source) != sha256:  # it has suffered since
        return
    link = path.with_name(f"{TEMPORARY_PREFIX}{path.name}"[:200])
    link.unlink(missing_ok=True)
    link.hardlink_to(source)
    link.replace(path)


@dataclass(frozen=True, slots=True)
class Usage:
    """n_bytes: of all files of a release. n_own_bytes: of those that no other release has, which it alone costs."""

    n_bytes: int
    n_own_bytes: int


def usage(release_dirs: Iterable[Path]) -> Mapping[str, Usage]:
    """What each of these releases takes on the disk, by name."""
    files = {directory.name: _files(directory) for directory in release_dirs}
    n_users = Counter(file for sizes in files.values() for file in sizes)
    return {
        name: Usage(sum(sizes.values()), sum(size for file, size in sizes.items() if n_users[file] == 1))
        for name, sizes in files.items()
    }


def disk_bytes(release_dirs: Iterable[Path]) -> int:
    """What these releases take together, a file that several have counted once."""
    return sum({file: size for directory in release_dirs for file, size in _files(directory).items()}.values())


def _files(release_dir: Path) -> dict[tuple[int, int], int]:
    """Bytes by device and inode; none for a release that has just been deleted."""
    try:
        states = [path.stat() for path in release_dir.iterdir() if path.is_file()]
    except OSError:
        return {}
    return {(state.st_dev, state.st_ino): state.st_size for state in states}
