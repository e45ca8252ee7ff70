"""Names for artists that nobody knows: so that a page has something to show, and never taken for artists.

Platforms show an artist beside every clip. Where the files and tables name none, a name can be made up, the same for a
clip each time, and marked: a clip so marked is by nobody, for grouping, for evaluation and in captions.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from audiorec.errors import BadSetting

PLACEHOLDER_COLUMN = "artist_is_placeholder"
YES = "true"
_YES = frozenset({YES, "yes", "1"})  # as a person's own table may say it


def is_placeholder(row: Mapping[str, Any]) -> bool:
    """Whether the artist of a row of `metadata.tsv` is made up."""
    return says_so(row.get(PLACEHOLDER_COLUMN, ""))


def says_so(cell: object) -> bool:
    """Whether a cell of PLACEHOLDER_COLUMN says yes."""
    return str(cell).strip().lower() in _YES


def fill_artists(rows: Iterable[dict[str, str]]) -> int:
    """Names an artist where there is none, and marks the row. Returns how many. Raises BadSetting without Faker."""
    names = _Names()
    n_filled = 0
    for row in rows:
        if not row.get("artist", "").strip():
            row["artist"], row[PLACEHOLDER_COLUMN] = names.of(row["clip_id"]), YES
            n_filled += 1
    return n_filled


class _Names:
    def __init__(self) -> None:
        try:
            from faker import Faker
        except ImportError:
            raise BadSetting(
                "got --placeholder-artists without the library that makes up names, expected it: "
                "pip install 'audiorec[placeholders]'"
            ) from None
        self._faker = Faker("en_US")

    def of(self, clip_id: str) -> str:
        """The same for a clip in every catalogue, as long as Faker's lists stay the same."""
        self._faker.seed_instance(int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big"))
        return str(self._faker.name())
