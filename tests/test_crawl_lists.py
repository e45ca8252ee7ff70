"""Tables, M3U, feeds and plain lists: what they mean, and what they may not do."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crawl_site import QUICK, Site, mp3, running_site, table

from audiorec.crawl import Crawled, crawl
from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.sources.feeds import read_feed
from audiorec.crawl.sources.texts import read_text_list
from audiorec.errors import BadSetting

FEED = """<?xml version="1.0" encoding="UTF-8"?>
<?xml-stylesheet href="x.xsl"?>
<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" xmlns:atom="http://www.w3.org/2005/Atom">
<channel>
  <title>The Show</title><itunes:author>A Host</itunes:author><copyright>CC BY</copyright>
  <itunes:category text="Music"><itunes:category text="Salsa"/></itunes:category>
  NEXT
  <item>
    <title>One &amp; all</title><link>/episodes/1</link><guid isPermaLink="false">guid-1</guid>
    <pubDate>Tue, 12 Feb 2019 16:33:32 +0100</pubDate><itunes:duration>1:02:03</itunes:duration>
    <enclosure url="/media/1.mp3" type="audio/mpeg" length="1"/><category>talk</category>
  </item>
  <item><title>A picture</title><enclosure url="/x.png" type="image/png"/></item>
  <item><title>No sound</title></item>
</channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>Atoms</title><author><name>Her</name></author>
<entry><id>tag:1</id><title>First</title><updated>2020-01-02T03:04:05Z</updated>
<link rel="alternate" href="https://example.org/1"/><link rel="enclosure" href="https://example.org/1.ogg"/>
</entry></feed>"""


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as site:
        yield site


def crawled(source: str | Path, out_dir: Path, **options: Any) -> Crawled:
    return crawl(str(source), out_dir, options=replace(QUICK, **options), n_decoders=1)


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_tables(delimiter: str) -> None:
    rows = [["audio_url", "url", "author", "category", "mood"], ["http://a/1", "http://p/1", "B, C", "dog;cat", "old"]]
    quote = '"' if delimiter in "B, C;dog;cat" else ""
    text = "\n".join(delimiter.join(f"{quote}{cell}{quote}" for cell in row) for row in rows)
    (entry,) = read_text_list(text, "x")
    assert (entry.sound, entry.page) == ("http://a/1", "http://p/1")
    assert entry.fields == {
        "author": "B, C",
        "category": "dog;cat",
        "mood": "old",
        "artist": "B, C",
        "label": "dog;cat",
    }


def test_a_table_of_pages_alone() -> None:
    (entry,) = read_text_list("url,title,date,clip_id\nhttp://p/1,T,2020-01-01,my-id\n,nothing here,,\n", "x")
    assert (entry.sound, entry.page, entry.published) == ("http://p/1", "http://p/1", "2020-01-01")
    assert (entry.clip_id, entry.fields) == ("my-id", {"title": "T", "date": "2020-01-01"})


def test_a_table_that_breaks() -> None:
    with pytest.raises(CrawlFailure, match="a table that breaks after line 2"):
        read_text_list("url,x\nhttp://a/1,fine\nhttp://a/2," + "x" * 200_000 + "\n", "x")


def test_json_lines() -> None:
    text = '{"file_name": "a.wav", "labels": ["dog", "cat"], "bpm": 120, "x": {"deep": 1}}\n\n[1]\n'
    (entry,) = read_text_list(text, "metadata.jsonl")
    assert (entry.sound, entry.fields) == ("a.wav", {"labels": "dog;cat", "label": "dog;cat", "bpm": "120"})
    with pytest.raises(CrawlFailure, match="line 2 that is no JSON"):
        read_text_list('{"a": 1}\n{', "x")


def test_m3u() -> None:
    text = (
        "#EXTM3U\n#EXTINF:123,An Artist - A Title\nhttp://a/1.mp3\n\n#EXTINF:-1 tvg-id=x,Only title\nb.mp3\n#x\nc.mp3"
    )
    first, second, third = read_text_list(text, "x")
    assert (first.sound, first.expected_s) == ("http://a/1.mp3", 123.0)
    assert first.fields == {"artist": "An Artist", "title": "A Title"}
    assert (second.sound, second.expected_s, second.fields) == ("b.mp3", None, {"title": "Only title"})
    assert third.fields == {}
    assert [entry.sound for entry in read_text_list("a.mp3\nb.mp3", "old.m3u")] == ["a.mp3", "b.mp3"]


def test_plain_urls() -> None:
    entries = read_text_list("# mine\nhttps://a/1.mp3\n  http://b/2.mp3  # with a note\nnot a URL\n", "x.txt")
    assert [entry.sound for entry in entries] == ["https://a/1.mp3", "http://b/2.mp3"]


def test_a_stream_is_no_list() -> None:
    with pytest.raises(CrawlFailure, match="segments of one stream"):
        read_text_list("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nseg1.ts", "x")


def test_rss() -> None:
    (entry,), following = read_feed(FEED.encode(), "https://example.org/feed")
    assert following == ""
    assert (entry.sound, entry.page) == ("https://example.org/media/1.mp3", "https://example.org/episodes/1")
    assert entry.key == "feed:https://example.org/feed guid-1"
    assert (entry.published, entry.expected_s) == ("2019-02-12T15:33:32+00:00", 3723.0)
    assert entry.fields == {
        "title": "One & all",
        "artist": "A Host",
        "album": "The Show",
        "label": "talk",
        "license": "CC BY",
        "source": "example.org",
    }


def test_atom() -> None:
    (entry,), _ = read_feed(ATOM.encode(), "https://example.org/feed")
    assert (entry.sound, entry.page) == ("https://example.org/1.ogg", "https://example.org/1")
    assert (entry.published, entry.fields["artist"], entry.fields["album"]) == ("2020-01-02T03:04:05Z", "Her", "Atoms")


@pytest.mark.parametrize(
    "inside",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:1/x.dtd"> %a;]>',
    ],
)
def test_feeds_do_not_expand_or_fetch(inside: str) -> None:
    with pytest.raises(CrawlFailure, match="feed that cannot be read"):
        read_feed(f"{inside}<rss><channel><title>&a;</title></channel></rss>".encode(), "")


@pytest.mark.parametrize("body", [b"<rss><channel>", b"<rss>\x00</rss>", b"<rss" + b"<a>" * 10_000])
def test_broken_feeds(body: bytes) -> None:
    with pytest.raises(CrawlFailure, match="feed that cannot be read"):
        read_feed(body, "")


def test_a_feed_of_several_pages(site: Site, tmp_path: Path) -> None:
    following = '<atom:link rel="next" href="/feed?page=2"/>'
    site.add("/feed", FEED.replace("NEXT", following).replace("1:02:03", "1"))
    second = FEED.replace("NEXT", following).replace("/media/1.mp3", "/media/2.mp3").replace("guid-1", "guid-2")
    site.add("/feed?page=2", second.replace("1:02:03", "1"))  # whose next page is itself
    site.add("/media/1.mp3", mp3(0.2))
    site.add("/media/2.mp3", mp3(0.3))
    run = crawled(f"{site.url}/feed", tmp_path / "out")
    assert (run.status.n_new, run.is_complete) == (2, True)
    rows = table(tmp_path / "out")
    assert {row["album"] for row in rows} == {"The Show"}
    assert {row["url"] for row in rows} == {f"{site.url}/episodes/1"}
    assert {row["medium"] for row in rows} == {"file"}


def test_an_episode_that_is_too_long_is_not_fetched(site: Site, tmp_path: Path) -> None:
    site.add("/feed", FEED.replace("NEXT", ""))
    run = crawled(f"{site.url}/feed", tmp_path / "out")
    assert set(run.status.failures) == {"too_long"}
    assert site.n_requests("/media/1.mp3") == 0


def test_a_list_here_may_name_files_here_and_elsewhere(site: Site, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    (lists / "songs").mkdir(parents=True)
    (lists / "songs/ein Lied.mp3").write_bytes(mp3(0.2))
    remote = site.add("/a%20b.mp3", mp3(0.3))
    (lists / "mine.csv").write_text(
        "path,url,label\nsongs/ein Lied.mp3,https://example.org/1,mine\n"
        f"{site.url}/a b.mp3#t,,theirs\nmissing.mp3,,x\n",
        encoding="utf-8-sig",
    )
    run = crawled(lists / "mine.csv", tmp_path / "out")
    assert run.status.n_new == 2
    assert run.status.failures["not_found"][0] == 1
    mine, theirs = sorted(table(tmp_path / "out"), key=lambda row: row["label"])
    assert (mine["url"], mine["source"]) == ("https://example.org/1", "mine.csv")
    assert (theirs["url"], theirs["source"]) == (remote, "127.0.0.1")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "file:///etc/passwd", "../../secret.mp3", "//127.0.0.1:1/x", "s3://b/x"]
)
def test_a_list_from_the_web_names_nothing_here(site: Site, tmp_path: Path, name: str) -> None:
    site.add("/list.csv", f"path,label\n{name},x\n", content_type="text/csv")
    run = crawled(f"{site.url}/list.csv", tmp_path / "out")
    assert run.status.n_new == 0
    assert set(run.status.failures) <= {"bad_scheme", "not_found", "unreachable", "robots_unreachable"}


def test_links_in_a_list_are_relative_to_it(site: Site, tmp_path: Path) -> None:
    site.add("/lists/x.m3u", "#EXTM3U\n../media/1.mp3\n")
    site.add("/media/1.mp3", mp3(0.2))
    assert crawled(f"{site.url}/lists/x.m3u", tmp_path / "out").status.n_new == 1


def test_coubs_in_a_list(site: Site, tmp_path: Path) -> None:
    site.add_coub("1o4jhz", mp3(0.2))
    mine = tmp_path / "mine.csv"
    mine.write_text("url,title\nhttps://coub.com/view/1o4jhz,My title\n")
    crawled(mine, tmp_path / "out", **site.options)
    (row,) = table(tmp_path / "out")
    assert (row["clip_id"], row["title"], row["artist"]) == ("coub:1o4jhz", "My title", "Some Channel")


def test_one_sound_by_its_url(site: Site, tmp_path: Path) -> None:
    url = site.add("/x.mp3", mp3(0.2))
    assert crawled(url, tmp_path / "out").status.n_new == 1
    (row,) = table(tmp_path / "out")
    assert row["url"] == url


def test_ids_that_a_person_gives(site: Site, tmp_path: Path) -> None:
    """Kept where they are plain; the second of two that are the same gets one of ours, and no clip is lost."""
    rows = [("a", "one"), ("b", "one"), ("c", " two\t"), ("d", "x" * 500)]
    for name, _ in rows:
        site.add(f"/{name}.mp3", mp3(0.2))
    lines = [json.dumps({"audio_url": f"{site.url}/{name}.mp3", "clip_id": clip_id}) for name, clip_id in rows]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    assert crawled(tmp_path / "mine.jsonl", tmp_path / "out", n_parallel=1).status.n_new == 4
    ids = [row["clip_id"] for row in table(tmp_path / "out")]
    assert ids[0] == "one"
    assert ids[2] == "two"
    assert len(set(ids)) == 4
    assert max(map(len, ids)) <= 200


@pytest.mark.parametrize("text", ["", "\n\n", "just words\nand more", "a,b\n1,2\n", "\x00\x01\x02"])
def test_texts_that_are_no_list(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(CrawlFailure, match=r"got 'x.txt' without anything to fetch in it"):
        crawled(tmp_path / "x.txt", tmp_path / "out")


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="which is not there, expected a folder, a list file"):
        crawled(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(BadSetting, match="expected a store that fsspec can open"):
        crawled("nonsense://x/y", tmp_path / "out")
