"""The embeddings of recent uploads, so that a sound that is sent again costs its hash alone."""

from collections import OrderedDict
from collections.abc import Hashable

from audiorec.embed import Embedding

ENTRY_BYTES = 1_000  # what an entry takes beside its vectors: key, objects, place in the table


class UploadCache:
    """For one thread. The one used longest ago goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._entries: OrderedDict[Hashable, Embedding] = OrderedDict()

    def get(self, key: Hashable) -> Embedding | None:
        embedding = self._entries.get(key)
        if embedding is not None:
            self._entries.move_to_end(key)
        return embedding

    def put(self, key: Hashable, embedding: Embedding) -> None:
        """Of equal keys the embeddings are equal. One that is larger than all of the cache is not kept."""
        n_bytes = _n_bytes(embedding)
        if n_bytes > self._max_bytes or key in self._entries:
            return
        self._entries[key] = embedding
        self._n_bytes += n_bytes
        while self._n_bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._n_bytes -= _n_bytes(oldest)


def _n_bytes(embedding: Embedding) -> int:
    return embedding.vector.nbytes + embedding.window_vectors.nbytes + ENTRY_BYTES
