"""Files without a name, in memory where the system can: what one process writes, another that holds it reads."""

import os
import tempfile
from typing import BinaryIO, cast


def memory_file() -> BinaryIO:
    """An empty one. An upload must not fail because a disk is full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("audiorec"), "w+b")
    return cast(BinaryIO, tempfile.TemporaryFile())


def replace_content(file: BinaryIO, content: bytes | memoryview) -> None:
    """Wherever the file is being read: its position, which all who hold it share, stays."""
    descriptor, rest, position = file.fileno(), memoryview(content), 0
    os.ftruncate(descriptor, len(rest))
    while rest:  # the system takes 2 GB at a time
        n_written = os.pwrite(descriptor, rest, position)
        rest, position = rest[n_written:], position + n_written


def read_content(file: BinaryIO, n_bytes: int) -> bytes:
    """The first `n_bytes`, or fewer where there are no more."""
    parts: list[bytes] = []
    while n_bytes > 0 and (part := os.pread(file.fileno(), n_bytes, sum(map(len, parts)))):
        parts.append(part)
        n_bytes -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
