"""Coub's API as it answers, and as it must not be believed."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crawl_site import QUICK, Site, mp3, running_site, table

from audiorec.crawl import crawl
from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.http import Fetcher
from audiorec.crawl.item import Item
from audiorec.crawl.options import CrawlOptions
from audiorec.crawl.sources.coub import Coub, is_coub_page
from audiorec.errors import BadSetting


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as site:
        yield site


def options_of(site: Site, **options: Any) -> CrawlOptions:
    return replace(QUICK, **site.options, **options)


def listed(site: Site, spec: str) -> list[Item]:
    async def run() -> list[Item]:
        async with Fetcher(options_of(site)) as fetcher:
            return [item async for item in Coub(spec, fetcher).items()]

    return asyncio.run(run())


def api_path(spec: str) -> str:
    """What the first request for a place is, without the page."""
    source = Coub(spec, Fetcher(CrawlOptions()))
    return source._timeline or f"coubs/{source._permalink}"


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("coub:hot", "timeline/subscriptions/monthly?"),
        ("coub:hot/weekly", "timeline/subscriptions/weekly?"),
        ("https://coub.com/", "timeline/subscriptions/monthly?"),
        ("https://coub.com/hot", "timeline/subscriptions/monthly?"),
        ("https://coub.com/rising", "timeline/subscriptions/rising?"),
        ("coub:explore", "timeline/explore?"),
        ("coub:explore/coub_of_the_day?order_by=top", "timeline/explore/coub_of_the_day?order_by=top"),
        ("coub:timeline/hot/movies/half", "timeline/hot/movies/half?"),
        ("https://coub.com/api/v2/timeline/hot/movies/half?order_by=x", "timeline/hot/movies/half?order_by=x"),
        ("coub:tag/lo-fi beats/1", "timeline/tag/lo-fi%20beats%2F1?"),
        ("https://coub.com/tags/lo-fi%20beats", "timeline/tag/lo-fi%20beats?"),
        ("coub:channel/royal.coubs", "timeline/channel/royal.coubs?order_by=newest"),
        ("https://www.coub.com/royal.coubs", "timeline/channel/royal.coubs?order_by=newest"),
        ("coub:channel/x?order_by=views_count", "timeline/channel/x?order_by=views_count"),
        ("coub:community/animals-pets", "timeline/community/animals-pets/monthly?"),
        ("https://coub.com/community/animals-pets/fresh", "timeline/community/animals-pets/fresh?"),
        ("coub:search/cats & dogs", "search/coubs?q=cats+%26+dogs"),
        ("https://coub.com/search?q=cats", "search/coubs?q=cats"),
        ("https://coub.com/api/v2/search/coubs?q=cats", "search/coubs?q=cats"),
        ("coub:view/1o4jhz", "coubs/1o4jhz"),
        ("https://coub.com/view/1o4jhz", "coubs/1o4jhz"),
        ("https://coub.com/embed/1o4jhz?autoplay=true", "coubs/1o4jhz"),
    ],
)
def test_places(spec: str, path: str) -> None:
    assert api_path(spec) == path


@pytest.mark.parametrize(
    "spec",
    [
        *(
            "coub:",
            "coub:nowhere",
            "coub:tag",
            "coub:tag/",
            "coub:hot/yearly",
            "coub:community/x/yearly",
            "coub:search/",
        ),
        *("coub:view/../../etc", "https://coub.com/a/b/c/d"),
    ],
)
def test_places_that_are_none(spec: str) -> None:
    with pytest.raises(BadSetting, match="expected"):
        Coub(spec, Fetcher(CrawlOptions()))


def test_which_pages_are_coubs() -> None:
    assert is_coub_page("https://coub.com/view/1o4jhz")
    assert not is_coub_page("https://coub.com/royal.coubs")
    assert not is_coub_page("https://example.org/view/1o4jhz")
    assert not is_coub_page("https://[broken/view/x")


def test_what_is_kept_of_a_coub(site: Site) -> None:
    site.add_coub("1o4jhz", mp3(0.2), age_restricted_by_admin=True)
    (item,) = listed(site, "coub:hot")
    assert item.key == item.clip_id == "coub:1o4jhz"
    assert item.url == f"{site.url}/view/1o4jhz"
    assert item.published == "2019-02-13T16:33:32Z"
    assert item.fields == {
        "title": "Title of 1o4jhz",
        "artist": "Some Channel",
        "label": "animals-pets",
        "source": "coub",
        "coub_id": "1000",
        "permalink": "1o4jhz",
        "channel": "some-channel",
        "tags": "cat, dog;loop",
        "categories": "Animals & Pets",
        "views": "4134",
        "likes": "6",
        "age_restricted": "yes",
        "music_artist": "A Band",
        "music_title": "A Song",
        "video_s": "6.28",
        "created": "2019-02-12T16:33:32Z",
    }
    assert [medium.name for medium in item.media] == ["html5.audio.high"]


def test_all_pages_are_listed(site: Site) -> None:
    for number in range(60):
        site.add_coub(f"c{number}")
    items = listed(site, "coub:tag/x")
    assert [item.key for item in items] == [f"coub:c{number}" for number in range(60)]
    assert [request.path for request in site.requests if "/api/" in request.path] == [
        f"/api/v2/timeline/tag/x?page={page}&per_page=25" for page in (1, 2, 3)
    ]


def test_the_page_after_the_last_is_not_taken_for_the_first(site: Site) -> None:
    """Beyond page 99 of most timelines the API answers with page 1, and still promises more."""
    site.max_pages = 2
    for number in range(80):
        site.add_coub(f"c{number}")
    assert len(listed(site, "coub:hot")) == 50


def test_media_in_falling_quality(site: Site) -> None:
    sound, muxed = f"{site.url}/a", f"{site.url}/share.mp4"
    versions = {
        "html5": {
            "video": {"high": {"url": f"{site.url}/mute.mp4"}},
            "audio": {"med": {"url": f"{sound}/med"}, "high": {"url": f"{sound}/high"}, "sample_duration": 9.1},
        },
        "mobile": {"video": f"{site.url}/mute.mp4", "audio": [f"{sound}/m4a", f"{sound}/med"]},
        "share": {"default": muxed},
    }
    site.add_coub("x", file_versions=versions)
    (item,) = listed(site, "coub:hot")
    assert [(medium.name, medium.url) for medium in item.media] == [
        ("html5.audio.high", f"{sound}/high"),
        ("html5.audio.med", f"{sound}/med"),
        ("mobile.audio.0", f"{sound}/m4a"),
        ("share.default", muxed),
    ]


def test_a_recoub_is_the_coub_that_it_shows(site: Site, tmp_path: Path) -> None:
    original = site.add_coub("original", mp3(0.2))
    site.add_coub("again", recoub_to={"permalink": "original"}, type="Coub::Recoub", title="not mine")
    site.coubs = {"again": site.coubs["again"], "original": original}
    crawl("coub:channel/x", tmp_path / "out", options=options_of(site), n_decoders=1)
    (row,) = table(tmp_path / "out")
    assert (row["clip_id"], row["title"]) == ("coub:original", "Title of original")
    assert site.n_requests("/media/original_high.mp3") == 1


def test_the_sound_is_as_long_as_it_is_and_not_as_the_video(site: Site, tmp_path: Path) -> None:
    site.add_coub("x", mp3(12.0), duration=4.0)
    crawl("coub:view/x", tmp_path / "out", options=options_of(site), n_decoders=1)
    (row,) = table(tmp_path / "out")
    assert float(row["duration_s"]) == pytest.approx(12.0, abs=0.1)
    assert (row["video_s"], row["medium"]) == ("4.0", "html5.audio.high")


def test_the_next_file_is_taken_where_the_best_has_gone(site: Site, tmp_path: Path) -> None:
    versions = {
        "html5": {"audio": {"high": {"url": f"{site.url}/gone"}, "med": {"url": f"{site.url}/a_page"}}},
        "mobile": {"audio": [None, 7, "javascript:alert(1)"]},
        "share": {"default": site.add("/share.mp4", mp3(0.2))},
    }
    site.add("/a_page", "<html>not here")
    site.add_coub("x", file_versions=versions)
    crawl("coub:view/x", tmp_path / "out", options=options_of(site), n_decoders=1)
    (row,) = table(tmp_path / "out")
    assert row["medium"] == "share.default"


def test_a_worse_file_is_not_taken_because_of_a_bad_moment(site: Site, tmp_path: Path) -> None:
    versions = {
        "html5": {"audio": {"high": {"url": site.add("/high", mp3(0.2), failures=[500] * 3)}}},
        "share": {"default": site.add("/share", mp3(0.1))},
    }
    site.add_coub("x", file_versions=versions)
    crawled = crawl("coub:view/x", tmp_path / "out", options=options_of(site), n_decoders=1)
    assert set(crawled.status.failures) == {"server_error"}
    crawl("coub:view/x", tmp_path / "out", options=options_of(site), n_decoders=1)
    (row,) = table(tmp_path / "out")
    assert row["medium"] == "html5.audio.high"


@pytest.mark.parametrize(
    "versions", [None, [], {}, {"html5": {"audio": []}}, {"share": {"default": "{}"}}, {"html5": 7}]
)
def test_a_coub_without_sound_is_refused(site: Site, tmp_path: Path, versions: Any) -> None:
    site.add_coub("x", file_versions=versions)
    crawled = crawl("coub:hot", tmp_path / "out", options=options_of(site), n_decoders=1)
    assert set(crawled.status.failures) == {"no_sound"}
    (refused,) = table(tmp_path / "out", "refused.tsv")
    assert (refused["clip_id"], refused["code"], refused["url"]) == ("coub:x", "no_sound", f"{site.url}/view/x")


def test_a_coub_that_has_gone(site: Site, tmp_path: Path) -> None:
    crawled = crawl("coub:view/gone", tmp_path / "out", options=options_of(site), n_decoders=1)
    assert set(crawled.status.failures) == {"not_found"}


def test_nothing_is_believed(site: Site, tmp_path: Path) -> None:
    """Wrong types everywhere, half characters, ends of lines, links that run: a clip, with what of it makes sense."""
    site.add_coub(
        "x",
        mp3(0.2),
        title="half \ud800 a\ntitle\t\u202ex",
        channel="nobody",
        tags=[None, {"title": ["a"]}, {"title": "fine"}],
        categories={"a": 1},
        views_count={"$gt": 0},
        likes_count=None,
        media_blocks=[],
        music={"title": "T", "artist_title": "A"},
        duration="x" * 5000,
        published_at=0,
        created_at=["never"],
        path="../../../etc/passwd",
    )
    site.coubs["bad"] = {"permalink": "../../x"}
    site.coubs["worse"] = {"permalink": None, "recoub_to": {"permalink": 7}}
    crawled = crawl("coub:hot", tmp_path / "out", options=options_of(site), n_decoders=1)
    assert crawled.status.n_new == 1
    (row,) = table(tmp_path / "out")
    assert row["title"] == "half a title x"
    assert (row["tags"], row["music_title"], row["music_artist"]) == ("fine", "T", "A")
    assert "artist" not in row
    assert row["path"].startswith("clips/")


@pytest.mark.parametrize("answer", ["[" * 100_000, "[]", "null", "<html>", '{"error": "no such\\u0000 tag"}'])
def test_answers_that_are_none(site: Site, tmp_path: Path, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp import web

    monkeypatch.setattr(site, "_api", lambda request: web.Response(text=answer))
    with pytest.raises(CrawlFailure, match="got"):
        crawl("coub:hot", tmp_path / "out", options=options_of(site), n_decoders=1)


def test_a_listing_that_breaks_off_is_said_and_taken_up_again(site: Site, tmp_path: Path) -> None:
    for number in range(30):
        site.add_coub(f"c{number}", mp3(0.1))
    second = "/api/v2/timeline/subscriptions/monthly?page=2&per_page=25"
    site.add(second, failures=[500] * 3)
    crawled = crawl("coub:hot", tmp_path / "out", options=options_of(site), n_decoders=1)
    assert crawled.status.n_new == 25
    assert not crawled.is_complete
    assert crawled.listing_failure is not None
    assert crawled.listing_failure.code == "server_error"
    crawled = crawl("coub:hot", tmp_path / "out", options=options_of(site), n_decoders=1)
    assert crawled.is_complete
    assert len(table(tmp_path / "out")) == 30
