"""Rates as people write them."""

import pytest

from audiorec.rate import Rate


@pytest.mark.parametrize(
    ("text", "times", "period_s"),
    [
        ("60/minute", 60, 60),
        ("1/second", 1, 1),
        ("1000000/day", 1_000_000, 86_400),
        ("5/hour", 5, 3_600),
    ],
)
def test_what_is_one(text: str, times: int, period_s: int) -> None:
    assert Rate.parse(text) == Rate(times, period_s)


@pytest.mark.parametrize(
    "text",
    [
        *("", "60", "60/", "/minute", "0/minute", "-1/minute", "1.5/minute", "60/fortnight", "60 / minute"),
        *("60/minutes", "60/Minute", "1000001/day", "99999999/day", "٦/minute", "60/minute\n", "06/minute"),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="a number of 1 to 1000000 and one of second, minute, hour, day, as 60/minute"):
        Rate.parse(text)
