"""What a list says of one thing, whatever kind of list it is, and how a column of it is understood."""

import re
from dataclasses import dataclass, field

from audiorec.crawl.item import clean, cleaned

SOUND_COLUMNS = ("media_url", "audio_url", "audio", "file_name", "filename", "fname", "slice_file_name", "file", "path")
PAGE_COLUMNS = ("url", "page_url", "link")
MAX_NAME_CHARACTERS = 100
ID_COLUMNS = ("clip_id",)
DATE_COLUMNS = ("published", "date")
LABEL_COLUMNS = ("label", "labels", "category", "class", "primary_label", "genre")
ARTIST_COLUMNS = ("artist", "author")


@dataclass(frozen=True)
class Entry:
    """sound: a URL, or a path relative to the list. page: what a person can open; may be empty, as all others may."""

    sound: str
    page: str = ""
    key: str = ""  # what names it better than its URL does
    clip_id: str = ""
    published: str = ""
    expected_s: float | None = None
    fields: dict[str, str] = field(default_factory=dict)


def entry_of_row(row: dict[str, object]) -> Entry | None:
    """A row of a table as an entry; None where it names no sound. Its other columns become fields, as they are called.

    One column names the sound; where only a page's URL is given, the sound is looked for there.
    """
    cells = {clean(name)[:MAX_NAME_CHARACTERS]: _flat(value) for name, value in row.items() if name and clean(name)}
    text = {name: str(value).strip() for name, value in cells.items() if isinstance(value, str | int | float)}
    sound_column, page_column = _first(text, SOUND_COLUMNS), _first(text, PAGE_COLUMNS)
    sound, page = text.get(sound_column, ""), text.get(page_column, "")
    if not (sound or page):
        return None
    fields = cleaned({name: value for name, value in cells.items() if name not in {sound_column, page_column}})
    for name, columns in (("label", LABEL_COLUMNS), ("artist", ARTIST_COLUMNS)):
        if name not in fields and (column := _first(fields, columns)):
            fields[name] = fields[column]
    clip_id = fields.pop(_first(fields, ID_COLUMNS), "")
    return Entry(
        sound or page, page, clip_id=clip_id, published=fields.get(_first(fields, DATE_COLUMNS), ""), fields=fields
    )


def is_table_header(columns: list[str]) -> bool:
    """Whether a first line names a column that says where the sounds are."""
    return bool({column.strip() for column in columns} & {*SOUND_COLUMNS, *PAGE_COLUMNS})


def is_web_address(text: str) -> bool:
    return re.match(r"https?://", text, re.IGNORECASE) is not None


def _flat(value: object) -> object:
    """Several labels in one cell are joined, as everywhere here, by a semicolon."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ";".join(value)
    return value


def _first(cells: dict[str, str], names: tuple[str, ...]) -> str:
    """The first of these columns that has something in it; "" for none."""
    return next((name for name in names if cells.get(name)), "")
