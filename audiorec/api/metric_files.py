"""Room on disk for the files in which a worker counts, taken before it counts: a full disk kills nobody.

prometheus_client maps sparse files into memory. Where the disk is full, the first number that needs another page of one
ends the process with SIGBUS, in the middle of any request.
"""

import os
from contextlib import suppress
from pathlib import Path

from audiorec.files import writing_to_disk

ROOM_BYTES = {  # by the beginning of the name that prometheus_client gives a file; what is in it is a half at most
    "counter": 2**16,
    "histogram": 2**17,
    "gauge_livesum": 2**16,
    "gauge_livemax": 2**16,
    "gauge_livemostrecent": 2**16,
}
_N_USED_BYTES = 4  # a file begins with how much of it is used


def make_room(directory: Path) -> None:
    """For this process, before `metrics` is imported. Raises NoSpace."""
    for kind, n_bytes in ROOM_BYTES.items():
        path = _path(directory, kind, os.getpid())
        new = path.with_suffix(".new")  # an empty .db would break whoever is asked for /metrics just now
        with writing_to_disk("the files in which workers count"), new.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
            new.replace(path)


def give_back_room(directory: Path, pid: int) -> None:
    """Of a worker that has died. What it has counted stays; what it had in progress is forgotten."""
    for kind in ROOM_BYTES:
        path = _path(directory, kind, pid)
        with suppress(OSError):
            n_used = 0 if kind.startswith("gauge") else int.from_bytes(path.read_bytes()[:_N_USED_BYTES], "little")
            if n_used:
                os.truncate(path, n_used)
            else:
                path.unlink()


def _path(directory: Path, kind: str, pid: int) -> Path:
    return directory / f"{kind}_{pid}.db"
