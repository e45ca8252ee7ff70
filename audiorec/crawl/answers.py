"""What servers and networks answer, as what it means: the thing itself, or the reason why not."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.hosts import Host
from audiorec.quoting import quoted

STATUS_CODES = {401: "forbidden", 403: "forbidden", 404: "not_found", 410: "not_found", 451: "forbidden"}
TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}


def continues(response: aiohttp.ClientResponse, n_bytes: int) -> bool:
    """Whether the response holds what comes after the first n_bytes."""
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {n_bytes}-")
    return response.status == 206 and begins and not response.headers.get("Content-Encoding")


def is_at_its_end(response: aiohttp.ClientResponse, n_bytes: int) -> bool:
    """Whether there is nothing after the first n_bytes: they were fetched, and then something ended the run."""
    return response.status == 416 and response.headers.get("Content-Range") == f"bytes */{n_bytes}"


def validator(response: aiohttp.ClientResponse) -> str | None:
    """By what a range of the same file can be asked for; None where that is not safe."""
    if response.headers.get("Content-Encoding"):
        return None
    etag = plain(response, "ETag")
    return etag if etag and not etag.startswith("W/") else plain(response, "Last-Modified") or None


def plain(response: aiohttp.ClientResponse, name: str) -> str:
    """A header that will be sent back; empty when it is missing or odd."""
    value = response.headers.get(name, "")
    return value if value.isascii() and value.isprintable() and len(value) < 1000 else ""


def check_status(response: aiohttp.ClientResponse, url: str) -> None:
    """Raises CrawlFailure for every answer that is not the thing itself."""
    status = response.status
    if status in {200, 206}:
        return
    code = STATUS_CODES.get(status) or ("server_error" if status >= 500 else "http_error")
    retry_after = response.headers.get("Retry-After")
    raise CrawlFailure(
        f"got HTTP {status} for {quoted(url)}, expected 200",
        code="rate_limited" if status == 429 else code,
        transient=status in TRANSIENT_STATUSES,
        retry_after_s=retry_after_s(retry_after) if retry_after and status in {429, 503} else None,
    )


def retry_after_s(value: str) -> float:
    """Seconds, or a date; what is neither is half a minute."""
    if value.strip().isdecimal():
        return float(min(int(value), 10**6))
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 30.0
    now = datetime.now(timezone.utc)
    return max(0.0, (at - now).total_seconds()) if at.tzinfo else 30.0


def too_large(max_bytes: int) -> CrawlFailure:
    return CrawlFailure(
        f"got a body of more than {max_bytes:,} bytes, which is the limit: left alone", code="too_large"
    )


@contextmanager
def translated(url: str, host: Host) -> Iterator[None]:
    """Turns what the network can do into CrawlFailure."""

    def failure(what: str, code: str, **facts: Any) -> CrawlFailure:
        return CrawlFailure(f"got {what}: {quoted(url)}", code=code, **facts)

    try:
        yield
    except aiohttp.ClientPayloadError:
        raise failure("a body that breaks off", "cut_off", transient=True) from None
    except aiohttp.ClientConnectorCertificateError:
        raise failure("a certificate that is not valid", "bad_certificate") from None
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        host.reached(success=False)
        raise failure(f"no connection ({type(error).__name__})", "unreachable", transient=True) from None
    except (asyncio.TimeoutError, aiohttp.ServerTimeoutError):
        host.reached(success=False)
        raise failure("nothing more in the time allowed", "timeout", transient=True) from None
    except (aiohttp.InvalidURL, UnicodeError):
        raise failure("a URL that cannot be asked for", "bad_url", free=True) from None
    except (aiohttp.ClientError, ssl.SSLError, ConnectionError) as error:
        raise failure(f"a broken answer ({type(error).__name__})", "bad_response", transient=True) from None
