"""The application factory: `AUDIOREC_MODEL_DIR=... uvicorn --factory audiorec.api.app:create_app --workers 6`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

import audiorec
from audiorec.api.errors import add_error_handlers
from audiorec.api.middleware import BodyLimit, Counting, HeadAsGet, PlainStartup, RequestIds
from audiorec.api.openapi import document
from audiorec.api.routes import router
from audiorec.api.service import Service, service_of
from audiorec.settings import Settings

LOG = logging.getLogger("audiorec")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Builds the service. At its start it opens the release, and reads the environment where no settings are given.

    What is wrong with either is raised there, as BadSetting or BadModelDir, and stops every server that runs it.
    """
    app = FastAPIOffline(  # FastAPI whose /docs does not need the internet
        title="audiorec",
        version=audiorec.__version__,
        description='"More like this" for audio: the clips of a catalogue nearest to a vector, a clip or a sound.',
        lifespan=_lifespan,
        redoc_url=None,
        redirect_slashes=False,  # a redirect is no answer in the one shape of errors
    )
    app.state.settings = settings
    app.include_router(router)
    add_error_handlers(app)
    for middleware in (BodyLimit, Counting, RequestIds, HeadAsGet, PlainStartup):  # the last is outermost
        app.add_middleware(middleware)

    def openapi() -> dict[str, Any]:
        return document(app, service_of(app))

    app.openapi = openapi  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service = Service(app.state.settings or Settings.load())
    try:
        await service.open()
        app.state.service = service
        LOG.info("serving release %s", service.nearest.release.name)
        yield
    finally:
        service.close()
