"""What every request passes, as plain ASGI: an id, a limit on its body, and the count of it."""

import os
import re
import sys
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiorec.api import metrics
from audiorec.api.service import service_of
from audiorec.errors import AudiorecError, BodyTooLarge, Overloaded
from audiorec.settings import Settings

REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


class PlainStartup:
    """Tells the server in a sentence why the service cannot start, where Starlette would tell it a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_plainly(message: Message) -> None:
            error = sys.exc_info()[1]  # Starlette sends this while it handles the error
            if message["type"] == "lifespan.startup.failed" and isinstance(error, AudiorecError):
                message["message"] = f"cannot serve: {error.message}"
            await send(message)

        await self.app(scope, receive, send_plainly if scope["type"] == "lifespan" else send)


class HeadAsGet:
    """Every GET route answers HEAD as well; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send)


class RequestIds:
    """Takes the client's X-Request-Id, or makes one; it goes into the answer's header, its errors and the log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request_id = given if REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


class Counting:
    """Counts every answer, and how long it took, by route (the pattern, never the path)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = perf_counter()
        status = 500

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_see)
        finally:
            route = getattr(scope.get("route"), "path_format", "(none)")
            metrics.requests(route, status).inc()
            metrics.latency_s(route).observe(perf_counter() - start)


class BodyLimit:
    """Counts the bytes of a body as they arrive: of one request, and of all that this worker holds."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        n_bytes = 0

        async def receive_counted() -> Message:
            nonlocal n_bytes
            settings = service_of(scope["app"]).settings
            if declared.isdecimal():
                self._check(int(declared), settings)
            message = await receive()
            n_new = len(message.get("body", b""))
            n_bytes += n_new
            self._held_bytes += n_new
            self._check(n_bytes, settings)
            return message

        try:
            await self.app(scope, receive_counted, send)
        finally:
            self._held_bytes -= n_bytes

    def _check(self, n_bytes: int, settings: Settings) -> None:
        if n_bytes > settings.max_body_bytes:
            raise BodyTooLarge(f"got a body of {n_bytes:,} bytes or more, expected at most {settings.max_body_bytes:,}")
        if self._held_bytes > settings.max_bodies_bytes:
            raise Overloaded("got more uploads at once than fit into memory: try again in a moment")
