"""The fetcher against servers that are slow, broken, huge or rude."""

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from crawl_site import QUICK, Site, gzip_bomb, mp3, running_site

from audiorec.crawl.answers import retry_after_s
from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.hosts import DOWN_AFTER, Host
from audiorec.crawl.http import Fetcher
from audiorec.crawl.options import CrawlOptions
from audiorec.crawl.parts import Part

T = TypeVar("T")
CODES = [(404, "not_found"), (410, "not_found"), (401, "forbidden"), (403, "forbidden"), (418, "http_error")]
OGG = b"OggS" + bytes(range(256)) * 400  # looks like sound as far as anybody looks here


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as site:
        yield site


def using(ask: Callable[[Fetcher], Awaitable[T]], options: CrawlOptions = QUICK, pages_dir: Path | None = None) -> T:
    async def run() -> T:
        async with Fetcher(options, pages_dir=pages_dir) as fetcher:
            return await ask(fetcher)

    return asyncio.run(run())


def page(url: str, **options: Any) -> bytes:
    return using(lambda fetcher: fetcher.page(url), replace(QUICK, **options)).body


def downloaded(url: str, folder: Path, **options: Any) -> bytes:
    part = Part(folder, "0123")
    using(lambda fetcher: fetcher.download(url, part), replace(QUICK, **options))
    return part.path.read_bytes()


def code_of(ask: Callable[[], object]) -> str:
    with pytest.raises(CrawlFailure) as failure:
        ask()
    return failure.value.code


def test_says_who_it_is(site: Site) -> None:
    page(site.add("/x", "here"), contact="mail@example.org\r\nX-Evil: 1")
    agent = site.requests[-1].headers["User-Agent"]
    assert agent.startswith("audiorec/")
    assert agent.endswith("; mail@example.org X-Evil: 1)")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_tries_again_what_may_pass(site: Site, status: int) -> None:
    assert page(site.add("/x", "here", failures=[status, status])) == b"here"
    assert site.n_requests("/x") == 3


def test_gives_up_after_so_many_tries(site: Site) -> None:
    url = site.add("/x", failures=[500] * 9)
    assert code_of(lambda: page(url)) == "server_error"
    assert site.n_requests("/x") == QUICK.n_tries


@pytest.mark.parametrize(
    ("status", "code"), [(404, "not_found"), (410, "not_found"), (403, "forbidden"), (418, "http_error")]
)
def test_does_not_try_again_what_will_not_pass(site: Site, status: int, code: str) -> None:
    url = site.add("/x", status=200, failures=[status] * 9)
    assert code_of(lambda: page(url)) == code
    assert site.n_requests("/x") == 1


def test_waits_as_long_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def turns() -> list[float]:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        monkeypatch.setattr("audiorec.crawl.hosts.asyncio.sleep", sleep)
        host, began = Host("x", n_at_once=1, interval_s=5, max_wait_s=100), []
        for pause_s in (0, 0, 42, 0):
            async with host.turn():
                began.append(now)
                host.pause(pause_s)
        return began

    assert asyncio.run(turns()) == [0, 5, 10, 52]


def test_leaves_a_host_alone_that_asks_for_a_long_wait(site: Site) -> None:
    url = site.add("/x", failures=[429] * 9, headers={"Retry-After": "3600"})
    other = site.add("/y", "here")

    async def ask(fetcher: Fetcher) -> list[str]:
        codes = []
        for wanted in (url, other):
            with pytest.raises(CrawlFailure, match="asking to wait 3600 s, expected at most 120 s") as failure:
                await fetcher.page(wanted)
            assert failure.value.free
            codes.append(failure.value.code)
        return codes

    assert using(ask) == ["rate_limited", "rate_limited"]
    assert site.n_requests("/x") == 1
    assert site.n_requests("/y") == 0


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_s("17") == 17
    later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=90), usegmt=True)
    assert 80 < retry_after_s(later) <= 90
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_s("soon") == 30
    assert retry_after_s("9" * 400) == 10**6


def test_gives_up_a_host_that_nobody_answers_at() -> None:
    async def ask(fetcher: Fetcher) -> list[str]:
        codes = []
        for _ in range(DOWN_AFTER):
            with pytest.raises(CrawlFailure) as failure:
                await fetcher.page("http://127.0.0.1:1/x")
            codes.append(failure.value.code)
        return codes

    codes = using(ask, replace(QUICK, obey_robots=False))
    assert codes[0] == "unreachable"
    assert codes[-1] == "host_down"


def test_a_page_that_has_not_changed_is_not_sent_again(site: Site, tmp_path: Path) -> None:
    url = site.add("/x", "here", headers={"ETag": '"1"'})
    for _ in range(2):
        assert using(lambda fetcher: fetcher.page(url), pages_dir=tmp_path).body == b"here"
    assert site.requests[-1].headers["If-None-Match"] == '"1"'
    site.add("/x", "new", headers={"ETag": '"2"'})
    assert using(lambda fetcher: fetcher.page(url), pages_dir=tmp_path).body == b"new"


