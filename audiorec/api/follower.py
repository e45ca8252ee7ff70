"""`current` of a model directory, followed: a new release is verified and opened while the old one answers."""

import asyncio
import logging
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from audiorec.api import metrics
from audiorec.api.sighting import Note, Sighting, find, look, look_at
from audiorec.api.verifier import Verifier
from audiorec.errors import AudiorecError, BadModelDir
from audiorec.release import Release
from audiorec.release.holds import Hold

LOG = logging.getLogger("audiorec")
RETRY_S = 30.0  # after which a release is tried again that was refused for no fault of its own


@dataclass(frozen=True)
class Refusal:
    """A release that `current` leads to and that is not served."""

    release: str
    reason: str


class Follower:
    """One a worker: `open`, then `follow`. A release that was named itself is never left for another."""

    def __init__(self, model_dir: Path, poll_s: float) -> None:
        """poll_s: how long it waits before it looks at `current` again."""
        self.refusal: Refusal | None = None
        self._model_dir = model_dir
        self._poll_s = poll_s
        self._thread = ThreadPoolExecutor(1, "follow")  # a network may let it wait for a look: requests never do
        self._verifier = Verifier(metrics.shared_dir())
        self._note = Note(metrics.shared_dir())
        self._served: Sighting | None = None
        self._refused: Sighting | None = None
        self._retry_at_s = math.inf  # by the monotonic clock, while one is refused
        self._last: Sighting | None = None
        self._readable = True

    def open(self) -> Release:
        """What the other workers serve, for one that joins them; else what the model directory leads to.

        A `current` that is newer, or bad, is left to `follow`, as the others left it. Raises BadModelDir.
        """
        noted = self._note.read()
        if noted is not None:
            try:
                return self._open_noted(noted)
            except BadModelDir as error:
                LOG.warning("release %s, which this service serves, cannot be opened: %s", noted.name, error.message)
        self._served = find(self._model_dir)
        # `audiorec serve` keeps a note, and has verified what was current before there were workers.
        return self._open_verified(self._served) if self._note.is_kept else self._open(self._served)

    def _open_noted(self, noted: Sighting) -> Release:
        """It was verified before it was noted: that is not done again unless its files have changed."""
        self._served = look_at(self._model_dir, noted.target, noted.link)
        return self._open(self._served) if self._served.shows(noted) else self._open_verified(self._served)

    async def follow(self, prepare: Callable[[Release], None], serve: Callable[[Release], None]) -> None:
        """Hands every good release that `current` comes to lead to over to `serve`, until it is cancelled.

        prepare: gets a release beforehand, in a thread. What it raises is why the release is refused.
        """
        assert self._served is not None
        self._note.write(self._served)
        while self._served.link is not None:
            try:
                await self._look_again(prepare, serve)
            except Exception:  # whatever it is, a later release may be well
                LOG.exception("could not follow the model directory, trying again")
            await asyncio.sleep(self._poll_s)

    def close(self) -> None:
        self._verifier.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _look_again(self, prepare: Callable[[Release], None], serve: Callable[[Release], None]) -> None:
        loop = asyncio.get_running_loop()
        seen = await loop.run_in_executor(self._thread, look, self._model_dir)
        self._note_whether_readable(seen is not None)
        if seen is None or not self._is_worth_a_try(seen):
            return
        try:
            release = await loop.run_in_executor(self._thread, self._prepared, seen, prepare)
        except Exception as error:
            self._refuse(seen, error)
        else:
            now = await loop.run_in_executor(self._thread, look, self._model_dir)
            if now is not None and self._served is not None and now.shows(self._served):
                return  # somebody went back while this one was verified
            serve(release)
            self._served = seen
            self._forget_refusal()
            metrics.SWAPS.inc()
            self._note.write(seen)

    def _note_whether_readable(self, readable: bool) -> None:
        if readable != self._readable:
            self._readable = readable
            LOG.warning("the model directory can%s be read, the open release is served on", "" if readable else "not")

    def _is_worth_a_try(self, seen: Sighting) -> bool:
        """Not when it is served or was refused as it is now, and not while its files are still being changed.

        One that was refused for want of memory, files or processes is as good as before: it is tried after a while.
        """
        assert self._served is not None
        last, self._last = self._last, seen
        if seen.shows(self._served):
            self._forget_refusal()
            return False
        if seen == self._refused:
            metrics.REFUSED.set(1)
            return monotonic() >= self._retry_at_s
        known = {sighting.target for sighting in (self._served, self._refused) if sighting is not None}
        return seen.target not in known or seen == last

    def _prepared(self, seen: Sighting, prepare: Callable[[Release], None]) -> Release:
        release = self._open_verified(seen)
        prepare(release)
        return release

    def _open_verified(self, seen: Sighting) -> Release:
        """Raises BadModelDir."""
        directory = self._directory(seen)
        with Hold(directory):  # nobody deletes it before it is open, which holds it as well
            self._verifier.verify(directory, state=repr(seen))
            return self._open(seen)

    def _open(self, seen: Sighting) -> Release:
        """Raises BadModelDir."""
        release = Release(self._directory(seen))
        if not release.hold.locked:
            LOG.warning(
                "release %s is on a file system without locks: nobody can see that it is in use, do not delete it",
                release.name,
            )
        return release

    def _directory(self, seen: Sighting) -> Path:
        return (self._model_dir / seen.target).resolve()

    def _refuse(self, seen: Sighting, error: Exception) -> None:
        if isinstance(error, AudiorecError):
            reason = error.message
        else:
            reason = f"got {type(error).__name__} while opening it, expected none: the log says more"
            LOG.error("release %s", seen.name, exc_info=error)
        LOG.warning("release %s is refused, the one before it is still served: %s", seen.name, reason)
        self._refused, self.refusal = seen, Refusal(seen.name, reason)
        self._retry_at_s = math.inf if isinstance(error, BadModelDir) else monotonic() + RETRY_S
        metrics.RELEASE_REFUSALS.inc()
        metrics.REFUSED.set(1)

    def _forget_refusal(self) -> None:
        self._refused = self.refusal = None
        metrics.REFUSED.set(0)
