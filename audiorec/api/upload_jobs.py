"""Jobs that go through the encoder of a release: threads that decode sounds hand them to the one that encodes."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import accumulate
from typing import Any

import numpy as np

from audiorec.api import metrics
from audiorec.api.pending import Pending
from audiorec.api.stages import stage
from audiorec.audio import Pcm
from audiorec.audio.decoder import DecodeLimits, DecoderPool, GivenUpError
from audiorec.audio.plain_wav import decode_plain_wav
from audiorec.embed import Array, Embedding, EmbeddingInMaking
from audiorec.errors import NotReady
from audiorec.release import Release
from audiorec.settings import Settings


class Job(Pending[Embedding]):
    """One sound, from its bytes to its embedding."""

    unit = "windows"

    def __init__(self, key: Hashable, sound: bytes, release: Release) -> None:
        super().__init__(key, release)
        self.sound = sound
        self.decoding: Future[None] | None = None
        self.making: EmbeddingInMaking  # from when it is decoded

    def decode(self, decoders: DecoderPool, max_s: float) -> None:
        """Raises BadAudio, NotReady, GivenUpError."""
        pcm = self._context.run(self._pcm, decoders, max_s)
        self.making = EmbeddingInMaking(pcm, self.release.dim, self.release.n_labels)
        self.sound = b""

    def _pcm(self, decoders: DecoderPool, max_s: float) -> Pcm:
        with stage("decode", bytes=len(self.sound)):
            pcm = decode_plain_wav(self.sound, max_s=max_s)
            if pcm is None:
                with decoders.borrowed() as decoder:
                    pcm = decoder.decode(self.sound, self.wanted)
            return pcm

    @property
    def n_left(self) -> int:
        return self.making.n_left

    def _take(self, n: int) -> Array:
        return self.making.take(n)

    @staticmethod
    def batch_size(settings: Settings) -> int:
        return settings.encode_batch

    @staticmethod
    def encode(release: Release, parts: Sequence[Array]) -> Array:
        cut = parts[0] if len(parts) == 1 else np.concatenate(parts)
        outputs = release.encoder.outputs(cut)
        metrics.ENCODED_WINDOWS.observe(len(cut))
        return outputs

    def give(self, outputs: Array) -> None:
        self.making.give(outputs)

    def finished(self) -> Embedding:
        return self.making.finished()


class JobThreads:
    """As many as there are decoders, and one that encodes: they overlap, and searches wait for neither."""

    def __init__(self, settings: Settings, settle: Callable[[Pending[Any], Any], None]) -> None:
        """settle: called in the event loop, for every job when it ends, with its result or what went wrong."""
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
        self._decoded: deque[Pending[Any]] = deque()  # and texts
        self._has_torch = False

    def begin(self, job: Pending[Any]) -> None:
        if isinstance(job, Job):
            metrics.UPLOADS_QUEUED.inc()
            job.decoding = self._decoding.submit(self._decode, job)
            job.decoding.add_done_callback(_count_cancelled)
        else:
            self._queue_for_encoder(job)

    def cancel(self, job: Pending[Any]) -> None:
        """Settles a sound that nobody has begun to decode; whatever else is on its way is given up by its thread."""
        if isinstance(job, Job) and job.decoding is not None and job.decoding.cancel():
            self._settle(job, GivenUpError())

    async def load_encoder(self, release: Release) -> None:
        """Imports torch and loads the encoder, and that of texts, as the first upload and the first text would."""
        await asyncio.get_running_loop().run_in_executor(self._encoding, self._load, release)

    def _load(self, release: Release) -> None:
        self._import_torch()
        _ = release.encoder
        if release.has_text:
            _ = release.text_encoder

    def close(self) -> None:
        self._decoding.shutdown(wait=False, cancel_futures=True)
        self._encoding.shutdown(wait=False, cancel_futures=True)
        self._decoders.close()
        self._empty_queue()

    def _decode(self, job: Job) -> None:
        metrics.UPLOADS_QUEUED.dec()
        try:
            job.decode(self._decoders, self._settings.max_upload_s)
        except Exception as error:
            self._end(job, error)
        else:
            self._queue_for_encoder(job)

    def _queue_for_encoder(self, job: Pending[Any]) -> None:
        metrics.UPLOADS_QUEUED.inc()
        self._decoded.append(job)
        try:
            self._encoding.submit(self._encode)
        except RuntimeError:  # `close` was quicker
            self._empty_queue()
            self._end(job, NotReady("got a request while the service stops, expected none any more: try again later"))

    def _empty_queue(self) -> None:
        """Of what nobody encodes any more."""
        with suppress(IndexError):
            while self._decoded.popleft():
                metrics.UPLOADS_QUEUED.dec()

    def _encode(self) -> None:
        """One call of an encoder, for those who have waited longest. A long clip goes to the end of the queue."""
        batch = self._next_parts()
        try:
            for (job, _), outputs in zip(batch, _outputs(batch), strict=True):
                if len(outputs):
                    job.give(outputs)
        except Exception as error:
            for job, _ in batch:
                self._end(job, error)
            return
        for job, _ in batch:
            if job.n_left:
                self._queue_for_encoder(job)
            else:
                self._end(job, job.finished())

    def _next_parts(self) -> list[tuple[Pending[Any], Any]]:
        """What is in the queue now, up to a batch, of one kind and one release: the parts of each job."""
        batch: list[tuple[Pending[Any], Any]] = []
        n_left = 1
        while n_left > 0 and self._decoded and (not batch or self._decoded[0].goes_with(batch[0][0])):
            job = self._decoded.popleft()
            metrics.UPLOADS_QUEUED.dec()
            if not batch:
                n_left = job.batch_size(self._settings)
            try:
                self._import_torch()
                batch.append((job, job.take(n_left)))
                n_left -= len(batch[-1][1])
            except Exception as error:
                self._end(job, error)
        return batch

    def _import_torch(self) -> None:
        if not self._has_torch:
            import torch

            torch.set_num_threads(self._settings.encode_threads)
            self._has_torch = True

    def _end(self, job: Pending[Any], outcome: Any) -> None:
        """In any thread."""
        error = outcome if isinstance(outcome, Exception) else None
        job.end_stage(error)
        if error is not None:
            error.__traceback__ = None  # it knows the job: a circle that would keep the sound in memory
        job.outcome.get_loop().call_soon_threadsafe(self._settle, job, outcome)


def _outputs(batch: list[tuple[Pending[Any], Any]]) -> list[Array]:
    """The encoder's, of each job's parts: (n, ...) each."""
    parts = [part for _, part in batch if len(part)]
    if not parts:  # all of them are silent
        return [np.empty((0, 0), np.float32)] * len(batch)
    job, _ = batch[0]
    outputs = job.encode(job.release, parts)
    ends = list(accumulate(len(part) for _, part in batch))
    return np.split(outputs, ends[:-1])


def _count_cancelled(decoding: Future[None]) -> None:
    if decoding.cancelled():
        metrics.UPLOADS_QUEUED.dec()
