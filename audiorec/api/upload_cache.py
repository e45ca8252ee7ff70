"""The vectors of recent uploads and texts, so that what is sent again costs its hash alone."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from audiorec.embed import Array, Embedding

Value = TypeVar("Value")

ENTRY_BYTES = 1_000  # what an entry takes beside its vectors: key, objects, place in the table


class VectorCache(ABC, Generic[Value]):
    """For one thread. The one used longest ago goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._entries: OrderedDict[Hashable, Value] = OrderedDict()

    @staticmethod
    @abstractmethod
    def n_bytes(value: Value) -> int:
        """Of its arrays."""

    def get(self, key: Hashable) -> Value | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Hashable, value: Value) -> None:
        """Of equal keys the values are equal. One that is larger than all of the cache is not kept."""
        n_bytes = self.n_bytes(value) + ENTRY_BYTES
        if n_bytes > self._max_bytes or key in self._entries:
            return
        self._entries[key] = value
        self._n_bytes += n_bytes
        while self._n_bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._n_bytes -= self.n_bytes(oldest) + ENTRY_BYTES


class UploadCache(VectorCache[Embedding]):
    @staticmethod
    def n_bytes(value: Embedding) -> int:
        return value.vector.nbytes + value.window_vectors.nbytes


class TextCache(VectorCache[Array]):
    @staticmethod
    def n_bytes(value: Array) -> int:
        return value.nbytes
