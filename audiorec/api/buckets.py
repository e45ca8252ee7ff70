"""Token buckets that the workers of one host share, in a file that all of them map.

A bucket is one number, the time at which it will be full again (the generic cell rate algorithm, ITU-T I.371: the token
bucket, written so that nothing has to drip). A bucket that is full is as good as none, and its place is free: the table
needs no sweeping and never grows, and a client costs 16 bytes.
"""

import fcntl
import hashlib
import math
import mmap
import os
import time
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from audiorec.rate import Rate

BUCKETS_FILE = "buckets"  # in the folder that all workers share
SALT_BYTES = 16
N_SETS = 4_096
PLACES = 8  # of a set; a client's bucket lies in one of them
N_TRIES = 200  # for a lock that is held for microseconds
SECOND_NS = 1_000_000_000
_SET = Struct(f"<{2 * PLACES}Q")  # client, time in ns, client, time, ...
_PLACE = Struct("<QQ")
FILE_BYTES = SALT_BYTES + N_SETS * _SET.size


class Taken(NamedTuple):
    """Whether there was a token; how many are left; when the bucket is full, and when the next token comes (0: now)."""

    allowed: bool
    remaining: int
    full_in_s: int
    retry_in_s: int


def make_buckets_file(path: Path) -> None:
    """A new table, with a salt of its own: nobody can choose addresses that fall into one set."""
    path.write_bytes(os.urandom(SALT_BYTES) + bytes(FILE_BYTES - SALT_BYTES))


class Buckets:
    """One a worker, for one thread at a time."""

    def __init__(self, path: Path | None = None) -> None:
        """path: a file of `make_buckets_file`; without one, the buckets are this process's own."""
        self._file = path.open("r+b", buffering=0) if path else None
        self._table = mmap.mmap(self._file.fileno() if self._file else -1, FILE_BYTES)
        if self._file is None:
            self._table[:SALT_BYTES] = os.urandom(SALT_BYTES)
        self._salt = self._table[:SALT_BYTES]

    def close(self) -> None:
        self._table.close()
        if self._file is not None:
            self._file.close()

    def take(self, client: str, rate: Rate, now_ns: int | None = None) -> Taken:
        """A token of the client's bucket, which holds `rate.times` of them.

        now_ns: by the clock that counts from the machine's start: one for all processes, and nobody sets it.
        """
        now_ns = time.monotonic_ns() if now_ns is None else now_ns
        token_ns = rate.period_s * SECOND_NS // rate.times
        digest = hashlib.blake2b(client.encode(), digest_size=16, key=self._salt).digest()
        n_set, client_id = int.from_bytes(digest[:8], "little") % N_SETS, int.from_bytes(digest[8:], "little")
        start = SALT_BYTES + n_set * _SET.size
        is_locked = self._lock(start)
        try:
            numbers = _SET.unpack_from(self._table, start)
            place = _place_of(client_id, numbers)
            full_ns = max(numbers[2 * place + 1], now_ns) if numbers[2 * place] == client_id else now_ns
            room_ns = now_ns + rate.period_s * SECOND_NS - full_ns
            allowed = room_ns >= token_ns
            if allowed:
                full_ns += token_ns
                room_ns -= token_ns
                _PLACE.pack_into(self._table, start + place * _PLACE.size, client_id, full_ns)
        finally:
            if is_locked:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _SET.size, start)  # type: ignore[arg-type]
        wait_ns = 0 if room_ns >= token_ns else token_ns - room_ns
        return Taken(allowed, max(0, room_ns) // token_ns, _seconds(full_ns - now_ns), _seconds(wait_ns))

    def _lock(self, start: int) -> bool:
        """Holds a set of the table. False when another worker holds it for long, as one that was stopped does: then
        nobody waits for it, and at worst one request is not counted.
        """
        return self._file is not None and any(self._try_lock(start) for _ in range(N_TRIES))

    def _try_lock(self, start: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SET.size, start)  # type: ignore[arg-type]
        except OSError:
            time.sleep(0)  # the one who holds it may need the processor
            return False
        return True


def _place_of(client_id: int, numbers: tuple[int, ...]) -> int:
    """The client's own place in a set, else that of the bucket which is or will be full first."""
    clients, times = numbers[::2], numbers[1::2]
    if client_id in clients:
        return clients.index(client_id)
    return times.index(min(times))


def _seconds(span_ns: int) -> int:
    return math.ceil(span_ns / SECOND_NS)
