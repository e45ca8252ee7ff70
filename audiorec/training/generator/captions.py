"""What is said of a clip as a sentence that a generator can be asked for."""

import re
from collections.abc import Collection, Mapping
from string import Formatter

from audiorec.errors import BadSetting
from audiorec.metadata import split_labels
from audiorec.metadata.placeholders import is_placeholder

DEFAULT_TEMPLATE = "a {label} clip by {artist}, {title}"
CAPTION_COLUMN = "caption"

# what joins a field to the words before it goes when the field is empty: " by {artist}", ", {title}", " ({year})"
_WORDS = r"(?:and|at|by|called|feat|featuring|for|from|in|of|on|titled|with)"
_JOINTS = rf"(?:[\s,;:/|–—-]*\b{_WORDS}\b\.?)?[\s,;:/|–—(\[\"'-]*"


class Template:
    """Words with columns in braces, as "a {label} clip by {artist}"."""

    def __init__(self, text: str) -> None:
        """Raises BadSetting for braces that do not match, or hold no name."""
        self.text = text
        try:
            parts = list(Formatter().parse(text))
        except ValueError as error:
            raise _bad_template(text, str(error)) from None
        fields = [part[1:] for part in parts if part[1] is not None]
        if any(not name or spec or conversion for name, spec, conversion in fields):
            raise _bad_template(text, "a brace without a name, or with more than one")
        if not text.strip():
            raise _bad_template(text, "nothing")
        self.columns = tuple(dict.fromkeys(str(name) for name, _, _ in fields))

    def check(self, columns: Collection[str]) -> None:
        """Raises BadSetting for a column that there is not."""
        unknown = [name for name in self.columns if name not in columns]
        if unknown:
            raise BadSetting(
                f"got --caption with {', '.join(f'{{{name}}}' for name in unknown)}, "
                f"expected of the columns {', '.join(sorted(columns))}"
            )

    def caption(self, row: Mapping[str, str]) -> str:
        """The sentence about a clip. Empty fields leave no holes; "" when all of them are empty."""
        values = {name: _spoken(row, name) for name in self.columns}
        if values and not any(values.values()):
            return ""
        text = self.text
        for name, value in values.items():
            if not value:
                text = re.sub(_JOINTS + re.escape(f"{{{name}}}") + r"[)\]\"']?", "", text)
        return _tidy(text.format_map(values))


def captions(rows: Collection[Mapping[str, str]], columns: Collection[str], said: str) -> list[str]:
    """A caption a clip, "" where nothing is known. said: a template; "" for the column `caption` where a clip has one,
    else DEFAULT_TEMPLATE. Raises BadSetting.
    """
    template = Template(said or DEFAULT_TEMPLATE)
    if said:
        template.check(columns)
        return [template.caption(row) for row in rows]
    return [_tidy(row.get(CAPTION_COLUMN, "")) or template.caption(row) for row in rows]


def _spoken(row: Mapping[str, str], name: str) -> str:
    """A cell as it would be said: labels joined by words, an artist only if there is one."""
    cell = row.get(name, "")
    if name == "artist" and is_placeholder(row):
        return ""
    if name == "label":
        return " and ".join(label.strip() for label in split_labels(cell))
    return _tidy(cell)


def _tidy(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip(" ,;:/|–—-")


def _bad_template(text: str, why: str) -> BadSetting:
    return BadSetting(
        f"got --caption {text[:80]!r} ({why}), expected words with columns in braces, as {DEFAULT_TEMPLATE!r}"
    )
