"""multipart/form-data as it arrives: the one field `file`, and a refusal as soon as anything else comes."""

from collections.abc import AsyncIterator

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from audiorec.errors import BadQuery
from audiorec.quoting import quoted

HOW = "as curl -F file=@song.mp3"


async def read_file(content_type: str, body: AsyncIterator[bytes]) -> bytes:
    """The content of the field `file`. content_type: the header of the form. Raises BadQuery."""
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise BadQuery("got a form without a boundary in its content type, expected one: let the client write it")
    field = _FileField()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_header_field": field.on_header_field,
                "on_header_value": field.on_header_value,
                "on_header_end": field.on_header_end,
                "on_headers_finished": field.on_headers_finished,
                "on_part_data": field.on_part_data,
                "on_part_end": field.on_part_end,
            },
        )
        async for data in body:
            parser.write(data)
    except FormParserError as error:
        raise BadQuery(
            f"got a form that cannot be read ({str(error)[:200]}), expected multipart/form-data: {HOW}"
        ) from None
    if not field.whole:
        raise BadQuery(f"got a form with no whole field in it, expected a file in the field 'file': {HOW}")
    return b"".join(field.parts)


class _FileField:
    """What the parser calls. It does not know the parser, so that both are freed at once and not by the collector."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.whole = False
        self._begun = False
        self._name = self._value = self._disposition = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def on_headers_finished(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        name = parameters.get(b"name", b"").decode(errors="replace")
        if name != "file":
            raise BadQuery(
                f"got the form field {quoted(name)}, expected 'file' alone: options go into the query string, as ?k=5"
            )
        if b"filename" not in parameters:
            raise BadQuery(f"got a form with text in the field 'file', expected a file: {HOW}")
        if self._begun:
            raise BadQuery("got a form with two files, expected one: ask for each on its own")
        self._begun = True
        self._disposition = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts.append(data[start:end])

    def on_part_end(self) -> None:
        self.whole = True
