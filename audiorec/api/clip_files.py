"""The files that the catalogue's clips were made from, where the service is told the folder that they lie in."""

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from audiorec.catalogue import CRAWLED_FILE, LABELS_FILE, read_crawled, read_labels
from audiorec.errors import BadCatalogue, BadSetting, MissingSound

LOG = logging.getLogger("audiorec")
TABLES = {CRAWLED_FILE: read_crawled, LABELS_FILE: read_labels}  # what the later one says comes first, as in a build
MEDIA_TYPES = {  # by extension; what is none of these is not sent to a browser
    ".aac": "audio/aac",
    ".aif": "audio/aiff",
    ".aifc": "audio/aiff",
    ".aiff": "audio/aiff",
    ".au": "audio/basic",
    ".avi": "video/x-msvideo",
    ".caf": "audio/x-caf",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".m4b": "audio/mp4",
    ".m4v": "video/mp4",
    ".mka": "audio/x-matroska",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp2": "audio/mpeg",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".snd": "audio/basic",
    ".wav": "audio/wav",
    ".wave": "audio/wav",
    ".weba": "audio/webm",
    ".webm": "video/webm",
    ".wma": "audio/x-ms-wma",
    ".wmv": "video/x-ms-wmv",
}


@dataclass(frozen=True)
class ClipFile:
    """tag: another one when the file was changed."""

    file: BinaryIO
    n_bytes: int
    media_type: str
    tag: str


class ClipFiles:
    """One a worker. All of it may wait for a disk: it is for threads.

    A clip's file is the one that `labels.csv` or `clips.tsv` at the top of the folder has under its id, else the one
    whose path is its id: what a build of the folder makes of it.
    """

    def __init__(self, folder: Path) -> None:
        """Raises BadSetting for what is no folder."""
        if not folder.is_dir():
            raise BadSetting(
                f"got a folder {folder.name!r} for AUDIOREC_CLIPS_DIR that is not there, expected the one that the "
                "catalogue was built from, or nothing"
            )
        self._folder = folder.resolve()
        self._lock = Lock()
        self._seen: tuple[tuple[int, ...], ...] | None = None
        self._paths: dict[str, Path] = {}  # by the ids that are no paths

    def open(self, clip_id: str) -> ClipFile:
        """clip_id: of the catalogue. The file lies in the folder, wherever links lead. Raises MissingSound."""
        try:
            path = (self._tabled().get(clip_id) or self._folder / clip_id).resolve(strict=True)
            if not path.is_relative_to(self._folder) or path.suffix.lower() not in MEDIA_TYPES:
                raise OSError
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)  # no pipe is waited for
        except (OSError, ValueError, RuntimeError):  # a NUL in it, and links in a circle, are the last two
            raise _missing() from None
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            os.close(file)
            raise _missing()
        tag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
        return ClipFile(os.fdopen(file, "rb"), status.st_size, MEDIA_TYPES[path.suffix.lower()], tag)

    def _tabled(self) -> dict[str, Path]:
        """Read anew when a table changes. One that cannot be read says nothing."""
        with self._lock:
            seen = tuple(map(self._look, TABLES))
            if seen != self._seen:
                self._seen, self._paths = seen, {}
                for name, facts in zip(TABLES, seen, strict=True):
                    if facts:
                        self._read(name)
            return self._paths

    def _look(self, name: str) -> tuple[int, ...]:
        try:
            status = (self._folder / name).stat()
        except OSError:
            return ()
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _read(self, name: str) -> None:
        try:
            table = TABLES[name](self._folder / name)
        except BadCatalogue as error:
            LOG.warning("cannot tell whose sounds are whose: %s", error.message)
            return
        for path, fields in table.items():
            clip_id = fields.get("clip_id")
            if clip_id and path != self._folder / clip_id:
                self._paths[clip_id] = path


def _missing() -> MissingSound:
    return MissingSound(
        "got a clip whose file is not in the folder of clips that this service was given, expected one that is: "
        "its url may lead to it"
    )
