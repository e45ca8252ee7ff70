"""A line in the log for each request, which holds nothing that a client may keep secret."""

import logging
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiorec.api.heads import method_of
from audiorec.api.middleware import route_of
from audiorec.api.service import service_of
from audiorec.errors import NotReady

LOG = logging.getLogger("audiorec.requests")
PROBES = ("/health", "/ready", "/metrics")  # asked every few seconds: when all is well, not worth a line


class WithoutQuery(logging.Filter):
    """For uvicorn's own line a request: leaves out the query string, in which somebody may have put a key."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(one.partition("?")[0] if isinstance(one, str) else one for one in record.args)
        return True


class RequestLog:
    """A line a request: its route and not its path, the name of its key and not the key, and no query string."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start_s = perf_counter()
        status = bytes_in = bytes_out = 0

        async def receive_and_see() -> Message:
            nonlocal bytes_in
            message = await receive()
            bytes_in += len(message.get("body", b""))
            return message

        async def send_and_see(message: Message) -> None:
            nonlocal status, bytes_out
            status = message.get("status", status)
            bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive_and_see, send_and_see)
        finally:
            facts = {"status": status, "ms": round((perf_counter() - start_s) * 1e3, 2)}
            _log(scope, {**facts, "bytes_in": bytes_in, "bytes_out": bytes_out})


def _log(scope: Scope, facts: dict[str, Any]) -> None:
    state, client = scope["state"], scope.get("client")
    key = state.get("key")
    fields = {
        "request_id": state["request_id"],
        "method": method_of(scope),
        "route": route_of(scope),
        **facts,
        "client": client[0] if client else None,
        "key": key.name if key else None,
        "release": release_of(scope),
        "error": state.get("error_code"),
        "trace_id": state.get("trace_id"),
    }
    is_probe = fields["route"] in PROBES and facts["status"] == 200
    LOG.log(
        logging.DEBUG if is_probe else logging.INFO,
        "%s %s %s %d in %s ms, request %s",
        fields["client"],
        fields["method"],
        fields["route"],
        fields["status"],
        fields["ms"],
        fields["request_id"],
        extra={"fields": {name: value for name, value in fields.items() if value is not None}},
    )


def release_of(scope: Scope) -> str | None:
    """The release that answered; where the route did not say, the one that is open now."""
    try:
        name: str = scope["state"].get("release") or service_of(scope["app"]).opened.release.name
    except NotReady:
        return None
    return name
