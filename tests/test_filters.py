"""Filters: each form against a catalogue small enough to answer by eye, then all of them against plain Python."""

import math
import operator
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiorec.errors import BadQuery
from audiorec.metadata import Metadata, split_labels, write_metadata
from audiorec.metadata.filters import MAX_TEXT_CHARS, MAX_VALUES, Condition, Filter, evaluate, parse_filter

ROWS: list[dict[str, Any]] = [
    {"clip_id": "a", "artist": "X", "label": "dog", "duration_s": 0.5, "year": 1990, "mood": "calm", "title": "One"},
    {"clip_id": "b/b", "artist": "Y", "label": "dog;cat", "duration_s": 1, "year": None, "mood": "", "title": "Two"},
    {"clip_id": "c 🎧", "artist": "", "label": "hotdog", "duration_s": 9.5, "year": 2001, "mood": "wild", "title": ""},
    {"clip_id": "d\t", "artist": "Y", "label": "", "duration_s": None, "year": -3, "mood": "calm", "title": "é\n"},
    {
        "clip_id": "e",
        "artist": "Ž",
        "label": "cat;dogs",
        "duration_s": 10,
        "year": 2**60,
        "mood": "wild",
        "title": "One",
    },
]
OWN_COLUMNS = ("year", "mood")
IDS = "abcde"


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Metadata:
    directory = tmp_path_factory.mktemp("catalogue")
    write_metadata(directory, ROWS, OWN_COLUMNS)
    return Metadata.open(directory)


def passing(filter_json: object, metadata: Metadata) -> str:
    """The first letters of the ids that pass."""
    mask = evaluate(parse_filter(filter_json), metadata)
    assert mask.shape == (len(metadata),)
    assert mask.dtype == np.bool_
    return "".join(IDS[row] for row in np.flatnonzero(mask))


class TestForms:
    @pytest.mark.parametrize(
        ("filter_json", "expected"),
        [
            ({}, "abcde"),
            ({"artist": "Y"}, "bd"),
            ({"artist": "y"}, ""),
            ({"artist": ""}, "c"),
            ({"artist": "Ž"}, "e"),
            ({"artist": ["X", "Ž", "nobody"]}, "ae"),
            ({"artist": ("X", "Ž")}, "ae"),
            ({"artist": ["Y", "Y"]}, "bd"),
            ({"artist": {"not": "Y"}}, "ace"),
            ({"artist": {"not": ["X", "Y"]}}, "ce"),
            ({"artist": {"not": "nobody"}}, "abcde"),
            ({"artist": [f"nobody {i}" for i in range(50)] + ["X"]}, "a"),
            ({"artist": {"not": ["X", *map(str, range(50))]}}, "bcde"),
            ({"label": "dog"}, "ab"),
            ({"label": "cat"}, "be"),
            ({"label": "og"}, ""),
            ({"label": "do"}, ""),
            ({"label": "dogs"}, "e"),
            ({"label": "hotdog"}, "c"),
            ({"label": ["dog", "dogs"]}, "abe"),
            ({"label": {"not": "dog"}}, "cde"),
            ({"label": {"not": ["dog", "cat"]}}, "cd"),
            ({"label": ""}, "d"),
            ({"label": {"not": ""}}, "abce"),
            ({"label": "\x00"}, ""),  # the file pads its buffers with these
            ({"duration_s": 1}, "b"),
            ({"duration_s": 1.0}, "b"),
            ({"duration_s": [0.5, 10]}, "ae"),
            ({"duration_s": {"gte": 1, "lt": 10}}, "bc"),
            ({"duration_s": {"gt": 1, "lte": 10}}, "ce"),
            ({"duration_s": {"gt": 10**30}}, ""),
            ({"duration_s": {"lt": 10**30}}, "abce"),
            ({"duration_s": {"gte": 5, "lt": 1}}, ""),
            ({"duration_s": {"not": 1}}, "acde"),
            ({"duration_s": {"not": [0.5, 1], "lt": 10}}, "c"),
            ({"year": 1990}, "a"),
            ({"year": 1990.0}, "a"),
            ({"year": 1990.5}, ""),
            ({"year": 0}, ""),
            ({"year": [1990, 2001.0, 2.5, 10**30]}, "ac"),
            ({"year": 2**60}, "e"),
            ({"year": 2**60 + 1}, ""),
            ({"year": {"not": [1990, 10**30]}}, "bcde"),
            ({"year": {"lt": 1990.5}}, "ad"),
            ({"year": {"lte": -3}}, "d"),
            ({"year": {"gt": -(10**30)}}, "acde"),
            ({"mood": {"not": ["calm"]}}, "bce"),
            ({"clip_id": "b/b"}, "b"),
            ({"clip_id": ["c 🎧", "d\t", "nothing"]}, "cd"),
            ({"clip_id": {"not": "a"}}, "bcde"),
            ({"title": "One"}, "ae"),
            ({"title": ["é\n", ""]}, "cd"),
            ({"title": {"not": "One"}}, "bcd"),
            ({"url": ""}, "abcde"),
            ({"artist": "Y", "label": {"not": "cat"}}, "d"),
            ({"label": "dog", "artist": {"not": ["X"]}, "mood": ["calm", ""], "duration_s": {"gte": 1, "lt": 10}}, "b"),
        ],
    )
    def test_passes(self, metadata: Metadata, filter_json: dict[str, Any], expected: str) -> None:
        assert passing(filter_json, metadata) == expected

    def test_parsed(self) -> None:
        assert parse_filter({"label": "dog", "year": {"not": [1], "gte": 0}}) == Filter(
            (
                Condition("label", "is", ("dog",)),
                Condition("year", "not", (1,)),
                Condition("year", "gte", (0,)),
            )
        )


