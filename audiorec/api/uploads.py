"""What goes through the encoder, a bounded number at once and equal ones once; uploads of late from memory."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from hashlib import sha256
from math import ceil
from time import monotonic
from typing import Any

from prometheus_client import Counter

from audiorec.api import metrics
from audiorec.api.pending import Pending, Result
from audiorec.api.upload_cache import UploadCache
from audiorec.api.upload_jobs import Job, JobThreads
from audiorec.audio.decoder import LOOK_S
from audiorec.embed import Embedding
from audiorec.errors import NotReady, Overloaded
from audiorec.release import Release
from audiorec.settings import Settings

ClientGone = Callable[[], Awaitable[bool]]

QUICKLY_HASHED_BYTES = 2**18  # in a fraction of a millisecond: not worth a thread's hop
MAX_RETRY_S = 60


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Uploads:
    """One a worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = JobThreads(settings, self._settle)
        self._cache = UploadCache(settings.upload_cache_mb * 2**20)
        self._jobs: dict[Hashable, Pending[Any]] = {}  # those that another who asks the same can join
        self._under_way: set[Pending[Any]] = set()
        self._last_s = 0.0  # how long the job that ended last was here

    async def embed(self, sound: bytes, release: Release, client_gone: ClientGone) -> Embedding:
        """The bytes of a sound file to its embedding. Raises BadAudio, Overloaded, ClientGoneError."""
        key = await self._key(sound, release)
        if (known := self._cache.get(key)) is not None:
            metrics.UPLOAD_CACHE["hit"].inc()
            return known
        return await self.result(key, lambda: Job(key, sound, release), client_gone, metrics.UPLOAD_CACHE)

    async def result(
        self, key: Hashable, new: Callable[[], Pending[Result]], client_gone: ClientGone, counts: Mapping[str, Counter]
    ) -> Result:
        """Of the job with this key: one that is under way, or a new one. Raises Overloaded, ClientGoneError, and what
        goes wrong with the job. counts: of those that joined one, and that began one.
        """
        job: Pending[Result] = self._join(key, counts) or self._begin(new, counts)
        try:
            while not job.outcome.done():
                await asyncio.wait([job.outcome], timeout=LOOK_S)
                if not job.outcome.done() and await client_gone():
                    raise ClientGoneError
            return job.result()
        finally:
            job.n_waiting -= 1
            if not job.wanted():
                self._forget(job)
            del job  # see Pending.result

    async def load_encoder(self, release: Release) -> None:
        """Imports torch and loads the encoder, as the first upload would."""
        await self._threads.load_encoder(release)

    def close(self) -> None:
        """Nobody is left waiting."""
        self._threads.close()
        stops = NotReady("got something to encode while the service stops, expected nothing any more: try again later")
        for job in list(self._under_way):
            self._settle(job, stops)

    async def _key(self, sound: bytes, release: Release) -> Hashable:
        """What two uploads have in common that get the same embedding. Without a cache, nothing."""
        if not self._settings.upload_cache_mb:
            return object()
        hashed = sha256(sound) if len(sound) <= QUICKLY_HASHED_BYTES else await asyncio.to_thread(sha256, sound)
        return (*release.encoder_key(), hashed.digest())

    def _join(self, key: Hashable, counts: Mapping[str, Counter]) -> Pending[Any] | None:
        job = self._jobs.get(key)
        if job is not None:
            job.n_waiting += 1
            counts["shared"].inc()
        return job

    def _begin(self, new: Callable[[], Pending[Result]], counts: Mapping[str, Counter]) -> Pending[Result]:
        if len(self._under_way) >= self._settings.encode_queue:
            overloaded = Overloaded(
                f"got more than {self._settings.encode_queue} uploads and texts at once: try again in a moment"
            )
            overloaded.retry_after_s = min(max(1, ceil(self._last_s)), MAX_RETRY_S)
            raise overloaded
        metrics.UPLOADS.inc()
        counts["miss"].inc()
        job = new()
        self._jobs[job.key] = job
        self._under_way.add(job)
        self._threads.begin(job)
        return job

    def _forget(self, job: Pending[Any]) -> None:
        """Nobody waits for it: from now on, whoever sends the same begins anew."""
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]
        self._threads.cancel(job)

    def _settle(self, job: Pending[Any], outcome: Any) -> None:
        if job not in self._under_way:  # `close` was quicker than its thread
            return
        self._under_way.remove(job)
        self._last_s = monotonic() - job.begun_s
        metrics.UPLOADS.dec()
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]
        if isinstance(outcome, Embedding):
            self._cache.put(job.key, outcome)
        job.outcome.set_result(outcome)
