"""Searches in threads: results and errors come back, several run at once, and nothing is kept afterwards."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any

import pytest
from waiting import wait_until

from audiorec.api.search_threads import N_THREADS, SearchThreads
from audiorec.errors import BadQuery


@pytest.fixture
def threads() -> Iterator[SearchThreads]:
    threads = SearchThreads()
    yield threads
    threads.close()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 30))


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("search_")}


def numbered(n: int) -> tuple[int, str]:
    return n, threading.current_thread().name


def test_what_a_search_returns_comes_back(threads: SearchThreads) -> None:
    async def scenario() -> None:
        found = await asyncio.gather(*(threads.run(partial(numbered, n)) for n in range(50)))
        assert [n for n, _ in found] == list(range(50))
        assert {name for _, name in found} <= names()
        assert len(names()) == N_THREADS

    run(scenario())


def test_what_it_raises_is_raised(threads: SearchThreads) -> None:
    def refuse() -> None:
        raise BadQuery("got k = 0")

    async def scenario() -> None:
        for _ in range(2 * N_THREADS):  # no thread dies of it
            with pytest.raises(BadQuery, match="got k = 0"):
                await threads.run(refuse)
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 / 0)
        assert await threads.run(lambda: 7) == 7

    run(scenario())


def test_as_many_run_at_once_as_there_are_threads(threads: SearchThreads) -> None:
    together = threading.Barrier(N_THREADS)

    async def scenario() -> None:
        await asyncio.gather(*(threads.run(lambda: together.wait(20)) for _ in range(N_THREADS)))

    run(scenario())


def test_one_that_is_cancelled_disturbs_nobody(threads: SearchThreads) -> None:
    may_end = threading.Event()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        held = [asyncio.create_task(threads.run(lambda: may_end.wait(20))) for _ in range(N_THREADS + 1)]
        await asyncio.sleep(0)
        held[0].cancel()
        held[-1].cancel()
        may_end.set()
        assert await asyncio.gather(*held[1:-1]) == [True] * (N_THREADS - 1)
        assert await threads.run(lambda: 7) == 7

    failures: list[Any] = []
    run(scenario())
    assert failures == []


def test_a_loop_that_ends_before_a_search_does_is_no_end_of_a_thread(threads: SearchThreads) -> None:
    may_end = threading.Event()

    async def leave() -> None:
        task = asyncio.create_task(threads.run(lambda: may_end.wait(20)))
        await asyncio.sleep(0)
        task.cancel()

    run(leave())
    may_end.set()

    async def scenario() -> None:
        for _ in range(N_THREADS):
            assert await threads.run(lambda: 7) == 7

    run(scenario())


@pytest.mark.parametrize("fails", [False, True])
def test_what_was_searched_is_let_go_without_the_garbage_collector(threads: SearchThreads, fails: bool) -> None:
    class Release:
        def search(self) -> int:
            if fails:
                raise BadQuery("got k = 0")
            return 7

    async def scenario() -> weakref.ref[Release]:
        release = Release()
        try:
            await threads.run(release.search)
        except BadQuery:
            assert fails
        return weakref.ref(release)

    gc.collect()
    gc.disable()
    try:
        searched = asyncio.run(scenario())
        wait_until(lambda: searched() is None)
    finally:
        gc.enable()


def test_closing_ends_the_threads_and_a_service_without_slow_searches_has_none() -> None:
    before = names()
    threads = SearchThreads()
    assert names() == before
    assert asyncio.run(threads.run(lambda: 7)) == 7
    started = [thread for thread in threading.enumerate() if thread.name.startswith("search_")]
    threads.close()
    for thread in started:
        thread.join(20)
        assert not thread.is_alive()
    threads.close()
