"""Connections that are only made to addresses which may be reached, whoever named them.

The check stands twice: a name that resolves to private addresses loses them, and the last step before a connection
looks at the very address that is connected to. TLS and the Host header keep the name.
"""

import socket
from typing import Any

from aiohttp import TCPConnector, ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from audiorec.crawl.addresses import MayReach, private_address


class CheckedResolver(AbstractResolver):
    def __init__(self, may_reach: MayReach, resolver: AbstractResolver | None = None) -> None:
        self._may_reach = may_reach
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises CrawlFailure when a name has none but private addresses."""
        found = await self._resolver.resolve(host, port, family)
        allowed = [result for result in found if self._may_reach(result["host"])]
        if found and not allowed:
            raise private_address(host, found[0]["host"])
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


def checked_connector(may_reach: MayReach, resolver: AbstractResolver | None = None) -> TCPConnector:
    """resolver: who turns names into addresses, the system unless told."""

    def make_socket(address: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, where = address
        if not may_reach(where[0]):
            raise private_address(where[0], where[0])
        return socket.socket(family, kind, protocol)

    return TCPConnector(limit=0, resolver=CheckedResolver(may_reach, resolver), socket_factory=make_socket)