class TestBad:
    @pytest.mark.parametrize(
        ("filter_json", "message"),
        [
            (None, "got null as filter, expected an object"),
            ([], "got a list as filter"),
            ("label=dog", "got the text 'label=dog' as filter"),
            (1, "got the number 1 as filter"),
            (True, "got true as filter"),
            ({1: "x"}, "got the number 1 as a column"),
            ({"label": None}, "got null for 'label', expected text, a number, or a list"),
            ({"year": True}, "got true for 'year', expected text, a number"),
            ({"year": [1, False]}, "got false for 'year'"),
            ({"label": ["dog", ["cat"]]}, "got a list for 'label'"),
            ({"label": [{"not": "dog"}]}, "got an object for 'label'"),
            ({"label": {"not": {"not": "dog"}}}, "got an object for 'label'"),
            ({"label": {"not": None}}, "got null for 'label'"),
            ({"label": []}, "got an empty list for 'label'"),
            ({"label": {"not": []}}, "got an empty list for 'label'"),
            ({"label": {}}, "got an empty object for 'label', expected one of not, gt, gte, lt, lte"),
            ({"year": {"min": 1}}, "got the operator 'min' for 'year', expected one of not, gt, gte, lt, lte"),
            ({"year": {1: 1}}, "got the operator '1' for 'year'"),
            ({"year": {"is": 1}}, "got the operator 'is'"),
            ({"year": {"gt": [1]}}, "got a list for gt of 'year', expected a number"),
            ({"year": {"gt": "1"}}, "got the text '1' for gt of 'year', expected a number"),
            ({"year": {"gt": None}}, "got null for gt of 'year'"),
            ({"year": {"gt": True}}, "got true for gt of 'year'"),
            ({"year": {"gt": math.nan}}, "got the number nan for 'year', expected a finite number"),
            ({"year": {"gt": math.inf}}, "got the number inf for 'year'"),
            ({"year": [1, -math.inf]}, "got the number -inf for 'year'"),
            ({"year": {"lt": 10**5000}}, "got a number of too many digits for 'year', expected a finite number"),
            ({"year": b"x"}, "got something that is not JSON for 'year'"),
            ({"label": "\ud800"}, r"got the text '\\ud800' for 'label', which is not Unicode"),
            ({"label": "x" * (MAX_TEXT_CHARS + 1)}, "got 4097 characters for 'label', expected at most 4096"),
            ({"label": ["x"] * (MAX_VALUES + 1)}, "got 1001 values in the filter, expected at most 1000"),
            ({"label": ["x"] * 600, "artist": {"not": ["x"] * 401}}, "got 1001 values"),
        ],
    )
    def test_in_every_catalogue(self, filter_json: object, message: str) -> None:
        with pytest.raises(BadQuery, match=message) as caught:
            parse_filter(filter_json)
        caught.value.message.encode()

    @pytest.mark.parametrize(
        ("filter_json", "message"),
        [
            (
                {"genre": "x"},
                "got the column 'genre' in the filter, expected one of clip_id, url, .*source, year, mood",
            ),
            ({"Label": "dog"}, "got the column 'Label'"),
            ({"": "dog"}, "got the column ''"),
            ({"metadata": "x"}, "got the column 'metadata'"),
            ({"x" * 10_000: "dog"}, "got the column 'xxx.*…x.*'"),
            ({"artist": {"gte": 1}}, "got gte for 'artist', which holds text"),
            ({"clip_id": {"lt": 1}}, "got lt for 'clip_id', which holds text"),
            ({"artist": 1}, "got the number 1 for 'artist', which holds text: expected text"),
            ({"label": ["dog", 2.5]}, "got the number 2.5 for 'label', which holds text"),
            ({"clip_id": {"not": 7}}, "got the number 7 for 'clip_id', which holds text"),
            ({"title": 7}, "got the number 7 for 'title', which holds text"),
            ({"year": "1990"}, "got the text '1990' for 'year', which holds numbers: expected numbers"),
            ({"duration_s": [1, "long"]}, "got the text 'long' for 'duration_s', which holds numbers"),
            ({"duration_s": {"not": ""}}, "got the text '' for 'duration_s', which holds numbers"),
            ({"label": "dog;cat"}, "got the label 'dog;cat', expected one label, or a list"),
        ],
    )
    def test_in_this_catalogue(self, metadata: Metadata, filter_json: object, message: str) -> None:
        wanted = parse_filter(filter_json)
        with pytest.raises(BadQuery, match=message) as caught:
            evaluate(wanted, metadata)
        assert len(caught.value.message) < 300

    def test_as_large_as_is_allowed(self, metadata: Metadata) -> None:
        assert passing({"label": ["dog", *("x" * MAX_TEXT_CHARS for _ in range(MAX_VALUES - 1))]}, metadata) == "ab"


