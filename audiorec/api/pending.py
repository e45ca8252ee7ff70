"""What is on its way through an encoder, part by part: for those who wait for it, and for the thread that encodes."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from contextvars import copy_context
from time import monotonic
from typing import Any, ClassVar, Generic, TypeVar

from audiorec.api.stages import Stage, stage
from audiorec.audio.decoder import GivenUpError
from audiorec.embed import Array
from audiorec.release import Release
from audiorec.settings import Settings

Result = TypeVar("Result")


class Pending(ABC, Generic[Result]):
    """One upload or some texts, for all who sent the same. Nobody works on it any more once nobody waits."""

    unit: ClassVar[str]  # its parts, in the plural

    def __init__(self, key: Hashable, release: Release) -> None:
        """To be called in the event loop, and in the context of the request whose stages these are."""
        self.key = key
        self.release = release
        self.n_waiting = 1
        self.begun_s = monotonic()
        self.outcome: asyncio.Future[Result | Exception] = asyncio.get_running_loop().create_future()
        self._context = copy_context()
        self._encoding: Stage | None = None

    def wanted(self) -> bool:
        return self.n_waiting > 0

    def result(self) -> Result:
        """Of one that is done. Raises what went wrong, to each who asks."""
        outcome = self.outcome.result()
        try:
            if isinstance(outcome, Exception):
                raise outcome.with_traceback(None)
            return outcome
        finally:
            del outcome, self  # the exception knows this frame: the circle would keep the sound in memory

    def take(self, n: int) -> Any:
        """The next n parts, or those that are left, without those that need no encoder: something that has a length.

        Raises GivenUpError, and what is wrong with the release's encoder.
        """
        if not self.wanted():
            raise GivenUpError
        if self._encoding is None:
            self._encoding = stage("encode", **{self.unit: self.n_left})
            self._context.run(self._encoding.__enter__)
        return self._take(n)

    def end_stage(self, error: Exception | None) -> None:
        if self._encoding is not None:
            self._context.run(self._encoding.__exit__, type(error) if error else None, error, None)

    @property
    @abstractmethod
    def n_left(self) -> int:
        """How many parts have not been taken."""

    @abstractmethod
    def _take(self, n: int) -> Any: ...

    def goes_with(self, other: "Pending[Any]") -> bool:
        """Whether one call can encode parts of both."""
        return type(self) is type(other) and self.release is other.release

    @staticmethod
    @abstractmethod
    def batch_size(settings: Settings) -> int:
        """How many parts one call of the encoder is given."""

    @staticmethod
    @abstractmethod
    def encode(release: Release, parts: Sequence[Any]) -> Array:
        """The vectors of what several of this kind have taken, one after another: (n, ...)."""

    @abstractmethod
    def give(self, outputs: Array) -> None:
        """What `encode` made of the parts that were taken last, where there were any: (n, ...)."""

    @abstractmethod
    def finished(self) -> Result:
        """When nothing is left."""
