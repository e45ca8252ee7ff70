"""Pages of any site, through yt-dlp in its child."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crawl_site import QUICK, Site, mp3, running_site, table

from audiorec.crawl import Crawled, crawl
from audiorec.crawl.failures import CrawlFailure

PAGE = '<!DOCTYPE html><html><head><title>A page</title></head><body><video src="{}"></video></body></html>'


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as site:
        yield site


def crawled(source: str | Path, out_dir: Path, **options: Any) -> Crawled:
    return crawl(str(source), out_dir, options=replace(QUICK, **options), n_decoders=1)


def test_the_sound_of_a_page(site: Site, tmp_path: Path) -> None:
    sound = mp3(0.3)
    site.add("/media.mp3", sound, content_type="audio/mpeg")
    url = site.add("/page", PAGE.format("/media.mp3"), content_type="text/html")
    run = crawled(url, tmp_path / "out")
    assert (run.status.n_new, run.status.failures) == (1, {})
    (row,) = table(tmp_path / "out")
    assert row["title"].startswith("A page")
    assert (row["url"], row["source"], row["medium"]) == (url, "127.0.0.1", "best")
    assert (tmp_path / "out" / row["path"]).read_bytes() == sound
    assert {request.headers["User-Agent"].partition("/")[0] for request in site.requests} == {"audiorec"}
    assert crawled(url, tmp_path / "out").status.n_known == 1
    assert list((tmp_path / "out/.crawl/parts").iterdir()) == []


def test_a_page_in_a_list(site: Site, tmp_path: Path) -> None:
    site.add("/media.mp3", mp3(0.3), content_type="audio/mpeg")
    site.add("/page", PAGE.format("/media.mp3"), content_type="text/html")
    (tmp_path / "mine.csv").write_text(f"url,title\n{site.url}/page,My title\n")
    crawled(tmp_path / "mine.csv", tmp_path / "out")
    (row,) = table(tmp_path / "out")
    assert (row["title"], row["medium"]) == ("My title", "page")


@pytest.mark.parametrize(
    ("page", "code"),
    [("<html><title>Nothing</title><p>no sound", "unsupported_site"), (PAGE.format("/gone.mp3"), "not_found")],
)
def test_pages_without_sound(site: Site, tmp_path: Path, page: str, code: str) -> None:
    url = site.add("/page", page, content_type="text/html")
    (tmp_path / "mine.txt").write_text(url)
    run = crawled(tmp_path / "mine.txt", tmp_path / "out")
    assert set(run.status.failures) == {code}


def test_a_sound_over_the_limit(site: Site, tmp_path: Path) -> None:
    site.add("/media.mp3", mp3(30.0), content_type="audio/mpeg")
    url = site.add("/page", PAGE.format("/media.mp3"), content_type="text/html")
    run = crawled(url, tmp_path / "out", max_file_bytes=10_000)
    assert set(run.status.failures) == {"too_large"}


def test_a_page_that_robots_close(site: Site, tmp_path: Path) -> None:
    site.add("/robots.txt", "User-agent: *\nDisallow: /page")
    url = site.add("/page", PAGE.format("/media.mp3"))
    with pytest.raises(CrawlFailure, match=r"robots.txt"):
        crawled(f"ytdlp:{url}", tmp_path / "out")
    assert site.n_requests("/page") == 0


CHILD = """
import json, sys
from audiorec.crawl import addresses
addresses.is_public = lambda address: address == "127.0.0.1"
from audiorec.crawl.ytdlp_child import main
main()
"""


def child(operation: str, url: str, folder: Path) -> str:
    """What the child says, when one address counts as public and no other does."""
    request = {
        "operation": operation,
        "url": url,
        "folder": str(folder),
        "archive": str(folder / "archive"),
        "allow_private": False,
        "user_agent": "audiorec",
        "interval_s": 0,
        "stall_s": 5,
        "n_tries": 1,
        "max_bytes": 10**6,
    }
    command = [sys.executable, "-c", CHILD]
    done = subprocess.run(command, input=json.dumps(request) + "\n", capture_output=True, text=True, timeout=60)
    return done.stdout


def test_no_part_of_ytdlp_reaches_a_private_address(site: Site, tmp_path: Path) -> None:
    """By its own URL, by a redirect, and by what a page names; and the same where it is allowed."""
    port = site.url.rpartition(":")[2]
    inside = f"http://127.0.0.2:{port}/media.mp3"
    site.add("/media.mp3", mp3(0.3), content_type="audio/mpeg")
    moved = site.add("/moved", status=302, headers={"Location": inside})
    page = site.add("/page", PAGE.format(inside), content_type="text/html")
    fine = site.add("/fine", PAGE.format("/media.mp3"), content_type="text/html")
    for operation, url in (("fetch", inside), ("list", moved), ("fetch", page)):
        assert "private_address" in child(operation, url, tmp_path)
    assert '{"done": true}' in child("fetch", fine, tmp_path)


def test_other_programs_are_not_started() -> None:
    for start in (
        "__import__('subprocess').run(['ffmpeg', '-version'])",
        "__import__('os').system('true')",
        "__import__('os').execv('/bin/true', ['true'])",
    ):
        code = f"from audiorec.crawl.ytdlp_child import _guard; import sys; sys.addaudithook(_guard(True)); {start}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "PermissionError: another program" in done.stderr


def test_what_the_archive_names_is_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A playlist of three with one in the archive, opened without asking for its clips."""
    from audiorec.crawl.ytdlp_child import _downloader, _entries

    request = {"user_agent": "x", "stall_s": 1, "n_tries": 1, "interval_s": 0}
    (tmp_path / "archive").write_text("youtube bbbbbbbbbbb\n")
    downloader = _downloader(request, download_archive=str(tmp_path / "archive"))
    entries = [
        {"_type": "url", "ie_key": "Youtube", "id": name * 11, "url": f"https://www.youtube.com/watch?v={name * 11}"}
        for name in "abc"
    ]
    playlist = {"_type": "playlist", "entries": iter(entries), "playlist_count": 3}
    monkeypatch.setattr(downloader, "extract_info", lambda *args, **options: playlist)
    said: list[Any] = []
    found = list(_entries(downloader, "https://www.youtube.com/playlist?list=x", None, 0, said.append))
    assert [entry["archive_id"] for entry in found] == ["youtube aaaaaaaaaaa", "youtube ccccccccccc"]
    assert said == [{"n_expected": 3}]
