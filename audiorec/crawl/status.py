"""Where a crawl is, and what it ended with."""

import time
from dataclasses import dataclass, field

from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.item import Item
from audiorec.crawl.journal import Totals


@dataclass
class Status:
    """n_: things offered, by what became of them in this run. n_bytes: received. n_expected: None where unknown."""

    n_new: int = 0
    n_known: int = 0  # had in an earlier run
    n_passed_over: int = 0  # too old, or failed too often
    n_bytes: int = 0
    n_expected: int | None = None
    failures: dict[str, tuple[int, str]] = field(default_factory=dict)  # code -> how often, and the first of them
    began: float = field(default_factory=time.monotonic)

    def add_failure(self, code: str, what: str) -> None:
        n, first = self.failures.get(code, (0, what))
        self.failures[code] = n + 1, first

    @property
    def n_failed(self) -> int:
        return sum(n for n, _ in self.failures.values())

    @property
    def n_handled(self) -> int:
        return self.n_new + self.n_failed + self.n_known + self.n_passed_over

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began


@dataclass(frozen=True)
class Crawled:
    """The end of a run. totals: of the whole folder. stopped: the limit that ended it before the source did, or empty.

    listing_failure: why the source could not be listed to its end.
    """

    status: Status
    totals: Totals
    stopped: str = ""
    listing_failure: CrawlFailure | None = None

    @property
    def is_complete(self) -> bool:
        """Whether everything that was wanted was had."""
        return not self.status.failures and self.listing_failure is None


@dataclass(frozen=True)
class Plan:
    """What a run would fetch: how many, the first of them, and how long they are where the source says."""

    status: Status
    first: list[Item]
    n_wanted: int
    expected_s: float
