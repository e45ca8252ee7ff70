"""The one place that asks the web for something: politely, to addresses that may be reached, within limits."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from audiorec.crawl import answers
from audiorec.crawl.addresses import MayReach, is_address, private_address
from audiorec.crawl.connections import checked_connector
from audiorec.crawl.decoding import BLOCK_BYTES, decoded
from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.hosts import Host
from audiorec.crawl.item import Medium, check_url, normal_url
from audiorec.crawl.options import CrawlOptions
from audiorec.crawl.pages import Page, PageCache
from audiorec.crawl.parts import Part
from audiorec.crawl.robots import Robots
from audiorec.crawl.sniff import HEAD_BYTES, refuse_text
from audiorec.quoting import quoted

T = TypeVar("T")
OnBytes = Callable[[int], None]

MAX_REDIRECTS = 5
MAX_ROBOTS_BYTES = 500 * 1024  # RFC 9309: at least so much of it must be read
REDIRECTS = {301, 302, 303, 307, 308}


class Fetcher:
    """Use as an async context. may_reach, resolver: in place of the options' and the system's."""

    def __init__(
        self,
        options: CrawlOptions,
        *,
        pages_dir: Path | None = None,
        may_reach: MayReach | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self.options = options
        self._may_reach = may_reach or options.may_reach
        self._resolver = resolver
        self._cache = PageCache(pages_dir)
        self._hosts: dict[str, Host] = {}
        self._robots = Robots(self._robots_text)

    async def __aenter__(self) -> "Fetcher":
        limits = self.options
        self._session = aiohttp.ClientSession(
            connector=checked_connector(self._may_reach, self._resolver),
            timeout=aiohttp.ClientTimeout(total=limits.file_s, sock_connect=limits.connect_s, sock_read=limits.stall_s),
            headers={"User-Agent": limits.user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # what a body expands to is counted as it does
            trust_env=False,  # through a proxy, nobody would check where it connects to
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def page(self, url: str, *, accept: str = "*/*") -> Page:
        """A whole page of up to `max_page_bytes`. One that has not changed since it was last had comes from the cache.

        Raises CrawlFailure, after the tries that are allowed.
        """
        return await self.retried(lambda: self._page(normal_url(url), accept))

    async def head(self, url: str) -> Page:
        """The first bytes of what is there, enough to see what it is."""
        return await self.retried(lambda: self._page(normal_url(url), "*/*", max_bytes=4 * HEAD_BYTES, cut=True))

    async def download(self, url: str, part: Part, on_bytes: OnBytes = lambda n: None) -> None:
        """Fetches a sound file, from where an earlier try broke off if the server can. on_bytes: hears what arrives.

        Raises CrawlFailure: after the tries that are allowed, for text of any kind, and over `max_file_bytes`.
        """
        await self.retried(lambda: self._download(normal_url(url), part, on_bytes))

    async def bring(self, medium: Medium, part: Part, on_bytes: OnBytes) -> dict[str, str]:
        """`download`, as the carrier of media that are files on the web."""
        await self.download(medium.url, part, on_bytes)
        return {}

    async def retried(self, once: Callable[[], Awaitable[T]]) -> T:
        """Calls until it works, `n_tries` times at most, with growing random waits in between."""
        n_failed = 0
        while True:
            try:
                return await once()
            except CrawlFailure as failure:  # noqa: PERF203
                n_failed += 1
                if not failure.transient or n_failed >= self.options.n_tries:
                    raise
                backoff_s = min(60.0, self.options.backoff_s * 2 ** (n_failed - 1)) * random.uniform(0.5, 1.5)
                if failure.retry_after_s is None:  # else the host's next turn is then
                    await asyncio.sleep(backoff_s)

    def host(self, url: str) -> Host:
        name = urlsplit(url).netloc.lower()
        if name not in self._hosts:
            self._hosts[name] = Host(
                name,
                n_at_once=self.options.n_per_host,
                interval_s=1 / self.options.requests_per_s,
                max_wait_s=self.options.max_wait_s,
            )
        return self._hosts[name]

    @asynccontextmanager
    async def turn(self, url: str, *, obey_robots: bool = True) -> AsyncIterator[Host]:
        """The right to ask for a URL, for the block: by its form, its host, the host's robots.txt, and its turn."""
        check_url(url)
        name = urlsplit(url).hostname or ""
        if is_address(name) and not self._may_reach(name):
            raise private_address(name, name)
        host = self.host(url)
        if obey_robots and self.options.obey_robots:
            host.interval_s = max(host.interval_s, await self._robots.delay_s(url))
        async with host.turn():
            yield host

    @asynccontextmanager
    async def _opened(
        self, url: str, headers: dict[str, str], *, obey_robots: bool = True
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response of any status but a redirect. Every redirect is looked at as if a person had asked for it."""
        for _ in range(MAX_REDIRECTS + 1):
            async with self.turn(url, obey_robots=obey_robots) as host:
                with answers.translated(url, host):
                    where = URL(url, encoded=url.isascii())  # as it was written: some URLs are signed
                    async with self._session.get(where, headers=headers, allow_redirects=False) as response:
                        host.reached(success=True)
                        if response.status not in REDIRECTS:
                            if response.status in {429, 503} and "Retry-After" in response.headers:
                                host.pause(answers.retry_after_s(response.headers["Retry-After"]))
                            yield response
                            return
                        location = response.headers.get("Location", "")
            url = normal_url(urljoin(url, location))
        raise CrawlFailure(f"got more than {MAX_REDIRECTS} redirects, the last to {quoted(url)}", code="redirects")

    async def _page(self, url: str, accept: str, *, max_bytes: int | None = None, cut: bool = False) -> Page:
        kept = None if cut else self._cache.get(url)
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        if kept is not None:
            conditions = {"If-None-Match": kept.etag, "If-Modified-Since": kept.last_modified}
            headers |= {name: value for name, value in conditions.items() if value}
        async with self._opened(url, headers) as response:
            if response.status == 304 and kept is not None:
                return kept
            answers.check_status(response, url)
            body = await self._body(response, max_bytes or self.options.max_page_bytes, cut=cut)
            page = Page(
                url=str(response.url),
                content_type=response.headers.get("Content-Type", ""),
                body=body,
                etag=answers.plain(response, "ETag"),
                last_modified=answers.plain(response, "Last-Modified"),
            )
        if not cut:
            self._cache.put(url, page)
        return page

    async def _robots_text(self, url: str) -> str:
        async def once() -> str:
            async with self._opened(url, {"Accept-Encoding": "gzip"}, obey_robots=False) as response:
                answers.check_status(response, url)
                return (await self._body(response, MAX_ROBOTS_BYTES, cut=True)).decode(errors="replace")

        return await self.retried(once)

    async def _body(self, response: aiohttp.ClientResponse, max_bytes: int, *, cut: bool) -> bytes:
        """cut: what is over the limit is left, else it is a CrawlFailure."""
        body = bytearray()
        async with aclosing(_blocks(response)) as blocks:
            async for block in blocks:
                body += block
                if len(body) > max_bytes:
                    if cut:
                        break
                    raise answers.too_large(max_bytes)
        return bytes(body[:max_bytes])

    async def _download(self, url: str, part: Part, on_bytes: OnBytes) -> None:
        max_bytes = self.options.max_file_bytes
        n_bytes, validator = part.resumable(url)
        headers = {"Accept": "audio/*, video/*;q=0.8, */*;q=0.5", "Accept-Encoding": "identity"}
        if n_bytes:
            headers |= {"Range": f"bytes={n_bytes}-", "If-Range": validator}
        async with self._opened(url, headers) as response:
            if n_bytes and answers.is_at_its_end(response, n_bytes):
                return
            if n_bytes and not answers.continues(response, n_bytes):
                if response.status in {206, 416}:
                    part.clear()
                    raise CrawlFailure("got another range than was asked for", code="bad_range", transient=True)
                n_bytes = 0
            answers.check_status(response, url)
            if n_bytes + (response.content_length or 0) > max_bytes:
                raise answers.too_large(max_bytes)
            with part.writing(url, answers.validator(response), append=n_bytes > 0) as write:
                head = None if n_bytes else bytearray()
                async with aclosing(_blocks(response)) as blocks:
                    async for block in blocks:
                        n_bytes += len(block)
                        on_bytes(len(block))
                        if n_bytes > max_bytes:
                            raise answers.too_large(max_bytes)
                        if head is not None:
                            head += block
                            if len(head) >= HEAD_BYTES:
                                refuse_text(bytes(head[:HEAD_BYTES]))
                                head = None
                        write(block)
                refuse_text(bytes(head or b""))


async def _blocks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    async with aclosing(decoded(response.content.iter_chunked(BLOCK_BYTES), encoding)) as blocks:
        async for block in blocks:
            yield block
