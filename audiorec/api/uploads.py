"""Uploaded sounds to embeddings: a bounded number at once, equal ones once, those of late from memory."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from hashlib import sha256
from math import ceil
from time import monotonic

from audiorec.api import metrics
from audiorec.api.upload_cache import UploadCache
from audiorec.api.upload_jobs import Job, JobThreads
from audiorec.decoder import LOOK_S
from audiorec.embed import Embedding
from audiorec.errors import NotReady, Overloaded
from audiorec.release import ENCODER_FILE, Release
from audiorec.settings import Settings

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
        self._jobs: dict[Hashable, Job] = {}  # those that another with the same sound can join
        self._under_way: set[Job] = set()
        self._last_s = 0.0  # how long the job that ended last was here

    async def embed(self, sound: bytes, release: Release, client_gone: Callable[[], Awaitable[bool]]) -> Embedding:
        """The bytes of a sound file to its embedding. Raises BadAudio, Overloaded, ClientGoneError."""
        key = await self._key(sound, release)
        if (known := self._cache.get(key)) is not None:
            metrics.UPLOAD_CACHE["hit"].inc()
            return known
        job = self._join(key) or self._begin(key, sound, release)
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
            del job  # see Job.result

    async def load_encoder(self, release: Release) -> None:
        """Imports torch and loads the encoder, as the first upload would."""
        await self._threads.load_encoder(release)

    def close(self) -> None:
        """Nobody is left waiting."""
        self._threads.close()
        stops = NotReady("got an upload while the service stops, expected none any more: try again later")
        for job in list(self._under_way):
            self._settle(job, stops)

    async def _key(self, sound: bytes, release: Release) -> Hashable:
        """What two uploads have in common that get the same embedding. Without a cache, nothing."""
        if not self._settings.upload_cache_mb:
            return object()
        hashed = sha256(sound) if len(sound) <= QUICKLY_HASHED_BYTES else await asyncio.to_thread(sha256, sound)
        return release.manifest.files[ENCODER_FILE].sha256, hashed.digest()

    def _join(self, key: Hashable) -> Job | None:
        job = self._jobs.get(key)
        if job is not None:
            job.n_waiting += 1
            metrics.UPLOAD_CACHE["shared"].inc()
        return job

    def _begin(self, key: Hashable, sound: bytes, release: Release) -> Job:
        if len(self._under_way) >= self._settings.encode_queue:
            overloaded = Overloaded(
                f"got more than {self._settings.encode_queue} uploads at once: try again in a moment"
            )
            overloaded.retry_after_s = min(max(1, ceil(self._last_s)), MAX_RETRY_S)
            raise overloaded
        metrics.UPLOADS.inc()
        metrics.UPLOAD_CACHE["miss"].inc()
        job = self._jobs[key] = Job(key, sound, release)
        self._under_way.add(job)
        self._threads.begin(job)
        return job

    def _forget(self, job: Job) -> None:
        """Nobody waits for it: from now on, whoever sends the same sound begins anew."""
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]
        self._threads.cancel(job)

    def _settle(self, job: Job, outcome: Embedding | Exception) -> None:
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
