"""The cache of uploads' embeddings: bounded by bytes, the one used longest ago goes first."""

import numpy as np

from audiorec.api.upload_cache import ENTRY_BYTES, UploadCache
from audiorec.embed import Embedding


def embedding(number: int, n_windows: int = 1, dim: int = 16) -> Embedding:
    vectors = np.full((n_windows, dim), number, np.float32)
    return Embedding(vectors[0], vectors, float(n_windows))


BYTES = ENTRY_BYTES + 2 * 16 * 4  # of one with a single window


def known(cache: UploadCache, *keys: int) -> list[int]:
    return [key for key in keys if cache.get(key) is not None]


def test_what_was_put_is_got() -> None:
    cache = UploadCache(10 * BYTES)
    first = embedding(1)
    cache.put("a", first)
    assert cache.get("a") is first
    assert cache.get("b") is None


def test_the_one_used_longest_ago_goes() -> None:
    cache = UploadCache(3 * BYTES)
    for key in (1, 2, 3):
        cache.put(key, embedding(key))
    assert cache.get(1) is not None
    cache.put(4, embedding(4))
    assert known(cache, 1, 2, 3, 4) == [1, 3, 4]


def test_a_byte_less_holds_one_less() -> None:
    cache = UploadCache(3 * BYTES - 1)
    for key in (1, 2, 3):
        cache.put(key, embedding(key))
    assert known(cache, 1, 2, 3) == [2, 3]


def test_a_long_clip_takes_the_place_of_several() -> None:
    cache = UploadCache(4 * BYTES)
    for key in (1, 2, 3, 4):
        cache.put(key, embedding(key))
    cache.put(5, embedding(5, n_windows=18))  # 1,088 bytes more than one of a single window
    assert known(cache, 1, 2, 3, 4, 5) == [3, 4, 5]


def test_one_that_is_larger_than_all_is_not_kept_and_takes_no_place() -> None:
    cache = UploadCache(2 * BYTES)
    cache.put(1, embedding(1))
    cache.put(2, embedding(2, n_windows=100))
    cache.put(3, embedding(3))
    assert known(cache, 1, 2, 3) == [1, 3]


def test_putting_again_counts_once() -> None:
    cache = UploadCache(2 * BYTES)
    for _ in range(5):
        cache.put(1, embedding(1))
    cache.put(2, embedding(2))
    assert known(cache, 1, 2) == [1, 2]


def test_of_no_size_it_keeps_nothing() -> None:
    cache = UploadCache(0)
    cache.put(1, embedding(1))
    assert cache.get(1) is None
