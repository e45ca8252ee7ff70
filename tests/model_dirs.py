"""Model directories to damage: copies of a good one, and manifests that vouch for what was done to them."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiorec.files.tsv import read_tsv
from audiorec.metadata import CORE_COLUMNS, write_metadata
from audiorec.release import describe_files
from audiorec.release.manifest import MANIFEST_FILE

GONE = object()  # as a value: the field is taken out


def copied(model_dir: Path, target: Path) -> Path:
    """The releases of a model directory without its work folder, or one release; files that can be written to."""
    shutil.copytree(model_dir, target, symlinks=True, ignore=shutil.ignore_patterns("work"))
    for path in target.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)
    return target


def edit_manifest(release_dir: Path, changes: Mapping[str, Any]) -> None:
    """changes: {"index.kind": "annoy", ...}; a value of GONE takes the field out."""
    path = release_dir / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    for dotted, value in changes.items():
        *parents, name = dotted.split(".")
        part = manifest
        for parent in parents:
            part = part[parent]
        if value is GONE:
            del part[name]
        else:
            part[name] = value
    path.write_text(json.dumps(manifest))


def vouch_for(release_dir: Path) -> None:
    """Writes the files' sizes and hashes into the manifest as they are now: hashes alone will not find a change."""
    files = {name: facts.model_dump() for name, facts in describe_files(release_dir).items()}
    edit_manifest(release_dir, {"files": files})


def change_array(path: Path, change: Mapping[int, Any]) -> None:
    """Sets rows of a .npy file."""
    array = np.load(path)
    for row, value in change.items():
        array[row] = value
    np.save(path, array)


def change_metadata(
    release_dir: Path,
    changes: Mapping[int, Mapping[str, str]] | None = None,
    *,
    order: Iterable[int] | None = None,
    n_clips: int | None = None,
    own: Mapping[str, str] | None = None,
) -> None:
    """Writes every metadata file anew, with other cells (by row and column), the rows in another order, only the first
    of them, or with `own` columns that hold one text each.
    """
    old = list(read_tsv(release_dir / "metadata.tsv"))
    rows = [{**row, **(changes or {}).get(number, {}), **(own or {})} for number, row in enumerate(old)]
    rows = [rows[number] for number in order or range(len(rows))][:n_clips]
    write_metadata(release_dir, rows, [name for name in rows[0] if name not in CORE_COLUMNS])


def flipped(name: str) -> Callable[[Path], None]:
    """A bit somewhere in the middle, where no quick look would see it."""

    def flip(release: Path) -> None:
        content = bytearray((release / name).read_bytes())
        content[len(content) // 2] ^= 1
        (release / name).write_bytes(content)

    return flip


def make_current_anyway(model_dir: Path, name: str) -> None:
    """As `make_current`, whatever the release is like."""
    link = model_dir / ".current"
    link.symlink_to(f"versions/{name}")
    link.replace(model_dir / "current")


def tree_state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Of every file and link below: (inode, time of change, size). Equal states: nothing was written."""
    states = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if not path.is_dir() or path.is_symlink():
            states[str(path.relative_to(folder))] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return states


def unit_rows(n: int, dim: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """(n, dim) float32 random unit vectors."""
    vectors: npt.NDArray[np.float32] = np.random.default_rng(seed).standard_normal((n, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
