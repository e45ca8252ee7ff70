"""Who may ask what: the keys that the service knows now, and the middleware that looks at a request's key."""

import hmac
import logging
import os
from datetime import datetime, timezone
from pathlib import Path

from starlette._utils import get_route_path  # the router's own, so that both see the same path; else no start at all
from starlette.types import ASGIApp, Receive, Scope, Send

from audiorec.api import metrics
from audiorec.api.errors import refuse
from audiorec.api.keys import Key, digest_of, read_keys
from audiorec.api.keys import Scope as KeyScope
from audiorec.api.security import OPENAPI_PATH, PAGE_PATH, STATIC_PATH
from audiorec.errors import AudiorecError, BadSetting, Forbidden, Unauthorized

LOG = logging.getLogger("audiorec")
CHALLENGE = 'Bearer realm="audiorec"'
METRICS_PATH = "/metrics"
OPEN_PATHS = {"/", "/health", "/ready", "/docs", OPENAPI_PATH}
OPEN_FOLDERS = (f"{STATIC_PATH}/", f"{PAGE_PATH}/")
OTHER_SCOPES: dict[str, KeyScope] = {METRICS_PATH: "admin", "/generate": "generate"}
JOBS_FOLDER = "/jobs/"  # of those that /generate begins
N_HASH_CHARACTERS = 8  # of a digest, by which its key is looked up


def scope_of(path: str, *, open_metrics: bool) -> KeyScope | None:
    """What a key must be good for to ask for a path; None where none is needed. What nobody knows needs one."""
    if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS) or (open_metrics and path == METRICS_PATH):
        return None
    return "generate" if path.startswith(JOBS_FOLDER) else OTHER_SCOPES.get(path, "read")


class Keyring:
    """The keys of a file, read anew when it changes. A change that cannot be read leaves the keys as they were."""

    def __init__(self, path: Path) -> None:
        """Raises BadSetting."""
        self._path = path
        self._seen = self._look()
        self._take(read_keys(path))

    def find(self, shown: bytes) -> Key | None:
        """The key of the file that a client has shown, expired and revoked ones too."""
        if (seen := self._look()) != self._seen:
            self._seen = seen
            self._read_again()
        digest = digest_of(shown)
        # Found by its beginning, compared whole in constant time. What the time of the first may tell, that some key's
        # digest begins so, is of no use: nobody gets from a digest to its key.
        candidates = self._keys.get(digest[:N_HASH_CHARACTERS], ())
        return next((key for key in candidates if hmac.compare_digest(key.sha256, digest)), None)

    def _look(self) -> tuple[int, ...]:
        """What changes with the file."""
        try:
            status = os.stat(self._path)
        except OSError:
            return ()
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size  # the third: rights to read it

    def _read_again(self) -> None:
        try:
            self._take(read_keys(self._path))
        except BadSetting as error:
            metrics.KEYS_FILE_BROKEN.set(1)
            LOG.error("%s; until then the keys read before are good", error.message)
        else:
            LOG.info("read the keys file again: %d keys", sum(map(len, self._keys.values())))

    def _take(self, keys: list[Key]) -> None:
        self._keys: dict[str, list[Key]] = {}
        for key in keys:
            self._keys.setdefault(key.sha256[:N_HASH_CHARACTERS], []).append(key)
        metrics.KEYS_FILE_BROKEN.set(0)


class Access:
    """Lets through who shows a key that is good for the path. It decides before a byte of the body is read."""

    def __init__(self, app: ASGIApp, keyring: Keyring, *, open_metrics: bool) -> None:
        self.app = app
        self._keyring = keyring
        self._open_metrics = open_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            needed = scope_of(get_route_path(scope), open_metrics=self._open_metrics)
            if needed is not None:
                try:
                    self._check(scope, needed)
                except (Unauthorized, Forbidden) as error:
                    await refuse(error, scope, receive, send, {"WWW-Authenticate": _challenge(error, needed)})
                    return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope, needed: KeyScope) -> None:
        shown = shown_keys(scope)
        if not shown:
            raise Unauthorized(
                "got no API key, expected one as 'Authorization: Bearer KEY' or 'X-API-Key: KEY': ask whoever runs "
                "this service for one"
            )
        if len(shown) > 1:
            raise Unauthorized("got two different API keys, expected one: send one header", code="two_keys")
        key = self._keyring.find(shown.pop())
        if key is None:
            raise Unauthorized(
                "got an API key that is unknown here, expected one of this service: look for a slip, or ask for one",
                code="unknown_key",
            )
        scope["state"]["key"] = key  # for the log, whether it is good or not
        state = key.state(datetime.now(timezone.utc))
        if state != "active":
            raise Unauthorized(
                f"got the API key {key.name}, which {'has expired' if state == 'expired' else 'was revoked'}, "
                "expected one that is good: ask for a new one",
                code=f"{state}_key",
            )
        if needed not in key.scopes:
            raise Forbidden(
                f"got the API key {key.name} for {', '.join(key.scopes)}, expected one for {needed}: ask for that scope"
            )


def shown_keys(scope: Scope) -> set[bytes]:
    """Those in a request's headers. Other ways to authorise, which a proxy may use, are none of ours."""
    shown = set()
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            shown.add(value.strip())
        elif name == b"authorization":
            kind, _, key = value.strip().partition(b" ")
            if kind.lower() == b"bearer":
                shown.add(key.strip())
    return shown


def _challenge(error: AudiorecError, needed: KeyScope) -> str:
    """As RFC 6750 has it."""
    if isinstance(error, Forbidden):
        return f'{CHALLENGE}, error="insufficient_scope", scope="{needed}"'
    return CHALLENGE if error.code == "missing_key" else f'{CHALLENGE}, error="invalid_token"'
