"""Every error as one JSON shape: {"error": {"code", "message", "request_id"}}."""

import json
import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from audiorec.api import metrics
from audiorec.api.uploads import ClientGoneError
from audiorec.errors import AudiorecError, NoSuchPart

LOG = logging.getLogger("audiorec")
CLIENT_CLOSED_REQUEST = 499  # nginx's code: nobody reads the answer, the metrics do


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(AudiorecError, _audiorec_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ClientDisconnect, _client_gone)
    app.add_exception_handler(ClientGoneError, _client_gone)
    app.add_exception_handler(Exception, _unknown_error)


def error_facts(request: Request, code: str, message: str) -> dict[str, dict[str, str]]:
    metrics.REFUSALS.labels(code).inc()
    return {"error": {"code": code, "message": message, "request_id": getattr(request.state, "request_id", "")}}


def _response(
    request: Request, status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    facts = error_facts(request, code, message)
    request.state.error_code = code  # for the log
    # json, not pydantic: it writes any text that came from outside, half a surrogate pair too
    return Response(json.dumps(facts).encode(), status, headers, "application/json")


async def refuse(
    error: AudiorecError, scope: Scope, receive: Receive, send: Send, headers: dict[str, str] | None = None
) -> None:
    """Answers for a middleware, which no handler of the application hears."""
    response = _response(Request(scope), error.status, error.code, error.message, headers)
    await response(scope, receive, send)


async def answer_fault(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """A fault of ours: all of it goes into the log, nothing of it to the client."""
    response = await _unknown_error(Request(scope), error)
    await response(scope, receive, send)


async def _audiorec_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AudiorecError)
    retry_after_s = getattr(error, "retry_after_s", None)
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else None
    if isinstance(error, NoSuchPart):
        headers = {"Content-Range": f"bytes */{error.n_bytes}"}
    return _response(request, error.status, error.code, error.message, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    got = f"{request.method} {request.url.path[:200]}"
    headers = dict(error.headers or {})
    methods = ", ".join(sorted(_methods(request)))
    if "Allow" in headers:
        headers["Allow"] = methods
    messages = {
        404: f"got {got}, which is not a route: /docs lists them",
        405: f"got {got}, expected one of {methods}: /docs says what they do",
    }
    return _response(request, error.status_code, code, messages.get(error.status_code, str(error.detail)), headers)


def _methods(request: Request) -> set[str]:
    """Of all routes with this path: Starlette names those of the first. What takes GET takes HEAD, see HeadAsGet."""
    routes = [route for route in _routes(request.app) if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in routes for method in getattr(route, "methods", None) or ()}
    return methods | {"HEAD"} if "GET" in methods else methods


def _routes(app: Any) -> Iterator[BaseRoute]:
    """Those of routers that were included too, all of them without a prefix."""
    for route in app.routes:
        included = getattr(route, "original_router", None)
        yield from [route] if included is None else _routes(included)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return _response(request, 422, "bad_query", f"got {where} that is wrong: {first['msg']}")  # never echoes the input


async def _client_gone(request: Request, error: Exception) -> Response:
    return _response(request, CLIENT_CLOSED_REQUEST, "client_gone", "the client closed the connection")


async def _unknown_error(request: Request, error: Exception) -> Response:
    request_id = getattr(request.state, "request_id", "")
    fields = {"request_id": request_id}
    LOG.error("request %s failed: %s", request_id, type(error).__name__, exc_info=error, extra={"fields": fields})
    return _response(
        request, 500, "internal", "something went wrong here, not with the request: tell the operator the request id"
    )
