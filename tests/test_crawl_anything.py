"""Whatever the other side says: an answer or a CrawlFailure, and text that a table can hold."""

import json
import string
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.http import Fetcher
from audiorec.crawl.item import clean, web_url
from audiorec.crawl.options import CrawlOptions
from audiorec.crawl.sniff import HEAD_BYTES, extension_of, refuse_text
from audiorec.crawl.sources.coub import Coub, is_coub_page
from audiorec.crawl.sources.entries import Entry
from audiorec.crawl.sources.feeds import read_feed
from audiorec.crawl.sources.texts import read_text_list
from audiorec.files.tsv import tsv_line

TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
NAMES = st.sampled_from(
    [
        *("title", "channel", "tags", "categories", "communities", "media_blocks", "audio_track", "meta", "music"),
        *("file_versions", "html5", "audio", "high", "url", "mobile", "share", "default", "duration", "published_at"),
        *("views_count", "recoub_to", "permalink", "artist", "age_restricted"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.just("http://example.org/a.mp3"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=30,
)
COUB = Coub("coub:hot", Fetcher(CrawlOptions()))


@given(st.dictionaries(NAMES, JSON), st.sampled_from(["1o4jhz", None, 7, "../x"]))
def test_any_coub(facts: dict[str, Any], permalink: Any) -> None:
    item = COUB._item({**facts, "permalink": permalink})
    assert item is None or tsv_line([item.key, item.url, item.published, item.readable_id, *item.fields.values()])
    assert item is None or json.loads(json.dumps(item.to_dict()))["key"] == item.key


def holds(entries: list[Entry]) -> bool:
    return all(tsv_line([*entry.fields, *entry.fields.values()]) for entry in entries)


@given(
    st.text(max_size=300) | st.text(string.printable, max_size=300),
    st.sampled_from(["", "url,x\n", "#EXTM3U\n", '{"url": ']),
)
def test_any_text(text: str, begin: str) -> None:
    with suppress(CrawlFailure):
        assert holds(read_text_list(begin + text, "x"))


@given(st.dictionaries(st.sampled_from(["url", "path", "label", "clip_id", "a\tb\n", ""]), JSON))
def test_any_line_of_json(row: dict[str, Any]) -> None:
    with suppress(CrawlFailure):
        assert holds(read_text_list(json.dumps(row), "x"))


@given(st.binary(max_size=300) | st.text(string.printable, max_size=300).map(str.encode))
def test_any_feed(body: bytes) -> None:
    for begin, end in ((b"", b""), (b"<rss><item><enclosure url='x'/><pubDate>", b"</pubDate></item></rss>")):
        with suppress(CrawlFailure):
            assert holds(read_feed(begin + body + end, "http://example.org/feed")[0])


@given(st.binary(max_size=HEAD_BYTES))
def test_any_first_bytes(head: bytes) -> None:
    assert extension_of(head).startswith(".")
    with suppress(CrawlFailure):
        refuse_text(head)


@given(TEXT | TEXT.map(lambda text: f"http://{text}/x") | TEXT.map(lambda text: f"https://coub.com/{text}"))
def test_any_url(text: str) -> None:
    assert web_url(text) in {"", text}
    assert is_coub_page(text) in {True, False}


@given(JSON)
def test_any_value_as_text(value: Any) -> None:
    assert tsv_line([clean(value)]).count(b"\n") == 1
