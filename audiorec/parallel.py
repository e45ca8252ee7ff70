"""Running a function over many items in threads, with a bounded number under way."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def in_parallel(function: Callable[[A], B], items: Iterable[A], n_threads: int) -> Generator[tuple[A, B], None, None]:
    """Yields (item, function(item)) as they are done, in any order. The first exception, or `close`, ends it."""
    remaining = iter(items)
    executor = ThreadPoolExecutor(n_threads)
    pending: dict[Future[B], A] = {}
    try:
        while True:
            for item in islice(remaining, 2 * n_threads - len(pending)):
                pending[executor.submit(function, item)] = item
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
