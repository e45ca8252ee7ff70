"""Whose a job is: an API key's, an anonymous caller's who shows a token of his own, or whoever knows its id."""

import re
from hashlib import sha256

from starlette.requests import Request

from audiorec.api.keys import Key
from audiorec.api.limits import client_of
from audiorec.errors import BadQuery
from audiorec.jobs.job import Caller

TOKEN_HEADER = "X-Caller-Token"
TOKEN = re.compile(r"[\x21-\x7e]{16,200}")
N_DIGITS = 40


def caller_of(request: Request) -> Caller:
    """Nothing of it can be turned back into a key, a token or an address by whoever reads the table.

    With a token, jobs are still counted by address: or a new token would be a new allowance. Raises BadQuery.
    """
    key: Key | None = getattr(request.state, "key", None)
    if key is not None:
        owner = f"key {_digest(key.sha256)}"
        return Caller(owner, owner)
    address = client_of(request.client.host) if request.client else ""
    counted_as = f"address {_digest(address)}"
    token = request.headers.get(TOKEN_HEADER)
    if token is None:
        return Caller("", counted_as)
    if not TOKEN.fullmatch(token):
        raise BadQuery(f"got a {TOKEN_HEADER} of other signs or length, expected 16 to 200 visible ASCII characters")
    return Caller(f"token {_digest(token)}", counted_as)


def _digest(text: str) -> str:
    return sha256(f"audiorec caller {text}".encode()).hexdigest()[:N_DIGITS]
