"""Threads for searches that take longer than the event loop should be held: the index lets go of the interpreter.

A queue and a future each, and no more: at 100,000 clips starlette's thread pool adds a sixth to what a query costs.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

N_THREADS = 4  # a worker's: more of them would only wait for the interpreter, and for each other's cores

T = TypeVar("T")
Task = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class SearchThreads:
    """One a worker. The threads start with the first search that needs them."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._threads: list[Thread] = []

    async def run(self, search: Callable[[], T]) -> T:
        """What `search` returns, or raises, in one of the threads. Those who are cancelled meanwhile hear nothing."""
        if not self._threads:
            self._threads = [Thread(target=self._work, name=f"search_{n}", daemon=True) for n in range(N_THREADS)]
            for thread in self._threads:
                thread.start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put((search, future))
        try:
            return await future
        finally:
            del future  # what it raises knows this frame: a circle that would keep the release open

    def close(self) -> None:
        """The threads end when they have done what is in the queue."""
        for _ in self._threads:
            self._queue.put(None)
        self._threads = []

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            search, future = task
            with suppress(RuntimeError):  # the loop was closed meanwhile
                future.get_loop().call_soon_threadsafe(_deliver, future, *_outcome(search))
            del task, search, future  # an idle thread keeps no release open


def _outcome(search: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return search(), None
    except Exception as error:
        return None, error


def _deliver(future: "asyncio.Future[T | None]", result: T | None, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
