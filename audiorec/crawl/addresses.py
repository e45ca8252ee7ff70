"""Which addresses a crawl may reach: those of the public internet, whatever a name or a redirect says."""

import ipaddress
from collections.abc import Callable
from typing import TypeAlias

from audiorec.crawl.failures import CrawlFailure
from audiorec.quoting import quoted

MayReach: TypeAlias = Callable[[str], bool]  # an address as text -> whether a connection to it is allowed

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IPv4 or IPv6 address is one of the public internet; an address inside an address counts as itself."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        ip = _embedded(ip) or ip
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to an IPv6 one end up at: mapped, 6to4 and NAT64."""
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def anywhere(address: str) -> bool:
    """The MayReach of `--allow-private`."""
    return True


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def private_address(host: str, address: str) -> CrawlFailure:
    at = "" if host == address else f", which is {address}"
    return CrawlFailure(
        f"got the host {quoted(host)}{at}, expected a public address: --allow-private reaches others",
        code="private_address",
        free=True,
    )
