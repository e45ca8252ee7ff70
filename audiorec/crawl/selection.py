"""What of a source's offers a run takes: nothing twice, nothing too old, no more than asked for."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import date

from audiorec.crawl.item import Item
from audiorec.crawl.journal import Journal
from audiorec.crawl.options import CrawlOptions
from audiorec.crawl.sources.base import Source
from audiorec.crawl.status import Status

N_OLD_IN_A_ROW = 50  # where the newest come first, so many older than `since` end the listing


class Selection:
    """Counts in the status what it passes over."""

    def __init__(self, source: Source, journal: Journal, options: CrawlOptions, status: Status) -> None:
        self._source = source
        self._journal = journal
        self._options = options
        self._status = status
        self._seen: set[str] = set()
        self._n_old_in_a_row = 0

    async def wanted(self) -> AsyncGenerator[Item, None]:
        """First what an earlier run did not finish, then what the source offers now."""
        for item in self._journal.unfinished(self._source.name):
            if self._is_wanted(item):
                yield item
        async with aclosing(self._source.items()) as offered:
            async for item in offered:
                if self._is_wanted(item):
                    yield item
                if self._source.newest_first and self._n_old_in_a_row >= N_OLD_IN_A_ROW:
                    return

    def _is_wanted(self, item: Item) -> bool:
        if item.digest in self._seen:
            return False
        self._seen.add(item.digest)
        is_old = _is_before(item.published, self._options.since)
        self._n_old_in_a_row = self._n_old_in_a_row + 1 if is_old else 0
        if self._journal.is_done(item.key):
            self._status.n_known += 1
        elif is_old or self._journal.n_failed(item.key) >= self._options.n_runs:
            self._status.n_passed_over += 1
        else:
            return True
        return False

    def enough(self) -> str:
        """Which limit the whole crawl folder has reached; empty for none."""
        totals, options = self._journal.totals, self._options
        if options.max_clips is not None and totals.n_clips >= options.max_clips:
            return "--max-clips"
        if options.max_hours is not None and totals.seconds >= 3600 * options.max_hours:
            return "--max-hours"
        if options.max_bytes is not None and totals.n_bytes >= options.max_bytes:
            return "--max-bytes"
        return ""

    def n_left(self) -> float:
        """How many more clips `max_clips` allows."""
        if self._options.max_clips is None:
            return float("inf")
        return self._options.max_clips - self._journal.totals.n_clips

    def n_expected(self) -> int | None:
        """How many things the run will have handled in the end; None where the source does not say."""
        known = [self._status.n_handled + self.n_left(), self._source.n_expected or float("inf")]
        return int(min(known)) if min(known) < float("inf") else None


def _is_before(published: str, since: date | None) -> bool:
    if since is None or not published:
        return False
    with suppress(ValueError):
        return date.fromisoformat(published[:10]) < since
    return False
