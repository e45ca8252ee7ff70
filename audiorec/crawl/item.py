"""One thing that a source offers: what it is called, what is said of it, and where its sound may be."""

import hashlib
import math
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from audiorec.crawl.failures import CrawlFailure
from audiorec.quoting import quoted

MAX_TEXT_CHARACTERS = 1_000
MAX_URL_CHARACTERS = 8_000
UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's controls, directions, half characters, line ends
JOINERS = "\u200c\u200d"  # of emoji, and of Persian
_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")
_PASSWORD = re.compile(r"//[^/]*@")
MAX_ID_CHARACTERS = 200


@dataclass(frozen=True)
class Medium:
    """A place where the sound may be. `carrier`: who can bring it, a key of the crawl's carriers.

    only_after: a failure's code; the medium is for those alone whose medium before failed with it.
    """

    name: str
    url: str
    carrier: str = "http"
    only_after: str | None = None


@dataclass(frozen=True)
class Item:
    """key: the same for the same thing, in every run and from every source. media: best first; none: ask `prepare`.

    published: an ISO date, or empty. fields: own and core columns of the table, cleaned, without empty values.
    """

    key: str
    locator: str  # what the source needs to find it again
    url: str = ""  # the page that a person can open
    clip_id: str = ""  # "" where the source knows no good one
    published: str = ""
    expected_s: float | None = None  # its length, where the source says
    fields: dict[str, str] = field(default_factory=dict)
    media: tuple[Medium, ...] = ()

    @property
    def digest(self) -> str:
        """What its files are called: nothing in it was chosen by the other side."""
        return digest_of(self.key)

    @property
    def readable_id(self) -> str:
        """Its clip id: the source's where that is plain text and short, else from the digest."""
        is_plain = 0 < len(self.clip_id) <= MAX_ID_CHARACTERS and self.clip_id == clean(self.clip_id)
        return self.clip_id if is_plain else self.digest[:16]

    def to_dict(self) -> dict[str, Any]:
        """Without its media, whose URLs may not live as long as it does."""
        facts = {"key": self.key, "locator": self.locator, "url": self.url, "clip_id": self.clip_id}
        return {**facts, "published": self.published, "expected_s": self.expected_s, "fields": self.fields}


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:32]


def clean(value: object) -> str:
    """What the other side says, as text for a table: one line, valid Unicode, nothing that moves text, not too long."""
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    text = str(value)[: 4 * MAX_TEXT_CHARACTERS]
    text = "".join(" " if unicodedata.category(char) in UNPRINTABLE and char not in JOINERS else char for char in text)
    return " ".join(text.split())[:MAX_TEXT_CHARACTERS]


def cleaned(fields: dict[str, object]) -> dict[str, str]:
    """Without the empty ones."""
    return {name: text for name, value in fields.items() if (text := clean(value))}


def web_url(value: object) -> str:
    """The value if it is an http or https URL, else empty: a link of another kind is no link to show."""
    try:
        check_url(str(value))
    except CrawlFailure:
        return ""
    return str(value)


def normal_url(url: str) -> str:
    """As people and pages write URLs: blanks around and inside allowed, without the fragment."""
    return url.strip().replace(" ", "%20").partition("#")[0]


def check_url(url: str) -> None:
    """Raises CrawlFailure for what is no http or https URL, or has a password in it."""
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0 and len(url) <= MAX_URL_CHARACTERS
    except ValueError:  # a port that is no number, a bracket that does not close
        parts, is_whole = urlsplit("http:"), False
    if parts.scheme not in {"http", "https"}:
        code, expected = "bad_scheme", "an http or https URL"
    elif not is_whole or _NOT_IN_URLS.search(url):
        code, expected = "bad_url", "a whole URL"
    elif "@" in parts.netloc:
        code, expected = "bad_url", "a URL without a name or password in it"
    else:
        return
    raise CrawlFailure(f"got {quoted(_PASSWORD.sub('//', url))}, expected {expected}", code=code, free=True)