COMPARE = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
N_MANY = 3_000


def many_rows() -> Iterator[dict[str, Any]]:
    """More values in a column than are cached, labels that overlap end to end, and numbers with gaps."""
    words = ["a", "aa", "aaa", "ab", "ba", "b", "é", "🎧", "a b"]
    for row in range(N_MANY):
        label = ";".join(words[(row // 9**i) % 9] for i in range(row % 5)) + (f";only {row}" if row % 2 else "")
        yield {
            "clip_id": f"{row}",
            "title": words[row % 9] * (row % 3),
            "artist": f"artist {row % 1500}",
            "album": words[row % 7],
            "label": label.strip(";"),
            "duration_s": row % 11 / 2 if row % 6 else None,
            "year": row % 13 - 6 if row % 5 else None,
        }


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Metadata:
    directory = tmp_path_factory.mktemp("many")
    write_metadata(directory, many_rows(), ["year"])
    return Metadata.open(directory)


def holds(row: dict[str, Any], column: str, wanted: Any) -> bool:
    """A condition in plain Python: what the fast one has to agree with."""
    if isinstance(wanted, dict):
        for name, operand in wanted.items():
            if name == "not":
                if holds(row, column, operand):
                    return False
            elif row[column] is None or not COMPARE[name](row[column], operand):
                return False
        return True
    has = (split_labels(row[column]) or [""]) if column == "label" else [row[column]]
    return any(value in has for value in (wanted if isinstance(wanted, list) else [wanted]))


def conditions(values: st.SearchStrategy[Any], *, is_number: bool = False) -> st.SearchStrategy[Any]:
    listed = values | st.lists(values, min_size=1, max_size=25)
    operators = {"not": listed} | (dict.fromkeys(COMPARE, values) if is_number else {})
    return listed | st.fixed_dictionaries({}, optional=operators).filter(bool)


TEXT = st.sampled_from(
    ["", "a", "aa", "aaa", "ab", "ba", "b", "é", "🎧", "a b", "only 7", "only 77", "aé", "\U0001f3a7a"]
)
ANY_FILTER = st.fixed_dictionaries(
    {},
    optional={
        "clip_id": conditions(st.integers(0, N_MANY + 50).map(str)),
        "title": conditions(TEXT),
        "artist": conditions(st.integers(0, 1600).map("artist {}".format)),
        "album": conditions(TEXT),
        "label": conditions(TEXT),
        "duration_s": conditions(st.integers(-1, 12).map(lambda n: n / 2) | st.integers(-1, 6), is_number=True),
        "year": conditions(st.integers(-8, 8) | st.floats(-8, 8), is_number=True),
    },
)


def test_many_labels_are_looked_for_at_once(many: Metadata) -> None:
    """Not letter by letter in all that cells hold: 1,000 times a short one would keep everybody waiting."""
    wanted = parse_filter({"label": ["a", "b", "é", "nly"] * (MAX_VALUES // 4)})
    n_calls = 0

    def count(*_: Any) -> None:
        nonlocal n_calls
        n_calls += 1

    sys.setprofile(count)
    try:
        evaluate(wanted, many)
    finally:
        sys.setprofile(None)
    assert n_calls < 10 * MAX_VALUES


@settings(deadline=None, max_examples=150)
@given(ANY_FILTER)
def test_agrees_with_plain_python(many: Metadata, filter_json: dict[str, Any]) -> None:
    expected = [
        row for row, cells in enumerate(many_rows()) if all(holds(cells, *item) for item in filter_json.items())
    ]
    assert np.flatnonzero(evaluate(parse_filter(filter_json), many)).tolist() == expected
