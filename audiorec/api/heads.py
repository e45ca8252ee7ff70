"""HEAD: the head of what GET answers."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

IS_HEAD = "audiorec.is_head"


class HeadAsGet:
    """Every GET route answers HEAD as well; the server leaves the body out.

    A route that would read a file for that body, or write it for long, asks `is_head`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", IS_HEAD: True}
        await self.app(scope, receive, send)


def is_head(request: Request) -> bool:
    return IS_HEAD in request.scope


def method_of(scope: Scope) -> str:
    """As the client said it."""
    return "HEAD" if IS_HEAD in scope else str(scope["method"])
