"""What can be looked for in words, and what cannot."""

import pytest

from audiorec.errors import BadQuery
from audiorec.text import MAX_TEXT_CHARS, clean_text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("rain on a tin roof", "rain on a tin roof"),
        ("  rain\ton\r\na   tin\u00a0roof\n", "rain on a tin roof"),
        ("Jazz", "Jazz"),
        ("дождь по крыше", "дождь по крыше"),
        ("🎧 emoji 👩‍🚀", "🎧 emoji 👩‍🚀"),
        ("🎧", "🎧"),
        ("café, cafe\u0301", "café, cafe\u0301"),
        ("a\u2028b\x85c", "a b c"),
        ("x" * MAX_TEXT_CHARS, "x" * MAX_TEXT_CHARS),
        ("-1 < \"2\" & '3';", "-1 < \"2\" & '3';"),
    ],
)
def test_words_are_kept_and_white_space_is_evened(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@pytest.mark.parametrize("text", ["", " ", "\n\t \r\n", "\u00a0\u2003", "\u200b\u200d", "\u200f\ufeff"])
def test_a_text_that_shows_nothing(text: str) -> None:
    with pytest.raises(BadQuery, match="got a text with nothing in it that can be read, expected some words"):
        clean_text(text)


@pytest.mark.parametrize("char", ["\x00", "\x01", "\x08", "\x1b", "\x1c", "\x7f", "\x9b"])
def test_control_characters(char: str) -> None:
    with pytest.raises(BadQuery, match=rf"got a text with a control character in it \(U\+{ord(char):04X}\)"):
        clean_text(f"rain{char} on a roof")


@pytest.mark.parametrize("half", [0xD83C, 0xDFA7, 0xDCFF])
def test_half_of_a_character(half: int) -> None:
    with pytest.raises(BadQuery, match=rf"got a text with half of a character in it \(U\+{half:04X}\)"):
        clean_text(f"an emoji {chr(half)}")


def test_a_long_text_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadQuery, match=r"got a text of 10,000 characters, expected at most 1,000: say it in fewer"):
        clean_text("\x00" * 10_000)
    assert clean_text("x" * 5, 5) == "xxxxx"
    with pytest.raises(BadQuery, match=r"got a text of 6 characters, expected at most 5"):
        clean_text("x" * 6, 5)
