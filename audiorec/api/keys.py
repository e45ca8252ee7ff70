"""API keys, and the file they are kept in: whom the service answers, and what each may do.

The file holds no key, only the SHA-256 of each. That is enough here, where it would not be for passwords: a key is 256
random bits, which nobody finds by trying, so that a salt or a slow hash would only make requests slow.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from audiorec.errors import BadSetting
from audiorec.files import locked, replacing
from audiorec.quoting import quoted
from audiorec.rate import Rate

Scope = Literal["read", "write", "generate", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "generate", "admin")
KEY_PREFIX = "audiorec_"  # programs that look for secrets in commits and logs know a key by it
KEY_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
SPAN = re.compile(r"([1-9][0-9]{0,5})([hd])")
FILE_MODE = 0o600
FORMAT_VERSION = 1
MAX_FILE_BYTES = 16 * 2**20


def _rate_text(text: str) -> str:
    Rate.parse(text)
    return text


class Key(BaseModel):
    """What the file knows of a key. A key that is revoked stays in it, so that its name says what happened."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{NAME.pattern}$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    created_at: AwareDatetime
    rate: Annotated[str, AfterValidator(_rate_text)] | None = None
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None

    def state(self, now: datetime) -> Literal["active", "expired", "revoked"]:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


class _KeysFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1]
    keys: list[Key]


def digest_of(key: bytes) -> str:
    """What stands for a key in the file."""
    return hashlib.sha256(key).hexdigest()


def read_keys(path: Path) -> list[Key]:
    """Raises BadSetting for a file that is missing, cannot be read, or is no keys file."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadSetting(
            f"got the keys file {quoted(path.name)}, which cannot be read ({error.strerror}), expected one: "
            "`audiorec keys create` makes it"
        ) from None
    try:
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"more than {MAX_FILE_BYTES:,} bytes")
        keys = _KeysFile.model_validate_json(content).keys
        for what in ("name", "sha256"):
            if len({getattr(key, what) for key in keys}) < len(keys):
                raise ValueError(f"two keys of one {what}")
    except ValueError as error:
        raise BadSetting(
            f"got the keys file {quoted(path.name)}, which is none ({_first_fault(error)}), expected what "
            "`audiorec keys` writes: mend it, or make another"
        ) from None
    return keys


def _first_fault(error: ValueError) -> str:
    """Where and what; never a value of the file."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"][:200])))


def create_key(
    path: Path, name: str, scopes: Sequence[str], *, rate: str | None = None, expires_at: datetime | None = None
) -> str:
    """Adds a key to the file, which is made where there is none. Returns the key, which nothing can show again.

    The name of a key that is revoked or has expired may be given anew. Raises BadSetting, Busy, NoSpace.
    """
    if not NAME.fullmatch(name):
        raise BadSetting(f"got the name {quoted(name)}, expected 1 to 64 letters, digits, and any of _ . - inside")
    unknown = [quoted(scope) for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise BadSetting(f"got {', '.join(unknown) or 'nothing'} for scopes, expected some of {', '.join(SCOPES)}")
    if rate is not None:
        _check_rate(rate)
    now = _now()
    if expires_at is not None and expires_at <= now:
        raise BadSetting(f"got the end {expires_at.isoformat()}, expected one that is still to come")
    text = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    key = Key(
        name=name,
        sha256=digest_of(text.encode()),
        scopes=tuple(scope for scope in SCOPES if scope in scopes),
        created_at=now,
        rate=rate,
        expires_at=expires_at,
    )

    def added(keys: list[Key]) -> list[Key]:
        if any(one.name == name and one.state(now) == "active" for one in keys):
            raise BadSetting(f"got the name {name}, which another key has: choose another, or revoke that one first")
        return [*(one for one in keys if one.name != name), key]

    _edit(path, added)
    return text


def revoke_key(path: Path, name: str) -> None:
    """From now on the key is refused. Raises BadSetting, Busy, NoSpace."""

    def revoked(keys: list[Key]) -> list[Key]:
        if not any(key.name == name and key.revoked_at is None for key in keys):
            names = ", ".join(key.name for key in keys if key.revoked_at is None) or "none is left"
            raise BadSetting(f"got the name {quoted(name)}, expected a key that is not revoked yet: {names}")
        return [key.model_copy(update={"revoked_at": _now()}) if key.name == name else key for key in keys]

    if not path.exists():
        read_keys(path)  # says that it is not there
    _edit(path, revoked)


def described(keys: list[Key]) -> list[dict[str, Any]]:
    """What a person may see of each key."""
    now = _now()
    return [{**key.model_dump(mode="json", exclude={"sha256"}), "state": key.state(now)} for key in keys]


def parse_end(text: str) -> datetime:
    """When a key ends: "90d" or "12h" from now, or a time as 2027-01-31, which is UTC unless it says otherwise."""
    if span := SPAN.fullmatch(text):
        return _now() + timedelta(hours=int(span[1]) * (24 if span[2] == "d" else 1))
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        raise BadSetting(f"got the end {quoted(text)}, expected a span as 90d or 12h, or a day as 2027-01-31") from None
    return end if end.tzinfo else end.replace(tzinfo=timezone.utc)


def _check_rate(text: str) -> None:
    try:
        Rate.parse(text)
    except ValueError as error:
        raise BadSetting(f"got {quoted(text)} for the rate, expected {error}") from None


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def _edit(path: Path, change: Callable[[list[Key]], list[Key]]) -> None:
    """Puts the changed file in the place of the old one; who may read the old one may read the new one."""
    with locked(path.with_name(f".{path.name}.lock"), "the keys file"):
        old = path.stat() if path.exists() else None
        keys = change([] if old is None else read_keys(path))
        content = {"format_version": FORMAT_VERSION, "keys": [key.model_dump(mode="json") for key in keys]}
        with replacing(path, durable=True) as file:
            os.fchmod(file.fileno(), FILE_MODE if old is None else old.st_mode & 0o777)
            if old is not None and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            file.write(json.dumps(content, indent=1).encode() + b"\n")
