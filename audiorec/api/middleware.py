"""What every request passes, as plain ASGI: an id, a count, an answer to faults of ours, a limit on its body."""

import os
import re
import sys
from asyncio import CancelledError
from time import perf_counter

from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiorec.api import metrics
from audiorec.api.errors import answer_fault, refuse
from audiorec.api.routers import ROUTERS
from audiorec.api.security import NOTHING, POLICY, SECURITY_HEADERS
from audiorec.api.service import service_of
from audiorec.errors import AudiorecError, BodyTooLarge, NotReady, Overloaded
from audiorec.settings import Settings

STOPPED = "got a request that was not done when the service had to stop, expected time for it: ask again"
ROUTES = tuple(route for router in ROUTERS for route in router.routes)
REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


class PlainStartup:
    """Tells the server in a sentence why the service cannot start, where Starlette would tell it a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_plainly(message: Message) -> None:
            error = sys.exc_info()[1]  # Starlette sends this while it handles the error
            if message["type"] == "lifespan.startup.failed" and isinstance(error, AudiorecError):
                message["message"] = f"cannot serve: {error.message}"
            await send(message)

        await self.app(scope, receive, send_plainly)


class Prefix:
    """For a proxy that serves us under a path of its own, and takes it off or passes it on: ASGI wants it there."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            is_there = f"{path}/".startswith(f"{self._prefix}/")
            scope = {**scope, "root_path": self._prefix, "path": path if is_there else self._prefix + path}
        await self.app(scope, receive, send)


class RequestIds:
    """Takes the client's X-Request-Id, or makes one; it goes into the answer's header, its errors and the log.

    The headers that every answer has for browsers go the same way, which saves another hand for every answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request_id = given if REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *SECURITY_HEADERS, (b"x-request-id", request_id.encode())]
                if not any(name == POLICY for name, _ in headers):
                    headers.append((POLICY, NOTHING))
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, send_with_headers)


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

        metrics.REQUESTS_IN_PROGRESS.inc()
        try:
            await self.app(scope, receive, send_and_see)
        finally:
            metrics.REQUESTS_IN_PROGRESS.dec()
            route = route_of(scope)
            metrics.requests(route, status).inc()
            metrics.latency_s(route).observe(perf_counter() - start)


def route_of(scope: Scope) -> str:
    """The pattern of a request's route; for one that was refused on the way there, of the route it asked for."""
    route = scope.get("route")
    if route is None and "endpoint" not in scope:
        route = next((one for one in ROUTES if one.matches(scope)[0] is not Match.NONE), None)
    return getattr(route, "path_format", "(none)")


class Faults:
    """Answers a fault of ours itself: Starlette would do it outside of all middlewares, without their headers.

    So it does for a request that was still under way when the service had to stop.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def send_and_see(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_see)
        except (Exception, CancelledError) as error:
            if has_begun:
                raise
            if isinstance(error, CancelledError):
                await refuse(NotReady(STOPPED), scope, receive, send, {"Retry-After": "1"})
            else:
                await answer_fault(error, scope, receive, send)


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
