"""Text from outside as it may stand in a message."""


def harmless(text: str, kept: str = "") -> str:
    """The text with a question mark for whatever could steer a terminal: all that is not plainly visible, or `kept`."""
    return "".join(char if char.isprintable() or char in kept else "?" for char in text)


def quoted(text: str, limit_chars: int = 80) -> str:
    """The text in quotes, on one line, valid Unicode, and shortened in the middle beyond the limit."""
    if len(text) > limit_chars:
        text = f"{text[: limit_chars // 2]}…{text[-limit_chars // 4 :]}"
    return repr(text)