def test_a_damaged_kept_page_is_fetched_again(site: Site, tmp_path: Path) -> None:
    url = site.add("/x", "here", headers={"ETag": '"1"'})
    using(lambda fetcher: fetcher.page(url), pages_dir=tmp_path)
    for kept in tmp_path.iterdir():
        kept.write_bytes(kept.read_bytes()[:20])
    assert using(lambda fetcher: fetcher.page(url), pages_dir=tmp_path).body == b"here"
    assert "If-None-Match" not in site.requests[-1].headers


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies(site: Site, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    url = site.add("/x", pack(b"here" * 10**5), headers={"Content-Encoding": encoding})
    assert page(url) == b"here" * 10**5


def test_bombs_are_counted_while_they_expand(site: Site, tmp_path: Path) -> None:
    url = site.add("/bomb", gzip_bomb(2**28), headers={"Content-Encoding": "gzip"})
    assert code_of(lambda: page(url, max_page_bytes=10**6)) == "too_large"
    assert code_of(lambda: downloaded(url, tmp_path)) == "too_large"
    assert Part(tmp_path, "0123").path.stat().st_size <= QUICK.max_file_bytes


def test_encodings_that_lie_or_are_unknown(site: Site) -> None:
    assert code_of(lambda: page(site.add("/x", "no gzip", headers={"Content-Encoding": "gzip"}))) == "bad_encoding"
    assert code_of(lambda: page(site.add("/y", "x", headers={"Content-Encoding": "br"}))) == "bad_encoding"
    cut = gzip.compress(bytes(10**6))[:100]
    assert code_of(lambda: page(site.add("/z", cut, headers={"Content-Encoding": "gzip"}))) == "cut_off"


def test_endless_bodies_end(site: Site, tmp_path: Path) -> None:
    url = site.add("/radio", OGG, endless=True)
    assert code_of(lambda: downloaded(url, tmp_path)) == "too_large"
    assert code_of(lambda: page(url, max_page_bytes=10**6)) == "too_large"


def test_only_the_head_of_an_endless_body_is_read_to_see_what_it_is(site: Site) -> None:
    url = site.add("/radio", OGG, endless=True)
    assert using(lambda fetcher: fetcher.head(url)).body.startswith(b"OggS")


@pytest.mark.parametrize("limit", [{"stall_s": 0.2}, {"file_s": 0.2}])
def test_stalled_bodies_end(site: Site, tmp_path: Path, limit: dict[str, float]) -> None:
    url = site.add("/slow", OGG, stalls=True)
    assert code_of(lambda: downloaded(url, tmp_path, n_tries=1, **limit)) == "timeout"


def test_a_promised_size_over_the_limit_is_not_fetched(site: Site, tmp_path: Path) -> None:
    url = site.add("/large", bytes(2000))
    assert code_of(lambda: downloaded(url, tmp_path, max_file_bytes=1999)) == "too_large"
    assert not Part(tmp_path, "0123").path.exists()


def test_a_body_that_breaks_off_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    url = site.add("/x", OGG, headers={"ETag": '"1"'}, cut_at=[70_000])
    assert downloaded(url, tmp_path) == OGG
    asked = site.requests[-1].headers
    assert asked["If-Range"] == '"1"'
    assert 0 < int(asked["Range"].removeprefix("bytes=").rstrip("-")) <= 70_000


def test_a_later_run_goes_on_too(site: Site, tmp_path: Path) -> None:
    url = site.add("/x", OGG, headers={"ETag": '"1"'}, cut_at=[70_000])
    assert code_of(lambda: downloaded(url, tmp_path, n_tries=1)) == "cut_off"
    assert downloaded(url, tmp_path) == OGG
    assert "Range" in site.requests[-1].headers


def test_what_is_there_already_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    """As when a run is killed after the last byte, and before anything was made of it."""
    url = site.add("/x", OGG, headers={"ETag": '"1"'})
    assert downloaded(url, tmp_path) == OGG
    received: list[int] = []
    using(lambda fetcher: fetcher.download(url, Part(tmp_path, "0123"), received.append))
    assert received == []
    assert Part(tmp_path, "0123").path.read_bytes() == OGG


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_without_a_safe_mark_it_begins_anew(site: Site, tmp_path: Path, etag: str | None) -> None:
    url = site.add("/x", OGG, headers={"ETag": etag} if etag else {}, cut_at=[70_000])
    assert downloaded(url, tmp_path) == OGG
    assert "Range" not in site.requests[-1].headers


def test_a_file_that_changed_meanwhile_is_fetched_whole(site: Site, tmp_path: Path) -> None:
    url = site.add("/x", OGG, headers={"ETag": '"1"'}, cut_at=[70_000])
    assert code_of(lambda: downloaded(url, tmp_path, n_tries=1)) == "cut_off"
    site.add("/x", OGG[:-7], headers={"ETag": '"2"'})
    assert downloaded(url, tmp_path) == OGG[:-7]


def test_another_range_than_asked_for_is_not_believed(site: Site, tmp_path: Path) -> None:
    url = site.add("/x", OGG, headers={"ETag": '"1"'}, cut_at=[70_000])
    assert code_of(lambda: downloaded(url, tmp_path, n_tries=1)) == "cut_off"
    site.add("/x", OGG, status=206, ranges=False, headers={"ETag": '"1"', "Content-Range": "bytes 3-9/10"})
    assert code_of(lambda: downloaded(url, tmp_path, n_tries=1)) == "bad_range"
    site.add("/x", OGG, headers={"ETag": '"1"'})
    assert downloaded(url, tmp_path) == OGG


@pytest.mark.parametrize("content_type", ["text/html", "image/png", "nonsense", "application/json; charset=x"])
def test_what_a_server_calls_it_does_not_matter(site: Site, tmp_path: Path, content_type: str) -> None:
    sound = mp3(0.3)
    assert downloaded(site.add("/x", sound, content_type=content_type), tmp_path) == sound


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("<!DOCTYPE html><p>Log in", "web_page"),
        ("\ufeff  <HTML>", "web_page"),
        ("#EXTM3U\n#EXTINF:1,x\nhttp://127.0.0.1/a.mp3", "playlist"),
        ("[playlist]\nFile1=x", "playlist"),
        ('<?xml version="1.0"?>\n<rss><channel/></rss>', "playlist"),
        ('{"error": "not here"}', "text"),
        ("Sorry, ünavailable" * 50_000, "text"),
    ],
)
def test_text_is_refused_before_the_rest_of_it_comes(site: Site, tmp_path: Path, body: str, code: str) -> None:
    url = site.add("/x", body, content_type="audio/mpeg")
    assert code_of(lambda: downloaded(url, tmp_path)) == code
    assert site.n_requests("/x") == 1


