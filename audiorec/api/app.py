"""The application factory: `AUDIOREC_MODEL_DIR=... uvicorn --factory audiorec.api.app:create_app --workers 6`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

import audiorec
from audiorec.api.errors import add_error_handlers
from audiorec.api.middleware import BodyLimit, Counting, RequestIds
from audiorec.api.openapi import document
from audiorec.api.routes import router
from audiorec.api.service import Service
from audiorec.errors import AudiorecError
from audiorec.settings import Settings

LOG = logging.getLogger("audiorec")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Builds the service; the release is opened in its lifespan. Without settings they come from the environment.

    Raises BadSetting.
    """
    settings = settings or Settings.load()
    app = FastAPIOffline(  # FastAPI whose /docs does not need the internet
        title="audiorec",
        version=audiorec.__version__,
        description='"More like this" for audio: the clips of a catalogue nearest to a vector, a clip or a sound.',
        lifespan=_lifespan,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.service = Service(settings)
    app.include_router(router)
    add_error_handlers(app)
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(Counting)
    app.add_middleware(RequestIds)  # added last, so it is outermost

    def openapi() -> dict[str, Any]:
        return document(app, app.state.service.nearest.release)

    app.openapi = openapi  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    try:
        await service.open()
    except AudiorecError as error:
        LOG.error("cannot serve: %s", error.message)
        raise
    LOG.info("serving release %s", service.nearest.release.name)
    try:
        yield
    finally:
        service.close()
