"""Which middlewares a request passes, in which order. What the settings leave off is not there and costs nothing."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware import Middleware

from audiorec.api import metrics
from audiorec.api.access import Access, Keyring
from audiorec.api.buckets import BUCKETS_FILE, Buckets
from audiorec.api.heads import HeadAsGet
from audiorec.api.limits import Limits
from audiorec.api.logs import RequestLog, WithoutQuery
from audiorec.api.middleware import BodyLimit, Counting, Faults, PlainStartup, Prefix, RequestIds
from audiorec.api.security import Cors
from audiorec.api.tracing import Traces, tracing
from audiorec.settings import Settings, listed

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

UVICORN_LOG = logging.getLogger("uvicorn.access")


@contextmanager
def installed(app: FastAPI, settings: Settings) -> Iterator[None]:
    """Puts between the server and the routes what the settings ask for, which are known only when the service starts.

    Raises BadSetting.
    """
    with ExitStack() as stack:
        provider = stack.enter_context(tracing())
        buckets = stack.enter_context(closing(_buckets())) if settings.rate_limit or settings.keys_file else None
        without_query = WithoutQuery()
        UVICORN_LOG.addFilter(without_query)
        stack.callback(UVICORN_LOG.removeFilter, without_query)
        app.user_middleware = list(middlewares(settings, buckets, provider))
        app.middleware_stack = app.build_middleware_stack()
        yield


def _buckets() -> Buckets:
    """Those of all workers; where they share nothing, each has its own."""
    directory = metrics.shared_dir()
    path = directory / BUCKETS_FILE if directory else None
    return Buckets(path if path and path.exists() else None)


def middlewares(
    settings: Settings | None = None, buckets: Buckets | None = None, provider: "TracerProvider | None" = None
) -> Iterator[Middleware]:
    """From the outermost to the innermost; without settings, those that every request passes."""
    yield Middleware(PlainStartup)
    if settings is not None and settings.root_path:
        yield Middleware(Prefix, settings.root_path)
    yield Middleware(HeadAsGet)
    yield Middleware(RequestIds)
    if provider is not None:
        yield Middleware(Traces, provider)
    if settings is not None and settings.logs_requests:
        yield Middleware(RequestLog)
    yield Middleware(Counting)
    if settings is not None and settings.cors_origins:  # outside of all that refuses: a page is to read why
        yield Middleware(Cors, listed(settings.cors_origins))
    yield Middleware(Faults)
    if settings is not None and settings.keys_file is not None:
        yield Middleware(Access, Keyring(settings.keys_file), open_metrics=settings.open_metrics)
    if settings is not None and buckets is not None:
        yield Middleware(Limits, buckets, settings.rate_limit)
    yield Middleware(BodyLimit)