def test_redirects_are_followed_but_not_for_ever(site: Site) -> None:
    site.add("/a", status=301, headers={"Location": "/b?x=1#here"})
    site.add("/b?x=1", status=307, headers={"Location": site.url + "/c d"})
    site.add("/c%20d", "here")
    assert page(site.url + "/a") == b"here"
    site.add("/loop", status=302, headers={"Location": "/loop"})
    assert code_of(lambda: page(site.url + "/loop")) == "redirects"
    assert site.n_requests("/loop") == 6


def test_urls_are_asked_for_as_they_are_written(site: Site) -> None:
    site.add("/a%2Fb%41?sig=%2b%3D", "here")
    assert page(site.url + "/a%2Fb%41?sig=%2b%3D") == b"here"


def test_no_cookies_are_kept(site: Site) -> None:
    url = site.add("/x", "here", headers={"Set-Cookie": "a=b"})

    async def twice(fetcher: Fetcher) -> None:
        await fetcher.page(url)
        await fetcher.page(url)

    using(twice)
    assert all("Cookie" not in request.headers for request in site.requests)


def test_robots_are_obeyed_and_fetched_once(site: Site) -> None:
    site.add("/robots.txt", "User-agent: audiorec\nDisallow: /private\nAllow: /\nUser-agent: *\nDisallow: /")
    open_url, closed = site.add("/open", "here"), site.add("/private/x", "secret")

    async def ask(fetcher: Fetcher) -> None:
        assert (await fetcher.page(open_url)).body == b"here"
        with pytest.raises(CrawlFailure, match=r"robots.txt of .* closes to audiorec") as failure:
            await fetcher.page(closed)
        assert failure.value.code == "robots"
        assert failure.value.free

    using(ask)
    assert site.n_requests("/robots.txt") == 1
    assert site.n_requests("/private/x") == 0
    assert page(closed, obey_robots=False) == b"secret"


def test_redirects_are_held_to_robots_too(site: Site) -> None:
    site.add("/robots.txt", "User-agent: *\nDisallow: /private")
    site.add("/private/x", "secret")
    url = site.add("/open", status=302, headers={"Location": "/private/x"})
    assert code_of(lambda: page(url)) == "robots"


def test_a_host_whose_robots_cannot_be_had_is_left_alone(site: Site) -> None:
    site.add("/robots.txt", failures=[500] * 99)
    url = site.add("/x", "here")
    assert code_of(lambda: page(url)) == "robots_unreachable"
    assert site.n_requests("/x") == 0


@pytest.mark.parametrize("rules", ["Crawl-delay: 7", "Request-rate: 1/7"])
def test_robots_set_the_pace(site: Site, rules: str) -> None:
    site.add("/robots.txt", f"User-agent: *\n{rules}\n")
    url = site.add("/x", "here")

    async def ask(fetcher: Fetcher) -> float:
        fetcher.host(url).interval_s = 0.0
        await fetcher.page(url)
        return fetcher.host(url).interval_s

    assert using(ask) == 7.0


def test_no_more_requests_at_once_than_allowed() -> None:
    most = 0

    async def ask() -> None:
        host, now = Host("x", n_at_once=3, interval_s=0, max_wait_s=1), 0

        async def one() -> None:
            nonlocal now, most
            async with host.turn():
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1

        await asyncio.gather(*(one() for _ in range(20)))

    asyncio.run(ask())
    assert most == 3
