"""What every source can do."""

from collections.abc import AsyncGenerator
from typing import Protocol

from audiorec.crawl.item import Item


class Source(Protocol):
    """name: by which the journal remembers what came from it. n_expected: how many it offers, once it knows."""

    name: str
    newest_first: bool
    n_expected: int | None

    def items(self) -> AsyncGenerator[Item, None]:
        """What it offers, page by page as that is asked for. Raises CrawlFailure when the listing breaks off."""
        ...

    async def prepare(self, item: Item) -> Item:
        """The item with its media as they are now. Raises CrawlFailure when it has gone."""
        ...

    def recorded(self, item: Item) -> None:
        """Called once an item is a clip, and that was written down."""
        ...
