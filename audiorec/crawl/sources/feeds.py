"""Podcast feeds: RSS and Atom, read by a parser that refuses entities and everything outside the document."""

from datetime import timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped,import-not-found,unused-ignore]
from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped,import-not-found,unused-ignore]

from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.item import cleaned
from audiorec.crawl.sources.entries import Entry
from audiorec.quoting import quoted

ATOM = "{http://www.w3.org/2005/Atom}"
ITUNES = "{http://www.itunes.com/dtds/podcast-1.0.dtd}"
SOUND_TYPES = ("audio/", "video/", "application/octet-stream", "application/ogg")


def read_feed(body: bytes, base_url: str) -> tuple[list[Entry], str]:
    """(its entries that have a sound, the URL of its next page or ""). Raises CrawlFailure for what is no feed.

    base_url: what relative links in it are relative to; empty where there is nothing.
    """
    try:
        root: Element = fromstring(body, forbid_dtd=False)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise CrawlFailure(
            f"got a feed that cannot be read ({type(error).__name__}: {error})", code="bad_feed"
        ) from None
    channel = root.find("channel")
    channel = root if channel is None else channel
    shared = {
        "artist": _text(channel, f"{ITUNES}author", "author", f"{ATOM}author/{ATOM}name"),
        "album": _text(channel, "title", f"{ATOM}title"),
        "label": ";".join(filter(None, (found.get("text") for found in channel.findall(f"{ITUNES}category")))),
        "license": _text(channel, "copyright", f"{ATOM}rights"),
        "source": urlsplit(base_url).hostname or "feed",
    }
    elements = [*channel.iter("item"), *channel.iter(f"{ATOM}entry")]
    entries = [entry for element in elements if (entry := _entry(element, shared, base_url)) is not None]
    following = next((link.get("href") for link in channel.findall(f"{ATOM}link") if link.get("rel") == "next"), None)
    return entries, urljoin(base_url, following) if following else ""


def _entry(element: Element, shared: dict[str, str], base_url: str) -> Entry | None:
    sound = _sound(element)
    if not sound:
        return None
    link = element.find(f"{ATOM}link[@rel='alternate']")
    page = _text(element, "link") or (link.get("href", "") if link is not None else "")
    own = {
        "title": _text(element, "title", f"{ATOM}title"),
        "artist": _text(element, f"{ITUNES}author", "author", f"{ATOM}author/{ATOM}name"),
        "label": ";".join(filter(None, ((found.text or "").strip() for found in element.findall("category")))),
        "tags": _text(element, f"{ITUNES}keywords"),
        "episode": _text(element, f"{ITUNES}episode"),
        "season": _text(element, f"{ITUNES}season"),
    }
    guid = _text(element, "guid", f"{ATOM}id")
    return Entry(
        sound=urljoin(base_url, sound),
        page=urljoin(base_url, page) if page else "",
        key=f"feed:{base_url} {guid}" if guid else "",
        published=_iso_date(_text(element, "pubDate", f"{ATOM}published", f"{ATOM}updated")),
        expected_s=_seconds(_text(element, f"{ITUNES}duration")),
        fields={**cleaned({**shared}), **cleaned({**own})},
    )


def _sound(element: Element) -> str:
    """The URL of the first enclosure that may be sound; "" for none."""
    atom_links = [link for link in element.findall(f"{ATOM}link") if link.get("rel") == "enclosure"]
    for found in (*element.findall("enclosure"), *atom_links):
        url, kind = found.get("url") or found.get("href") or "", found.get("type", "")
        if url and (not kind or kind.startswith(SOUND_TYPES)):
            return url
    return ""


def _text(element: Element, *paths: str) -> str:
    for path in paths:
        text = (element.findtext(path) or "").strip()
        if text:
            return text
    return ""


def _iso_date(text: str) -> str:
    """An RFC 822 date as an ISO one; an ISO one as it is; anything else empty."""
    if text[:4].isdecimal():
        return text
    try:
        return parsedate_to_datetime(text).astimezone(timezone.utc).isoformat()
    except (ValueError, OverflowError):
        return ""


def _seconds(text: str) -> float | None:
    """`1:02:03`, `62:03` or `3723`."""
    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        return None
    seconds = 0.0
    for number in numbers:
        seconds = 60 * seconds + number
    return seconds if 0 <= seconds < 10**7 else None


def unreadable_list(name: str) -> CrawlFailure:
    return CrawlFailure(
        f"got {quoted(name)} without anything to fetch in it, expected a CSV, TSV or JSON-lines table with a column "
        "`url` or `path`, an M3U list, a podcast feed, or a URL a line",
        code="bad_list",
    )
