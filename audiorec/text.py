"""What a text must be to be looked for, and the names of what a release looks for it with."""

import unicodedata

from audiorec.errors import BadQuery

TEXT_ENCODER_FILE = "text_encoder.pt"
TOKENIZER_FILE = "tokenizer.json"
TEXT_FILES = (TEXT_ENCODER_FILE, TOKENIZER_FILE)
TEXT_ENCODERS = ("clap",)  # the encoders whose space texts share; here, as a service that is asked imports none of them
BATCH_TEXTS = 16  # that a text encoder is given at once
MAX_TEXT_CHARS = 1_000  # a page of prose has 3,000; these models learnt from captions of a line or two

LINE_ENDS_AND_TABS = "\t\n\v\f\r\x85"


def clean_text(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """The text with one space for every run of white space, and none at its ends.

    Raises BadQuery for one that is longer than max_chars, that shows nothing, or that holds what no text holds: control
    characters, or half of a character.
    """
    if len(text) > max_chars:
        raise BadQuery(f"got a text of {len(text):,} characters, expected at most {max_chars:,}: say it in fewer")
    for char in text:
        category = unicodedata.category(char)
        if category == "Cs" or (category == "Cc" and char not in LINE_ENDS_AND_TABS):
            kind = "half of a character" if category == "Cs" else "a control character"
            raise BadQuery(f"got a text with {kind} in it (U+{ord(char):04X}), expected only what can be read")
    if not any(char.isprintable() and not char.isspace() for char in text):
        raise BadQuery("got a text with nothing in it that can be read, expected some words: what to look for")
    return " ".join(text.split())
