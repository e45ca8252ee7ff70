"""Jobs that turn the bytes of a sound into its embedding: threads that decode hand them to the one that encodes."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from audiorec.api import metrics
from audiorec.api.stages import Stage, stage
from audiorec.audio import Pcm
from audiorec.decoder import DecodeLimits, DecoderPool, GivenUpError
from audiorec.embed import Array, Embedding, EmbeddingInMaking
from audiorec.plain_wav import decode_plain_wav
from audiorec.release import Release
from audiorec.settings import Settings

if TYPE_CHECKING:
    from audiorec.export import LoadedEncoder


class Job:
    """One sound on its way, for all who sent it. Nobody works on it any more once nobody waits."""

    def __init__(self, key: Hashable, sound: bytes, release: Release) -> None:
        """To be called in the event loop, and in the context of the request whose stages these are."""
        self.key = key
        self.sound = sound
        self.release = release
        self.n_waiting = 1
        self.begun_s = monotonic()
        self.outcome: asyncio.Future[Embedding | Exception] = asyncio.get_running_loop().create_future()
        self.decoding: Future[None] | None = None
        self.making: EmbeddingInMaking  # from when it is decoded
        self._context = copy_context()
        self._encoding: Stage | None = None

    def wanted(self) -> bool:
        return self.n_waiting > 0

    def result(self) -> Embedding:
        """Of one that is done. Raises what went wrong, to each who asks."""
        outcome = self.outcome.result()
        try:
            if isinstance(outcome, Exception):
                raise outcome.with_traceback(None)
            return outcome
        finally:
            del outcome, self  # the exception knows this frame: the circle would keep the sound in memory

    def decode(self, decoders: DecoderPool, max_s: float) -> None:
        """Raises BadAudio, NotReady, GivenUpError."""
        self.making = EmbeddingInMaking(self._context.run(self._pcm, decoders, max_s), self.release.dim)
        self.sound = b""

    def _pcm(self, decoders: DecoderPool, max_s: float) -> Pcm:
        with stage("decode", bytes=len(self.sound)):
            pcm = decode_plain_wav(self.sound, max_s=max_s)
            if pcm is None:
                with decoders.borrowed() as decoder:
                    pcm = decoder.decode(self.sound, self.wanted)
            return pcm

    def take(self, n: int) -> Array:
        """See `EmbeddingInMaking.take`. Raises GivenUpError."""
        if not self.wanted():
            raise GivenUpError
        if self._encoding is None:
            self._encoding = stage("encode", windows=self.making.n_left)
            self._context.run(self._encoding.__enter__)
        return self.making.take(n)

    def end_stage(self, error: Exception | None) -> None:
        if self._encoding is not None:
            self._context.run(self._encoding.__exit__, type(error) if error else None, error, None)


class JobThreads:
    """As many as there are decoders, and one that encodes: they overlap, and searches wait for neither."""

    def __init__(self, settings: Settings, settle: Callable[[Job, Embedding | Exception], None]) -> None:
        """settle: called in the event loop, for every job when it ends."""
        limits = DecodeLimits(
            max_s=settings.max_upload_s,
            wall_s=settings.decode_wall_s,
            cpu_s=settings.decode_cpu_s,
            memory_bytes=settings.decode_memory_bytes,
        )
        self._settings = settings
        self._settle = settle
        self._decoders = DecoderPool(settings.n_decoders, limits)
        self._decoding = ThreadPoolExecutor(settings.n_decoders, "decode")
        self._encoding = ThreadPoolExecutor(1, "encode")
        self._decoded: deque[Job] = deque()

    def begin(self, job: Job) -> None:
        metrics.UPLOADS_QUEUED.inc()
        job.decoding = self._decoding.submit(self._decode, job)

    def cancel(self, job: Job) -> None:
        """Settles a job that is still in the queue; one that is being worked on is given up by its thread."""
        if job.decoding is not None and job.decoding.cancel():
            metrics.UPLOADS_QUEUED.dec()
            self._settle(job, GivenUpError())

    async def load_encoder(self, release: Release) -> None:
        """Imports torch and loads the encoder, as the first upload would."""
        await asyncio.get_running_loop().run_in_executor(self._encoding, self._encoder, release)

    def close(self) -> None:
        self._decoding.shutdown(wait=False, cancel_futures=True)
        self._encoding.shutdown(wait=False, cancel_futures=True)
        self._decoders.close()

    def _decode(self, job: Job) -> None:
        metrics.UPLOADS_QUEUED.dec()
        try:
            job.decode(self._decoders, self._settings.max_upload_s)
        except Exception as error:
            self._end(job, error)
        else:
            self._queue_for_encoder(job)

    def _queue_for_encoder(self, job: Job) -> None:
        metrics.UPLOADS_QUEUED.inc()
        self._decoded.append(job)
        self._encoding.submit(self._encode)

    def _encode(self) -> None:
        """One call of the encoder, for those who have waited longest. A long clip goes to the end of the queue."""
        batch = self._next_windows()
        try:
            for (job, _), vectors in zip(batch, self._vectors(batch), strict=True):
                job.making.give(vectors)
        except Exception as error:
            for job, _ in batch:
                self._end(job, error)
            return
        for job, _ in batch:
            if job.making.n_left:
                self._queue_for_encoder(job)
            else:
                self._end(job, job.making.finished())

    def _next_windows(self) -> list[tuple[Job, Array]]:
        """What is in the queue now, up to a batch, of one release: the windows of each job."""
        batch: list[tuple[Job, Array]] = []
        n_left = self._settings.encode_batch
        while n_left and self._decoded and (not batch or self._decoded[0].release is batch[0][0].release):
            job = self._decoded.popleft()
            metrics.UPLOADS_QUEUED.dec()
            try:
                batch.append((job, job.take(n_left)))
                n_left -= len(batch[-1][1])
            except Exception as error:
                self._end(job, error)
        return batch

    def _vectors(self, batch: list[tuple[Job, Array]]) -> list[Array]:
        """The encoder's, of each job's windows: (n, D) each."""
        if not batch:
            return []
        release, parts = batch[0][0].release, [cut for _, cut in batch]
        cut = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not len(cut):  # all of them are silent
            return [np.empty((0, release.dim), np.float32)] * len(batch)
        vectors = self._encoder(release).encode(cut)
        metrics.ENCODED_WINDOWS.observe(len(cut))
        return np.split(vectors, np.cumsum([len(part) for part in parts])[:-1])

    def _encoder(self, release: Release) -> "LoadedEncoder":
        if "encoder" not in release.__dict__:  # not loaded yet, and perhaps torch neither
            import torch

            torch.set_num_threads(self._settings.encode_threads)
        return release.encoder

    def _end(self, job: Job, outcome: Embedding | Exception) -> None:
        """In any thread."""
        error = outcome if isinstance(outcome, Exception) else None
        job.end_stage(error)
        if error is not None:
            error.__traceback__ = None  # it knows the job: a circle that would keep the sound in memory
        job.outcome.get_loop().call_soon_threadsafe(self._settle, job, outcome)
