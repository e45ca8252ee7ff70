"""Lists as text: tables, M3U, and plain URLs, told apart by what is in them."""

import csv
import io
import json
import re
from collections.abc import Iterator

from audiorec.crawl.failures import CrawlFailure
from audiorec.crawl.item import cleaned
from audiorec.crawl.sources.entries import Entry, entry_of_row, is_table_header, is_web_address

DELIMITERS = ",\t;"


def read_text_list(text: str, name: str) -> list[Entry]:
    """Its entries in order; none for a text that is no list. Raises CrawlFailure for one that is broken.

    name: what the list is called, because an M3U may have nothing in it that says so.
    """
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if first.startswith("#EXTM3U") or name.lower().endswith((".m3u", ".m3u8")):
        return list(_m3u(text))
    if first.startswith("{"):
        return list(_json_lines(text))
    for delimiter in DELIMITERS:
        if is_table_header(next(csv.reader([first], delimiter=delimiter), [])):
            return list(_table(text, delimiter))
    return list(_plain(text))


def _table(text: str, delimiter: str) -> Iterator[Entry]:
    try:
        rows = csv.DictReader(io.StringIO(text.lstrip("\ufeff\r\n")), delimiter=delimiter, restval="")
        for row in rows:
            if (entry := entry_of_row(dict(row))) is not None:
                yield entry
    except csv.Error as error:
        raise CrawlFailure(f"got a table that breaks after line {rows.line_num} ({error})", code="bad_list") from None


def _json_lines(text: str) -> Iterator[Entry]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise CrawlFailure(
                    f"got line {number} that is no JSON, expected an object a line", code="bad_list"
                ) from None
            if isinstance(row, dict) and (entry := entry_of_row(row)) is not None:
                yield entry


def _m3u(text: str) -> Iterator[Entry]:
    if "\n#EXT-X-" in text:
        raise CrawlFailure(
            "got the segments of one stream (HLS), expected a list of clips: try ytdlp:URL", code="stream"
        )
    expected_s, title = None, ""
    for line in map(str.strip, text.splitlines()):
        if found := re.match(r"#EXTINF:\s*(-?[\d.]+)[^,]*,(.*)", line):
            expected_s, title = _positive(found[1]), found[2].strip()
        elif line and not line.startswith("#"):
            artist, separator, name = title.partition(" - ")
            fields = cleaned({"title": name if separator else title, "artist": artist if separator else ""})
            yield Entry(line, expected_s=expected_s, fields=fields)
            expected_s, title = None, ""


def _plain(text: str) -> Iterator[Entry]:
    for line in map(str.strip, text.splitlines()):
        if is_web_address(line):
            yield Entry(line.split()[0], page=line.split()[0])


def _positive(text: str) -> float | None:
    try:
        return float(text) if float(text) > 0 else None
    except ValueError:
        return None
