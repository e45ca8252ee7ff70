"""How often each client may ask: by its key, else by its address."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from starlette._utils import get_route_path  # as in access.py
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiorec.api.access import scope_of
from audiorec.api.buckets import Buckets, Taken
from audiorec.api.errors import refuse
from audiorec.api.keys import Key
from audiorec.errors import TooManyRequests
from audiorec.rate import Rate

IPV6_PREFIX = 64  # what one household gets: counting its addresses one by one would count nobody


@lru_cache(1024)
def rate_of(text: str) -> Rate:
    return Rate.parse(text)


@lru_cache(4_096)
def client_of(address: str) -> str:
    """What an address counts as."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped or ip_network((ip, IPV6_PREFIX), strict=False))
    return str(ip)


class Limits:
    """Answers 429 to who asks too often, before a byte of the body is read. Probes and documentation do not count."""

    def __init__(self, app: ASGIApp, buckets: Buckets, default: str) -> None:
        """default: the rate of whoever has none of his own; empty: as often as he likes."""
        self.app = app
        self._buckets = buckets
        self._default = default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = self._rate_text(scope) if scope["type"] == "http" else ""
        if not text:
            await self.app(scope, receive, send)
            return
        rate = rate_of(text)
        taken = self._buckets.take(_name_of(scope), rate)
        headers = _headers(rate, taken)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        if taken.allowed:
            await self.app(scope, receive, send_with_headers)
        else:
            error = TooManyRequests(f"got more than {text} requests, expected at most that: wait {taken.retry_in_s} s")
            await refuse(error, scope, receive, send_with_headers, {"Retry-After": str(taken.retry_in_s)})

    def _rate_text(self, scope: Scope) -> str:
        if scope_of(get_route_path(scope), open_metrics=True) is None:
            return ""
        key: Key | None = scope["state"].get("key")
        return (key and key.rate) or self._default


def _name_of(scope: Scope) -> str:
    key: Key | None = scope["state"].get("key")
    if key is not None:
        return f"key {key.name}"
    client = scope.get("client")
    return f"address {client_of(client[0]) if client else ''}"


def _headers(rate: Rate, taken: Taken) -> list[tuple[bytes, bytes]]:
    """The three that client libraries read, and the policy, of the IETF's draft on rate limit headers."""
    return [
        (b"ratelimit-limit", b"%d" % rate.times),
        (b"ratelimit-remaining", b"%d" % taken.remaining),
        (b"ratelimit-reset", b"%d" % taken.full_in_s),
        (b"ratelimit-policy", b"%d;w=%d" % (rate.times, rate.period_s)),
    ]
