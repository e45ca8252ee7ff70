"""Coub, through its public JSON API (v2): timelines, channels, tags, communities, searches and single coubs.

The sound of a coub is a file of its own, usually longer than the video: the muxed MP4 cuts it off where the video ends.
The `has_sound` of the API speaks of the video and is false for most coubs that have sound, so it is not looked at.
"""

import json
import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.http import Fetcher
from audiorec.crawl.item import Item, Medium, clean, cleaned, web_url
from audiorec.errors import BadSetting
from audiorec.quoting import quoted

PER_PAGE = 25  # the most that the API gives
HOSTS = {"coub.com", "www.coub.com"}
PERIODS = ("daily", "weekly", "monthly", "quarter", "half", "rising", "fresh")
PERMALINK = re.compile(r"[0-9A-Za-z]{1,32}")
FORMS = (
    "coub:hot[/PERIOD], coub:explore[/SECTION], coub:tag/NAME, coub:channel/NAME, coub:community/NAME[/PERIOD], "
    "coub:search/TEXT, coub:view/PERMALINK, coub:timeline/API_PATH"
)
JsonObject = dict[str, Any]


class Coub:
    """spec: what stands after `coub:`, or a page of coub.com. Raises BadSetting for what is neither."""

    def __init__(self, spec: str, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._api = fetcher.options.coub_api.rstrip("/")
        place = spec.removeprefix("coub:") if spec.startswith("coub:") else _place_of_page(spec)
        self.name = f"coub:{place}"
        self._permalink = place.removeprefix("view/") if place.startswith("view/") else ""
        if self._permalink and not _is_permalink(self._permalink):
            raise BadSetting(f"got the permalink {quoted(self._permalink)}, expected letters and digits")
        self._timeline = "" if self._permalink else _api_path(place)
        self.newest_first = "order_by=newest" in self._timeline.split("?")[-1].split("&")
        self.n_expected: int | None = None

    async def items(self) -> AsyncGenerator[Item, None]:
        if self._permalink:
            self.n_expected = 1
            yield self._unprepared(self._permalink)
            return
        path, _, query = self._timeline.partition("?")
        page, n_pages = 1, 1
        while page <= n_pages:
            asked = urlencode({**dict(_pairs(query)), "page": page, "per_page": PER_PAGE})
            answer = await self._json(f"{self._api}/{path}?{asked}")
            coubs = [coub for coub in _list(answer.get("coubs")) if isinstance(coub, dict)]
            if not coubs or answer.get("page", page) != page:  # beyond its last page the API goes back to another
                return
            n_pages = answer["total_pages"] if isinstance(answer.get("total_pages"), int) else page
            self.n_expected = n_pages * PER_PAGE if page < n_pages else (page - 1) * PER_PAGE + len(coubs)
            for coub in coubs:
                if (item := self._item(coub)) is not None:
                    yield item
            page += 1

    async def prepare(self, item: Item) -> Item:
        """Asks the API anew: the URLs of the files do not live for ever."""
        coub = await self._json(f"{self._api}/coubs/{item.locator}")
        found = self._item({**coub, "recoub_to": None})
        if found is None:
            raise CrawlFailure(f"got an answer without a coub for {quoted(item.locator)}", code="bad_response")
        return replace(found, key=item.key, fields={**item.fields, **found.fields})

    def recorded(self, item: Item) -> None:
        pass

    async def _json(self, url: str) -> JsonObject:
        page = await self._fetcher.page(url, accept="application/json")
        try:
            answer = json.loads(page.body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise CrawlFailure(f"got no JSON object for {quoted(url)}, expected one", code="bad_response")
        if answer.get("error"):
            raise CrawlFailure(f"got the error {quoted(clean(answer['error']))} for {quoted(url)}", code="not_found")
        return answer

    def _item(self, coub: JsonObject) -> Item | None:
        original = coub.get("recoub_to")
        if isinstance(original, dict) and _is_permalink(original.get("permalink")):  # somebody showed another's coub
            return self._unprepared(original["permalink"])
        permalink = coub.get("permalink")
        if not _is_permalink(permalink):
            return None
        item = self._unprepared(str(permalink))
        published = clean(coub.get("published_at") or coub.get("created_at"))
        return replace(item, published=published, fields=_fields(coub), media=tuple(_media(coub.get("file_versions"))))

    def _unprepared(self, permalink: str) -> Item:
        site = re.sub(r"/api/v2$", "", self._api)
        key = f"coub:{permalink}"
        return Item(key=key, locator=permalink, url=f"{site}/view/{permalink}", clip_id=key)


def is_coub_page(url: str) -> bool:
    """Whether a URL is the page of one coub."""
    try:
        return urlsplit(url).hostname in HOSTS and _place_of_page(url).startswith("view/")
    except (ValueError, BadSetting):
        return False


def permalink_of(url: str) -> str:
    """Of the page of one coub."""
    return _place_of_page(url).removeprefix("view/")


def _place_of_page(url: str) -> str:
    """A page of coub.com as the part after `coub:`."""
    parts = urlsplit(url)
    names = [unquote(name) for name in parts.path.split("/") if name]
    query = parse_qs(parts.query)
    match names:
        case ["view" | "embed" | "coubs", permalink, *_]:
            return f"view/{permalink}"
        case ["tags" | "tag", name, *_]:
            return f"tag/{name}"
        case ["community", name, *period]:
            return "/".join(["community", name, *period[:1]])
        case ["search", *_] if query.get("q"):
            return f"search/{query['q'][0]}"
        case [] | ["hot"]:
            return "hot"
        case ["hot", period]:
            return f"hot/{period}"
        case ["explore" as place, *section]:
            return "/".join([place, *section[:1]])
        case ["api", "v2", "coubs", permalink]:
            return f"view/{permalink}"
        case ["api", "v2", *path]:
            return f"{'/'.join(path)}?{parts.query}" if parts.query else "/".join(path)
        case [("rising" | "fresh") as period]:
            return f"hot/{period}"
        case [channel]:
            return f"channel/{channel}"
    raise BadSetting(f"got the page {quoted(url)}, expected a timeline or a coub: one of {FORMS}")


def _api_path(place: str) -> str:
    """Where the API has a place. Raises BadSetting for one that it has not."""
    where, _, query = place.partition("?")
    kind, _, name = where.strip("/").partition("/")
    name, _, period = name.partition("/") if kind == "community" else (name, "", "")
    period = period or (name if kind == "hot" else "")
    if period and period not in PERIODS:
        raise BadSetting(f"got the period {quoted(period)}, expected one of {', '.join(PERIODS)}")
    paths = {
        "hot": f"timeline/subscriptions/{period or 'monthly'}",
        "explore": f"timeline/explore/{quote(name, safe='')}".rstrip("/"),
        "timeline": f"timeline/{quote(name)}",
        "tag": name and f"timeline/tag/{quote(name, safe='')}",
        "channel": name and f"timeline/channel/{quote(name, safe='')}",
        "community": name and f"timeline/community/{quote(name, safe='')}/{period or 'monthly'}",
        "search": name and "search/coubs",
    }
    if not paths.get(kind):
        raise BadSetting(f"got 'coub:{place}', expected one of {FORMS}")
    asked = [("q", name)] if kind == "search" and "q=" not in query else []
    asked += [("order_by", "newest")] if kind == "channel" and "order_by" not in query else []
    return f"{paths[kind]}?{urlencode([*asked, *_pairs(query)])}"


def _pairs(query: str) -> list[tuple[str, str]]:
    return [(name, value) for name, values in parse_qs(query).items() for value in values]


def _media(versions: Any) -> Iterator[Medium]:
    """The separate sound in falling quality, then the muxed file. The videos of `html5` are mute."""
    audio = _dict(_dict(_dict(versions).get("html5")).get("audio"))
    mobile = _dict(_dict(versions).get("mobile"))
    places = [(f"html5.audio.{quality}", _dict(audio.get(quality)).get("url")) for quality in ("high", "med", "low")]
    places += [(f"mobile.audio.{n}", url) for n, url in enumerate(_list(mobile.get("audio")))]
    places.append(("mobile.audio_url", mobile.get("audio_url")))
    places.append(("share.default", _dict(_dict(versions).get("share")).get("default")))
    places.append(("iphone", _dict(_dict(versions).get("iphone")).get("url")))
    known: set[str] = set()
    for name, value in places:
        url = web_url(value)
        if url and url not in known:  # the qualities of one coub may be one file
            known.add(url)
            yield Medium(name, url)


def _fields(coub: JsonObject) -> dict[str, str]:
    channel, music = _dict(coub.get("channel")), _music(coub)
    communities = _titles(coub.get("categories"), "permalink") or _titles(coub.get("communities"), "permalink")
    return cleaned(
        {
            "title": coub.get("title"),
            "artist": channel.get("title"),
            "label": ";".join(communities),
            "source": "coub",
            "coub_id": coub.get("id"),
            "permalink": coub.get("permalink"),
            "channel": channel.get("permalink"),
            "tags": ";".join(_titles(coub.get("tags"), "title")),
            "categories": ";".join(_titles(coub.get("categories"), "title")),
            "views": coub.get("views_count"),
            "likes": coub.get("likes_count"),
            "age_restricted": bool(coub.get("age_restricted") or coub.get("age_restricted_by_admin")),
            **music,
            "video_s": coub.get("duration"),
            "created": coub.get("created_at"),
        }
    )


def _music(coub: JsonObject) -> dict[str, object]:
    """Who made the music, where the coub or its audio track says."""
    track, music = _dict(_dict(coub.get("media_blocks")).get("audio_track")), _dict(coub.get("music"))
    meta = _dict(track.get("meta"))
    return {
        "music_artist": track.get("track_artist") or meta.get("artist") or music.get("artist_title"),
        "music_title": track.get("track_name") or meta.get("title") or music.get("title") or track.get("title"),
        "music_album": track.get("track_album") or meta.get("album") or music.get("album_name"),
        "music_url": web_url(track.get("url") or track.get("itunes_url")),
    }


def _titles(values: Any, name: str) -> list[str]:
    titles = [clean(_dict(value).get(name)).replace(";", ",") for value in _list(values)]
    return [title for title in titles if title]


def _is_permalink(value: Any) -> bool:
    return isinstance(value, str) and PERMALINK.fullmatch(value) is not None


def _dict(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
