"""Manners towards one host: how many requests at once, how far apart, and when to leave it alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from audiorec.crawl.failures import CrawlFailure
from audiorec.quoting import quoted

DOWN_AFTER = 10  # requests in a row that did not reach it


class Host:
    """interval_s: the least time between the beginnings of two requests."""

    def __init__(self, name: str, *, n_at_once: int, interval_s: float, max_wait_s: float) -> None:
        self.name = name
        self.interval_s = interval_s
        self._max_wait_s = max_wait_s
        self._slots = asyncio.Semaphore(n_at_once)
        self._next_at = 0.0
        self._paused_until = 0.0
        self._n_unreached = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until a request may begin; it is under way for the block. Raises CrawlFailure when it must not."""
        async with self._slots:
            await self._wait()
            yield

    async def _wait(self) -> None:
        now = asyncio.get_running_loop().time()
        while True:
            if self._n_unreached >= DOWN_AFTER:
                raise CrawlFailure(
                    f"got no answer from {quoted(self.name)} {DOWN_AFTER} times in a row, left it alone for this run",
                    code="host_down",
                    free=True,
                )
            if self._paused_until - now > self._max_wait_s:
                raise self._asks_to_wait(self._paused_until - now)
            begin = max(now, self._next_at, self._paused_until)
            self._next_at = begin + self.interval_s
            if begin > now:
                await asyncio.sleep(begin - now)
                now = asyncio.get_running_loop().time()
            if now >= self._paused_until:  # else somebody else was told to wait, meanwhile
                return

    def pause(self, seconds: float) -> None:
        """The host asked for quiet. Raises CrawlFailure when that is longer than a run waits."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)
        if seconds > self._max_wait_s:
            raise self._asks_to_wait(seconds)

    def reached(self, *, success: bool) -> None:
        """To be told after every request: whether there was an answer, of any kind."""
        self._n_unreached = 0 if success else self._n_unreached + 1

    def _asks_to_wait(self, seconds: float) -> CrawlFailure:
        return CrawlFailure(
            f"got {quoted(self.name)} asking to wait {seconds:.0f} s, expected at most {self._max_wait_s:.0f} s: "
            "run the same command later",
            code="rate_limited",
            free=True,
        )
