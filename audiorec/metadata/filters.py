"""The `filter` of a query: parsed from JSON, then evaluated against a catalogue's metadata.

    {"label": "dog", "artist": {"not": ["X"]}, "genre": ["salsa", "cumbia"], "duration_s": {"gte": 1, "lt": 10}}

A value is equality, a list any of its values, {"not": value or list} none of them; gt, gte, lt and lte compare
numbers. All conditions must hold. A clip without a number passes `not` and nothing else on that column. A clip with
several labels has each of them.
"""

import operator
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from audiorec.errors import BadQuery
from audiorec.metadata import LABEL_SEPARATOR, Metadata
from audiorec.metadata.column_builders import TextsBuilder
from audiorec.metadata.columns import Codes, Numbers, Texts
from audiorec.quoting import quoted

MAX_VALUES = 1_000
MAX_TEXT_CHARS = 4_096
_FEW_CODES = 10

Value: TypeAlias = str | int | float
Mask: TypeAlias = npt.NDArray[np.bool_]  # (n,), True for the clips that pass

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_OPERATORS = ("not", *_COMPARE)


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of one column. `operator`: "is" (any of the values), "not" (none of them), or a comparison with one."""

    column: str
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that must all hold."""

    conditions: tuple[Condition, ...]


def parse_filter(filter_json: object) -> Filter:
    """A filter from what JSON gives. Raises BadQuery for one that makes sense in no catalogue."""
    if not isinstance(filter_json, Mapping):
        raise BadQuery(f"got {_shown(filter_json)} as filter, expected an object of columns and what they must be")
    conditions = tuple(c for column, wanted in filter_json.items() for c in _conditions(column, wanted))
    n_values = sum(len(condition.values) for condition in conditions)
    if n_values > MAX_VALUES:
        raise BadQuery(f"got {n_values} values in the filter, expected at most {MAX_VALUES}")
    return Filter(conditions)


def evaluate(wanted: Filter, metadata: Metadata) -> Mask:
    """(n,) bool, True for the clips that pass. Raises BadQuery for a column that is unknown or of another type."""
    mask = np.ones(len(metadata), np.bool_)
    for condition in wanted.conditions:
        mask &= _mask(condition, metadata)
    return mask


def _conditions(column: object, wanted: object) -> Iterator[Condition]:
    if not isinstance(column, str):
        raise BadQuery(f"got {_shown(column)} as a column of the filter, expected its name")
    if not isinstance(wanted, Mapping):
        yield Condition(column, "is", _values(column, wanted))
        return
    if not wanted:
        raise BadQuery(f"got an empty object for {quoted(column)}, expected one of {', '.join(_OPERATORS)}")
    for name, operand in wanted.items():
        if name == "not":
            yield Condition(column, name, _values(column, operand))
        elif name in _COMPARE:
            if isinstance(operand, bool) or not isinstance(operand, int | float):
                raise BadQuery(f"got {_shown(operand)} for {name} of {quoted(column)}, expected a number")
            yield Condition(column, name, (_value(column, operand),))
        else:
            expected = ", ".join(_OPERATORS)
            raise BadQuery(f"got the operator {quoted(str(name))} for {quoted(column)}, expected one of {expected}")


def _values(column: str, wanted: object) -> tuple[Value, ...]:
    if not isinstance(wanted, list | tuple):
        return (_value(column, wanted),)
    if not wanted:
        raise BadQuery(f"got an empty list for {quoted(column)}, expected at least one value")
    return tuple(_value(column, value) for value in wanted)


def _value(column: str, value: object) -> Value:
    if isinstance(value, str):
        if len(value) > MAX_TEXT_CHARS:
            raise BadQuery(f"got {len(value)} characters for {quoted(column)}, expected at most {MAX_TEXT_CHARS}")
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise BadQuery(f"got {_shown(value)} for {quoted(column)}, which is not Unicode, expected text")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadQuery(f"got {_shown(value)} for {quoted(column)}, expected text, a number, or a list of either")
    if not -sys.float_info.max <= value <= sys.float_info.max:  # NaN is not, either
        raise BadQuery(f"got {_shown(value)} for {quoted(column)}, expected a finite number")
    return value


def _mask(condition: Condition, metadata: Metadata) -> Mask:
    if condition.column not in metadata.columns:
        expected = ", ".join(metadata.columns)
        raise BadQuery(f"got the column {quoted(condition.column)} in the filter, expected one of {expected}")
    column = metadata.column(condition.column)
    _check_type(condition, holds_numbers=isinstance(column, Numbers))
    if isinstance(column, Numbers):
        mask = _number_mask(condition, column)
    elif condition.column == "clip_id":
        mask = _id_mask(condition.values, metadata)
    elif isinstance(column, Texts):
        mask = _text_mask(condition.values, column)
    elif condition.column == "label":
        mask = _code_mask(_codes_of_labels(map(str, condition.values), column), column)
    else:
        codes = [column.code_of(str(value)) for value in condition.values]
        mask = _code_mask([code for code in codes if code is not None], column)
    return ~mask if condition.operator == "not" else mask


