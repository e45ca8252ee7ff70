"""Uploaded sounds on their way to an embedding: a bounded queue, decoded by children, encoded one at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from audiorec.api import metrics
from audiorec.audio import Pcm
from audiorec.decoder import DecodeLimits, DecoderPool
from audiorec.embed import Embedding, embed
from audiorec.errors import Overloaded
from audiorec.release import Release
from audiorec.settings import Settings

if TYPE_CHECKING:
    from audiorec.export import LoadedEncoder


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Uploads:
    """One a worker. Decoding and encoding have threads of their own, so that they overlap and searches never wait."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        limits = DecodeLimits(
            max_s=settings.max_upload_s,
            wall_s=settings.decode_wall_s,
            cpu_s=settings.decode_cpu_s,
            memory_bytes=settings.decode_memory_bytes,
        )
        self._decoders = DecoderPool(settings.n_decoders, limits)
        self._decoding = ThreadPoolExecutor(settings.n_decoders, "decode")
        self._decode_turns = asyncio.Semaphore(settings.n_decoders)
        self._encoding = ThreadPoolExecutor(1, "encode")
        self._encode_turns = asyncio.Semaphore(1)
        self._n_waiting = 0

    async def embed(self, sound: bytes, release: Release, client_gone: Callable[[], Awaitable[bool]]) -> Embedding:
        """The bytes of a sound file to its embedding. Raises BadAudio, Overloaded, ClientGoneError."""
        loop = asyncio.get_running_loop()
        with self._place():
            async with self._turn(self._decode_turns, client_gone):
                pcm = await loop.run_in_executor(self._decoding, self._decode, sound)
            async with self._turn(self._encode_turns, client_gone):
                return await loop.run_in_executor(self._encoding, self._encode, pcm, release)

    async def load_encoder(self, release: Release) -> None:
        """Imports torch and loads the encoder, as the first upload would."""
        await asyncio.get_running_loop().run_in_executor(self._encoding, self._encoder, release)

    def close(self) -> None:
        self._decoding.shutdown(wait=False, cancel_futures=True)
        self._encoding.shutdown(wait=False, cancel_futures=True)
        self._decoders.close()

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._n_waiting >= self._settings.encode_queue:
            raise Overloaded(f"got more than {self._settings.encode_queue} uploads at once: try again in a moment")
        self._n_waiting += 1
        metrics.UPLOADS.inc()
        try:
            yield
        finally:
            self._n_waiting -= 1
            metrics.UPLOADS.dec()

    @asynccontextmanager
    async def _turn(self, turns: asyncio.Semaphore, client_gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
        """Waits for one; nothing is done for a client who did not wait as long."""
        async with turns:
            if await client_gone():
                raise ClientGoneError
            yield

    def _decode(self, sound: bytes) -> Pcm:
        start = perf_counter()
        with self._decoders.borrowed() as decoder:
            pcm = decoder.decode(sound)
        metrics.DECODE_S.observe(perf_counter() - start)
        return pcm

    def _encode(self, pcm: Pcm, release: Release) -> Embedding:
        encoder = self._encoder(release)
        start = perf_counter()
        embedding = embed(pcm, encoder)
        metrics.ENCODE_S.observe(perf_counter() - start)
        return embedding

    def _encoder(self, release: Release) -> "LoadedEncoder":
        if "encoder" not in release.__dict__:  # not loaded yet, and perhaps torch neither
            import torch

            torch.set_num_threads(self._settings.encode_threads)
        return release.encoder
