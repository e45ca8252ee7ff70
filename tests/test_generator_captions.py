"""Captions: templates without holes, columns that there are, artists that are none."""

import pytest

from audiorec.errors import BadSetting
from audiorec.metadata.placeholders import PLACEHOLDER_COLUMN
from audiorec.training.generator.captions import Template, captions

ALL = {"label": "dog", "artist": "Ann", "title": "Rex at dawn", "album": "Farm", "genre": "field recording"}


@pytest.mark.parametrize(
    ("template", "missing", "expected"),
    [
        ("a {label} clip by {artist}, {title}", "", "a dog clip by Ann, Rex at dawn"),
        ("a {label} clip by {artist}, {title}", "title", "a dog clip by Ann"),
        ("a {label} clip by {artist}, {title}", "artist", "a dog clip, Rex at dawn"),
        ("a {label} clip by {artist}, {title}", "artist title", "a dog clip"),
        ("a {label} clip by {artist}, {title}", "label", "a clip by Ann, Rex at dawn"),
        ("a {label} clip by {artist}, {title}", "label artist", "a clip, Rex at dawn"),
        ("a {label} clip by {artist}, {title}", "label artist title", ""),
        ("{artist}: {title}", "artist", "Rex at dawn"),
        ("{artist}: {title}", "title", "Ann"),
        ("{artist} - {title} ({album})", "album", "Ann - Rex at dawn"),
        ("{artist} - {title} ({album})", "artist title", "(Farm)"),
        ("{title} from the album {album}, {genre}", "genre", "Rex at dawn from the album Farm"),
        ('"{title}" by {artist}', "title", "by Ann"),
        ("{label} and {genre}", "genre", "dog"),
        ("{label} in {{braces}} of {album}", "album", "dog in {braces}"),
        ("a sound of my catalogue", "label artist title", "a sound of my catalogue"),
    ],
)
def test_empty_fields_leave_no_holes(template: str, missing: str, expected: str) -> None:
    row = {**ALL, **dict.fromkeys(missing.split(), "")}
    assert Template(template).caption(row) == expected


def test_what_a_cell_holds_is_said_as_it_is() -> None:
    row = {"label": "dog;wolf ; cub", "title": "{artist}\n 100 %s", "artist": "A {label}"}
    assert (
        Template("a {label}: {title} by {artist}").caption(row)
        == "a dog and wolf and cub: {artist} 100 %s by A {label}"
    )


def test_an_artist_that_was_made_up_is_none() -> None:
    row = {**ALL, "artist": "Jo Smith", PLACEHOLDER_COLUMN: "true"}
    assert Template("a {label} clip by {artist}").caption(row) == "a dog clip"


def test_a_caption_column_comes_before_the_default_and_after_what_is_said() -> None:
    rows = [{**ALL, "caption": "  two dogs\nbark "}, {**ALL, "caption": ""}, {"caption": ""}]
    columns = [*ALL, "caption"]
    assert captions(rows, columns, "") == ["two dogs bark", "a dog clip by Ann, Rex at dawn", ""]
    assert captions(rows, columns, "the {album}") == ["the Farm", "the Farm", ""]
    assert captions(rows[:1], columns, "{caption}, {genre}") == ["two dogs bark, field recording"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a {label", "expected words with columns in braces"),
        ("a label}", "expected words with columns in braces"),
        ("a {} clip", "a brace without a name"),
        ("a {label!r} clip", "with more than one"),
        ("a {label:>9} clip", "with more than one"),
        ("   ", "nothing"),
        ("a {mood} clip by {composer}", r"\{mood\}, \{composer\}, expected of the columns artist, label"),
        ("{artist.__class__}", r"\{artist.__class__\}, expected of the columns"),
    ],
)
def test_templates_that_cannot_be(template: str, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        captions([{"label": "dog"}], ["label", "artist"], template)
