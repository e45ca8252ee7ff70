"""The application factory: `AUDIOREC_MODEL_DIR=... uvicorn --factory audiorec.api.app:create_app --workers 6`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

import audiorec
from audiorec.api.errors import add_error_handlers
from audiorec.api.openapi import document
from audiorec.api.routers import ROUTERS
from audiorec.api.security import OPENAPI_PATH, STATIC_PATH
from audiorec.api.service import Service, service_of
from audiorec.api.stack import installed, middlewares
from audiorec.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Builds the service. At its start it opens the release, and reads the environment where no settings are given.

    What is wrong with either is raised there, as BadSetting or BadModelDir, and stops every server that runs it.
    """
    app = FastAPIOffline(  # FastAPI that has what /docs needs among its own files
        title="audiorec",
        version=audiorec.__version__,
        description='"More like this" for audio: the clips of a catalogue nearest to a vector, clip, text or sound.',
        lifespan=_lifespan,
        openapi_url=OPENAPI_PATH,
        static_url=STATIC_PATH,
        docs_url=None,  # it is one of our routes
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours never holds a query string or a body
        redirect_slashes=False,  # a redirect is no answer in the one shape of errors
    )
    app.state.settings = settings
    for router in ROUTERS:
        app.include_router(router)
    add_error_handlers(app)
    app.user_middleware = list(middlewares())

    def openapi() -> dict[str, Any]:
        opened = service_of(app).opened
        if opened.document is None:
            opened.document = document(app, opened)
        return opened.document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = app.state.settings or Settings.load()
    with installed(app, settings):
        service = Service(settings)
        try:
            await service.open()
            app.state.service = service
            yield
        finally:
            await service.close()
