"""Which model, or adapter, it is: a hash of the files that decide how it sounds."""

import hashlib
from pathlib import Path

from audiorec.errors import BadModel
from audiorec.files import sha256_of

WEIGHTS, PICKLED = ".safetensors", ".bin"  # the second is read only where the first is not
SUFFIXES = {WEIGHTS, PICKLED, ".json", ".txt", ".model"}


def fingerprint(path: Path) -> str:
    """SHA-256 over the names and contents of a model's files, or of one file: the same wherever it was copied to.

    Raises BadModel for what cannot be read.
    """
    try:
        files = [path] if path.is_file() else _loaded(path)
        lines = [f"{sha256_of(file)} {file.relative_to(path).as_posix()}\n" for file in files]
    except OSError as error:
        raise BadModel(
            f"got a model with a file that cannot be read ({error.strerror}), expected permission to read all of them"
        ) from None
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _loaded(directory: Path) -> list[Path]:
    """The files that loading reads, sorted by path; not those of editors, caches and other frameworks."""
    found = [file for file in sorted(directory.rglob("*")) if file.suffix in SUFFIXES and file.is_file()]
    found = [file for file in found if not any(part.startswith(".") for part in file.relative_to(directory).parts)]
    safe = {file.parent for file in found if file.suffix == WEIGHTS}
    return [file for file in found if file.suffix != PICKLED or file.parent not in safe]
