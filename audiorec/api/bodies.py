"""From what a client sends to a query or the bytes of a sound: JSON, a form, or the sound itself as the body."""

import json
import re
from collections.abc import Collection
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.datastructures import QueryParams
from starlette.requests import Request

from audiorec.api.forms import read_file
from audiorec.api.schemas import Options
from audiorec.errors import BadAudio, BadQuery, BadVector, BodyTooLarge, UnsupportedBody

M = TypeVar("M", bound=BaseModel)

JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"
SOUND_TYPES = ("audio/", "video/", "application/octet-stream")
MAX_SHOWN_CHARACTERS = 60
OPTION_NAMES = tuple(Options.model_fields)


def media_type(request: Request) -> str:
    """Of the body, without its parameters: "application/json"."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def read_json(request: Request, model: type[M], max_bytes: int, *, own_parameters: Collection[str] = ()) -> M:
    """A JSON body as a model, its options joined with those of the query string; own_parameters are none of those.

    Raises BadQuery, BadVector, BodyTooLarge, UnsupportedBody.
    """
    if (kind := media_type(request)) != JSON_TYPE:
        raise UnsupportedBody(f"got the content type {shown(kind)}, expected {JSON_TYPE}")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise BodyTooLarge(f"got a JSON body of more than {max_bytes:,} bytes, expected at most that")
    try:
        parameters = [(name, value) for name, value in request.query_params.multi_items() if name not in own_parameters]
        if not parameters:
            return model.model_validate_json(body)
        fields = from_json(body)
        if isinstance(fields, dict):
            fields = merged(fields, parse_options(QueryParams(parameters)))
        return model.model_validate(fields)
    except ValidationError as error:
        raise bad_query(error) from None
    except ValueError as error:
        raise BadQuery(f"got a body that is not JSON ({str(error)[:200]}), expected a JSON object") from None


def merged(fields: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The body's fields and the query string's. Raises BadQuery where they say different things."""
    for name, value in options.items():
        if name in fields and fields[name] != value:
            raise BadQuery(
                f"got {name} = {shown(fields[name])} in the body and {shown(value)} in the query string, "
                "expected it in one of them"
            )
    return {**fields, **options}


def parse_options(parameters: QueryParams) -> dict[str, Any]:
    """`?k=5&max_per_artist=1&exclude=a&exclude=b&filter={"label": "dog"}`. Raises BadQuery."""
    options: dict[str, Any] = {}
    for name in parameters:
        values = parameters.getlist(name)
        if name not in OPTION_NAMES:
            raise BadQuery(f"got the parameter {shown(name)}, expected one of {', '.join(OPTION_NAMES)}")
        if name == "exclude":
            options[name] = values
        elif len(set(values)) > 1:
            raise BadQuery(f"got {name} = {shown(values[0])} and {shown(values[1])}, expected one of them")
        else:
            options[name] = _parse_filter(values[0]) if name == "filter" else _parse_whole(name, values[0])
    return options


def _parse_whole(name: str, text: str) -> int:
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise BadQuery(f"got {name} = {shown(text)}, expected a whole number, 1 or more")
    return int(text)


def _parse_filter(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:
        raise BadQuery(f"got filter = {shown(text)}, expected JSON, as {json.dumps({'label': 'dog'})}") from None


def validated(model: type[M], fields: Any) -> M:
    """Raises BadQuery, BadVector."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise bad_query(error) from None


def bad_query(error: ValidationError) -> BadQuery | BadVector:
    """The first thing that is wrong, in a sentence."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "json_invalid":
        return BadQuery(f"got a body that is not JSON ({first['msg'][:200]}), expected a JSON object")
    if first["type"] == "missing":
        return BadQuery(f"got a body without {shown(where)}, expected that field: /docs has examples")
    if first["type"] == "extra_forbidden":
        return BadQuery(f"got the unknown field {shown(where)}, expected those that /docs lists")
    if not where:
        return BadQuery(f"got {shown(first['input'])}, expected a JSON object")
    kind = BadVector if first["loc"][0] == "embedding" else BadQuery
    expected = re.sub(r"^\w+ should (be )?", lambda verb: "" if verb[1] else "to ", first["msg"])
    expected = re.sub(r" after validation(, not 0$)?", "", expected)
    return kind(f"got {shown(first['input'])} for {where}, expected {expected.replace('dictionary', 'object')}")


def shown(value: Any) -> str:
    """A value from outside as it may stand in a message: short, on one line."""
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


async def read_sound(request: Request) -> bytes:
    """The uploaded sound: the field `file` of a form, or the whole body. Raises BadAudio, BadQuery, UnsupportedBody."""
    kind = media_type(request)
    if kind == FORM_TYPE:
        sound = await read_file(request.headers["content-type"], request.stream())
    elif kind.startswith(SOUND_TYPES):
        sound = await request.body()
    else:
        raise UnsupportedBody(
            f"got the content type {shown(kind)}, expected {JSON_TYPE} for a query, {FORM_TYPE} with a "
            "field 'file', or audio/*, video/* or application/octet-stream for a sound"
        )
    if not sound:
        raise BadAudio("got an empty upload, expected the bytes of a sound file", code="empty")
    return sound
