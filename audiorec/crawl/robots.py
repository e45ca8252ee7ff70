"""robots.txt: what a host does not want fetched, and how fast, by RFC 9309."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias
from urllib.parse import urlsplit

from protego import Protego

from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.options import AGENT
from audiorec.quoting import quoted

FetchText: TypeAlias = Callable[[str], Awaitable[str]]  # a URL -> the text there; raises CrawlFailure

MAX_KEPT = 1_000  # hosts; the first of more are asked again
ANYTHING_GOES = {"not_found", "forbidden", "http_error"}  # a host that answers, and has no rules


class Robots:
    """Each host's rules, fetched once a run, when they are first needed."""

    def __init__(self, fetch_text: FetchText) -> None:
        self._fetch_text = fetch_text
        self._rules: dict[str, Protego | CrawlFailure] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def delay_s(self, url: str) -> float:
        """How long the host wants between two requests. Raises CrawlFailure when this one is not wanted."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        async with self._locks.setdefault(origin, asyncio.Lock()):
            if origin not in self._rules:
                rules = self._rules[origin] = await self._fetch(origin)
                if len(self._rules) > MAX_KEPT:
                    del self._rules[next(iter(self._rules))]
            rules = self._rules[origin]
        if isinstance(rules, CrawlFailure):
            raise rules
        if not rules.can_fetch(url, AGENT):
            raise CrawlFailure(
                f"got {quoted(url)}, which the robots.txt of {quoted(origin)} closes to {AGENT}: left alone, "
                "--no-robots is for hosts that allow it in another way",
                code="robots",
                free=True,
            )
        rate = rules.request_rate(AGENT)
        return max(rules.crawl_delay(AGENT) or 0.0, rate.seconds / rate.requests if rate and rate.requests else 0.0)

    async def _fetch(self, origin: str) -> Protego | CrawlFailure:
        try:
            return Protego.parse(await self._fetch_text(f"{origin}/robots.txt"))
        except CrawlFailure as failure:
            if failure.code in ANYTHING_GOES:
                return Protego.parse("")
            if failure.free:
                return failure
            return CrawlFailure(
                f"got no robots.txt from {quoted(origin)} ({failure.message}), so nothing else is asked of it",
                code="robots_unreachable",
                free=True,
            )