def _check_type(condition: Condition, *, holds_numbers: bool) -> None:
    if condition.operator in _COMPARE and not holds_numbers:
        raise BadQuery(
            f"got {condition.operator} for {quoted(condition.column)}, which holds text; "
            "expected a value, a list of values or not"
        )
    for value in condition.values:
        if isinstance(value, str) is holds_numbers:
            kind = "numbers" if holds_numbers else "text"
            raise BadQuery(f"got {_shown(value)} for {quoted(condition.column)}, which holds {kind}: expected {kind}")


def _number_mask(condition: Condition, column: Numbers) -> Mask:
    numbers = column.numbers
    mask: Mask
    if condition.operator in _COMPARE:
        mask = _COMPARE[condition.operator](numbers, condition.values[0])
    else:
        mask = np.isin(numbers, _as_array(condition.values, numbers.dtype), kind="sort")
    valid = column.valid()
    return mask if valid is None else mask & valid


def _as_array(values: Iterable[Value], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The values that a column of this type can hold at all."""
    if dtype == np.float64:
        return np.array([float(value) for value in values])
    whole = [int(value) for value in values if int(value) == value]
    return np.array([value for value in whole if -(2**63) <= value < 2**63], np.int64)


def _id_mask(clip_ids: Iterable[Value], metadata: Metadata) -> Mask:
    mask = np.zeros(len(metadata), np.bool_)
    rows = (metadata.find(str(clip_id)) for clip_id in clip_ids)
    mask[[row for row in rows if row is not None]] = True
    return mask


def _text_mask(values: Iterable[Value], column: Texts) -> Mask:
    import pyarrow.compute as pc  # 9 MB a process, for the rare filter on a column that is not coded

    builder = TextsBuilder()  # pyarrow's own conversions, here and of the answer, would import pandas
    for value in values:
        builder.append(str(value))
    wanted = builder.array()
    matches = pc.equal(column.array, wanted[0]) if len(wanted) == 1 else pc.is_in(column.array, value_set=wanted)
    bits = np.frombuffer(matches.buffers()[1], np.uint8)
    return np.unpackbits(bits, count=len(column), bitorder="little").view(np.bool_)


def _code_mask(wanted: Sequence[int], column: Codes) -> Mask:
    """By comparison for a few codes, 0.05 ms each for a million clips; by a table of all codes, 0.7 ms, for more."""
    if len(wanted) > _FEW_CODES:
        table = np.zeros(len(column.values), np.bool_)
        table[wanted] = True
        return table.take(column.codes)
    if not wanted:
        return np.zeros(len(column), np.bool_)
    return reduce(operator.or_, (column.codes == code for code in wanted))


def _codes_of_labels(labels: Iterable[str], column: Codes) -> list[int]:
    """The codes of the cells that hold any of these labels, alone or among others. The empty one is that of a clip
    without a label.

    The labels of all distinct cells are compared at once, those of one length together: how long it takes depends
    little on how many are asked for, and on which.
    """
    codes: list[int] = []
    by_length: dict[int, set[bytes]] = defaultdict(set)
    for label in labels:
        if LABEL_SEPARATOR in label:
            raise BadQuery(f"got the label {quoted(label)}, expected one label, or a list of which any will do")
        by_length[len(text := label.encode())].add(text)
    if by_length.pop(0, None) and (code := column.code_of("")) is not None:
        codes.append(code)
    offsets, data = column.texts.offsets, np.frombuffer(column.texts.data, np.uint8)
    separators = np.flatnonzero(data == ord(LABEL_SEPARATOR))
    starts = np.sort(np.concatenate([offsets[:-1], separators + 1]), kind="stable")
    lengths = np.sort(np.concatenate([offsets[1:], separators]), kind="stable") - starts
    for length, texts in by_length.items():
        starts_of_length = starts[lengths == length]
        if len(starts_of_length):
            found = np.ascontiguousarray(sliding_window_view(data, length)[starts_of_length]).view(f"S{length}")[:, 0]
            wanted = np.array(sorted(texts), found.dtype)
            hits = starts_of_length[wanted.take(np.searchsorted(wanted, found), mode="clip") == found]
            codes += (np.searchsorted(offsets, hits, side="right") - 1).tolist()
    return codes


def _shown(value: object) -> str:
    """A value from JSON, in JSON's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, int) and abs(value) >= 2**64:
        return "a number of too many digits"
    if isinstance(value, int | float):
        return f"the number {value}"
    return (
        "a list"
        if isinstance(value, list | tuple)
        else "an object"
        if isinstance(value, Mapping)
        else "something that is not JSON"
    )
