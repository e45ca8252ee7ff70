"""What a crawl may take and how it behaves: every limit and manner, with its unit and default."""

from dataclasses import dataclass, field
from datetime import date

from audiorec import __version__
from audiorec.audio.decoder import DecodeLimits
from audiorec.crawl.addresses import MayReach, anywhere, is_public
from audiorec.crawl.item import clean

AGENT = "audiorec"  # the name that robots.txt knows us by


@dataclass(frozen=True)
class CrawlOptions:
    """The three `max_` of the whole crawl folder count what earlier runs left there: the same command ends the same."""

    max_clips: int | None = None
    max_hours: float | None = None
    max_bytes: int | None = None
    since: date | None = None  # nothing published before; what has no date is taken
    allow_private: bool = False
    obey_robots: bool = True
    contact: str = ""  # an address or page, for the user agent
    retry_failed: bool = False  # what failed too often gets its tries back
    coub_api: str = "https://coub.com/api/v2"

    n_parallel: int = 8  # clips under way
    n_per_host: int = 4  # requests under way, to each host
    requests_per_s: float = 4.0  # to each host; robots.txt may ask for fewer
    n_tries: int = 4  # of one request in a run
    n_runs: int = 3  # in which a clip may fail before it is given up
    backoff_s: float = 1.0  # before the second try, doubled for each further one, with jitter
    max_wait_s: float = 120.0  # the longest that a run waits because a server asks it to
    connect_s: float = 15.0
    stall_s: float = 30.0  # without a byte
    file_s: float = 900.0  # a whole request, its body included
    max_file_bytes: int = 512 * 2**20
    max_page_bytes: int = 32 * 2**20  # a feed, a list, a page of a timeline
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    @property
    def may_reach(self) -> MayReach:
        return anywhere if self.allow_private else is_public

    @property
    def user_agent(self) -> str:
        contact = f"; {clean(self.contact)}" if self.contact else ""
        return f"{AGENT}/{__version__} (collects sound for a similarity index{contact})"
