"""Which addresses and URLs a crawl may ask for, and what text of the other side may become."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from aiohttp import ClientSession
from aiohttp.abc import AbstractResolver, ResolveResult
from crawl_site import QUICK, Site, running_site

from audiorec.crawl.addresses import is_public
from audiorec.crawl.connections import checked_connector
from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.http import Fetcher
from audiorec.crawl.item import Item, check_url, clean, web_url


class Names(AbstractResolver):
    """A resolver that knows the names it is given."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = self.names[host.replace(".", "_").replace("-", "_")]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in found
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0"),
        *("fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:a00:1::1", "2001:db8::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "", "example.org"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("file:///etc/passwd", "bad_scheme"),
        ("ftp://example.org/a.mp3", "bad_scheme"),
        ("javascript:alert(1)", "bad_scheme"),
        ("//example.org/a", "bad_scheme"),
        ("", "bad_scheme"),
        ("http://", "bad_url"),
        ("http://example.org:0/", "bad_url"),
        ("http://example.org:99999/", "bad_url"),
        ("http://[::1", "bad_url"),
        ("http://example.org/\r\nHost: x", "bad_url"),
        ("http://example.org/\ud800", "bad_url"),
        ("http://example.org/" + "a" * 9000, "bad_url"),
        ("http://name:secret@example.org/", "bad_url"),
    ],
)
def test_urls_that_are_refused(url: str, code: str) -> None:
    with pytest.raises(CrawlFailure) as refused:
        check_url(url)
    assert refused.value.code == code
    assert "secret" not in refused.value.message
    assert web_url(url) == ""


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as site:
        yield site


def fetched(url: str, *, resolver: AbstractResolver | None = None, allowed: str = "127.0.0.1") -> bytes:
    """By a fetcher for which one address counts as public, and nothing else does."""

    async def fetch() -> bytes:
        async with Fetcher(QUICK, may_reach=lambda address: address == allowed, resolver=resolver) as fetcher:
            return (await fetcher.page(url)).body

    return asyncio.run(fetch())


@pytest.mark.parametrize(
    "location",
    [
        *("http://127.0.0.2/x", "http://[::1]/x", "http://localhost.test/x", "http://0x7f.0.0.2/x", "http://10.0.0.1/"),
        *("http://[::ffff:127.0.0.1]/", "//169.254.169.254/latest/meta-data"),
    ],
)
def test_redirects_to_private_addresses_are_not_followed(site: Site, location: str) -> None:
    site.add("/moved", status=302, headers={"Location": location})
    names = Names(localhost_test=["127.0.0.2"], **{"0x7f_0_0_2": ["127.0.0.2"]})
    with pytest.raises(CrawlFailure, match="expected a public address") as refused:
        fetched(f"{site.url}/moved", resolver=names)
    assert refused.value.code == "private_address"
    assert refused.value.free


def test_redirects_out_of_the_web_are_not_followed(site: Site) -> None:
    site.add("/moved", status=302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(CrawlFailure, match="expected an http or https URL"):
        fetched(f"{site.url}/moved")


def test_names_of_private_addresses_are_refused(site: Site) -> None:
    names = Names(inside_test=["10.0.0.7", "192.168.0.1"])
    with pytest.raises(
        CrawlFailure, match=r"got the host 'inside.test', which is 10.0.0.7, expected a public"
    ) as refused:
        fetched("http://inside.test/", resolver=names)
    assert refused.value.code == "private_address"


def test_a_name_of_both_kinds_is_reached_by_its_public_address_only(site: Site) -> None:
    site.add("/x", "here")
    both = site.url.replace("127.0.0.1", "both.test")
    assert fetched(f"{both}/x", resolver=Names(both_test=["127.0.0.9", "127.0.0.1"])) == b"here"
    assert {request.headers["Host"] for request in site.requests} == {both.removeprefix("http://")}


def test_the_connection_itself_is_checked_whatever_the_resolver_says(site: Site) -> None:
    """The last step alone: a resolver whose answers were not looked at."""

    async def connect() -> None:
        reached: list[str] = []
        connector = checked_connector(lambda address: bool(reached.append(address)))
        connector._resolver = Names(rebound_test=["127.0.0.1"])
        async with ClientSession(connector=connector) as session:
            try:
                await session.get(site.url.replace("127.0.0.1", "rebound.test"))
            finally:
                assert reached == ["127.0.0.1"]

    with pytest.raises(CrawlFailure) as refused:
        asyncio.run(connect())
    assert refused.value.code == "private_address"
    assert site.requests == []


def test_private_addresses_are_refused_by_default() -> None:
    async def fetch(url: str) -> None:
        async with Fetcher(replace(QUICK, allow_private=False)) as fetcher:
            await fetcher.page(url)

    for url in ("http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/"):
        with pytest.raises(CrawlFailure) as refused:
            asyncio.run(fetch(url))
        assert refused.value.code == "private_address"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  two\twords\r\nand\x00more ", "two words and more"),
        ("half \ud800 a character", "half a character"),
        ("turned \u202eround\u202c", "turned round"),
        ("👩\u200d🎤 sings", "👩\u200d🎤 sings"),
        ("x" * 5000, "x" * 1000),
        (True, "yes"),
        (12, "12"),
        (float("nan"), ""),
        (None, ""),
        ({"a": 1}, ""),
    ],
)
def test_text_of_the_other_side(value: object, text: str) -> None:
    assert clean(value) == text


def test_clip_ids_are_plain_or_our_own() -> None:
    assert Item(key="coub:abc", locator="", clip_id="coub:abc").readable_id == "coub:abc"
    assert Item(key="k", locator="", clip_id="").readable_id == Item(key="k", locator="").digest[:16]
    for odd in ("a\nb", " a", "x" * 201, "\u202ea"):
        assert Item(key="k", locator="", clip_id=odd).readable_id == Item(key="k", locator="").digest[:16]
