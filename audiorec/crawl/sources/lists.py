"""Lists of clips, here or on the web: tables, M3U, podcast feeds, plain URLs."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.http import Fetcher
from audiorec.crawl.item import Item, Medium, normal_url, web_url
from audiorec.crawl.pages import Page
from audiorec.crawl.sniff import HEAD_BYTES, is_feed, is_web_page
from audiorec.crawl.sources.coub import Coub, is_coub_page, permalink_of
from audiorec.crawl.sources.entries import Entry, is_web_address
from audiorec.crawl.sources.feeds import read_feed, unreadable_list
from audiorec.crawl.sources.texts import read_text_list
from audiorec.errors import BadCatalogue

MAX_FEED_PAGES = 1_000


class ListSource:
    """where: the file, or the URL. Only a file may name other files: a list from the web speaks of the web."""

    newest_first = False

    def __init__(self, where: Path | str, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._where = where
        self._coub = Coub("coub:hot", fetcher)
        self.name = str(where.resolve()) if isinstance(where, Path) else where
        self.n_expected: int | None = None

    async def items(self) -> AsyncGenerator[Item, None]:
        n_items, following, seen = 0, self.name, set[str]()
        while following and following not in seen and len(seen) < MAX_FEED_PAGES:
            seen.add(following)
            page = self._read() if isinstance(self._where, Path) else await self._fetcher.page(following)
            entries, following = read_list(page)
            following = following if isinstance(self._where, str) else ""
            if not entries and not n_items:
                raise unreadable_list(page.url.rpartition("/")[2] or page.url)
            n_items += len(entries)
            self.n_expected = None if following else n_items
            for entry in entries:
                yield self._item(entry, page.url)

    async def prepare(self, item: Item) -> Item:
        if item.key.startswith("coub:"):
            coub = await self._coub.prepare(item)
            return replace(coub, fields={**coub.fields, **item.fields})  # the list's word comes first
        if isinstance(self._where, str) or is_web_address(item.locator):
            return with_web_media(item)
        return replace(item, media=(Medium("file", item.locator, "store"),))

    def recorded(self, item: Item) -> None:
        pass

    def _read(self) -> Page:
        assert isinstance(self._where, Path)
        try:
            return Page(url=self._where.name, content_type="", body=self._where.read_bytes())
        except OSError as error:
            raise BadCatalogue(f"got a list that cannot be read ({error.strerror})") from None

    def _item(self, entry: Entry, base_url: str) -> Item:
        """What an entry means, from a list at base_url. What it may not mean is found out when it is fetched."""
        is_local = isinstance(self._where, Path)
        if is_local and "://" not in entry.sound:
            locator = str((Path(self.name).parent / entry.sound).absolute())
        else:
            locator = normal_url(entry.sound if is_local else urljoin(base_url, entry.sound))
        url = web_url(normal_url(entry.page)) or web_url(locator)
        item = Item(
            key=entry.key or f"url:{locator}",
            locator=locator,
            url=url,
            clip_id=entry.clip_id,
            published=entry.published,
            expected_s=entry.expected_s,
            fields={"source": _hostname(locator) or Path(self.name).name, **entry.fields},
        )
        if is_coub_page(locator):
            permalink = permalink_of(locator)
            item = replace(
                item, key=f"coub:{permalink}", locator=permalink, clip_id=entry.clip_id or f"coub:{permalink}"
            )
        return item


class SingleUrl:
    """One sound on the web, by its URL."""

    newest_first = False
    n_expected: int | None = 1

    def __init__(self, url: str) -> None:
        self.name = normal_url(url)

    async def items(self) -> AsyncGenerator[Item, None]:
        fields = {"source": _hostname(self.name)}
        yield with_web_media(Item(key=f"url:{self.name}", locator=self.name, url=self.name, fields=fields))

    async def prepare(self, item: Item) -> Item:
        return with_web_media(item)

    def recorded(self, item: Item) -> None:
        pass


def with_web_media(item: Item) -> Item:
    """Its locator is a sound; or, when it turns out to be a page, what yt-dlp finds there."""
    page = Medium("page", item.locator, "ytdlp", only_after="web_page")
    return replace(item, media=(Medium("file", item.locator), page))


def read_list(page: Page) -> tuple[list[Entry], str]:
    """(entries, the URL of the next page or ""). Raises CrawlFailure for what is a list, and broken."""
    if is_feed(page.body[:HEAD_BYTES]):
        return read_feed(page.body, page.url if is_web_address(page.url) else "")
    if is_web_page(page.body[:HEAD_BYTES]):
        raise CrawlFailure("got a web page, expected a list: try ytdlp:URL", code="web_page")
    return read_text_list(page.text, urlsplit(page.url).path), ""


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
