"""What the routes stand on: the release that is served now, and what turns uploads into vectors."""

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from audiorec.api import metrics
from audiorec.api.clip_files import ClipFiles
from audiorec.api.follower import Follower
from audiorec.api.opened import Opened
from audiorec.api.search_threads import SearchThreads
from audiorec.api.texts import Texts
from audiorec.api.uploads import Uploads
from audiorec.errors import NotReady
from audiorec.release import Release
from audiorec.settings import Settings

if TYPE_CHECKING:
    from audiorec.api.generation.generating import Generating

LOG = logging.getLogger("audiorec")

NOT_OPEN = "got a request while no release is open, expected one a moment later: try again"


def service_of(app: Starlette) -> "Service":
    """The service that an application runs. Raises NotReady before its start."""
    service: Service | None = getattr(app.state, "service", None)
    if service is None:
        raise NotReady(NOT_OPEN)
    return service


class Service:
    """One a worker: `open` before use, `close` after."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.uploads = Uploads(settings)
        self.texts = Texts(settings, self.uploads)
        self.threads = SearchThreads()
        self.follower = Follower(settings.model_dir, settings.swap_poll_s)
        self.clip_files: ClipFiles | None = None  # where their folder is known
        self.generating: Generating | None = None  # where a generator is configured
        self._opened: Opened | None = None
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises BadModelDir; BadSetting for the folder of clips; BadSetting and NoSpace for the places of jobs."""
        if self.settings.clips_dir is not None:
            self.clip_files = ClipFiles(self.settings.clips_dir)
        release = self.follower.open()
        if self.settings.has_generator:
            from audiorec.api.generation.generating import Generating  # and SQLAlchemy, which only this needs

            self.generating = Generating(self.settings)
            await self.generating.open()
        if self.settings.warm:
            await self.uploads.load_encoder(release)
        self._serve(release)
        self._following = asyncio.create_task(self.follower.follow(self._prepare, self._serve))

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        if self.generating is not None:
            await self.generating.close()
        self._opened = None
        self.follower.close()
        self.uploads.close()
        self.threads.close()

    @property
    def opened(self) -> Opened:
        """What is served now. A request asks once and keeps to the answer. Raises NotReady."""
        if self._opened is None:
            raise NotReady(NOT_OPEN)
        return self._opened

    def _serve(self, release: Release) -> None:
        before, self._opened = self._opened, Opened(release, self.settings, self.threads)
        metrics.describe(release.manifest)
        LOG.info("serving release %s%s", release.name, f" after {before.release.name}" if before else "")

    def _prepare(self, release: Release) -> None:
        """Sees to it that uploads and texts need not wait for an encoder after the swap if they did not before."""
        before = self.opened.release
        encoder, text_encoder = before.__dict__.get("encoder"), before.__dict__.get("text_encoder")
        same = before.encoder_key() == release.encoder_key()
        if encoder is not None and same and (release.dim, release.n_labels) == (before.dim, before.n_labels):
            release.encoder = encoder  # not loaded twice
        elif encoder is not None or self.settings.warm:
            _ = release.encoder
        if not release.has_text:
            return
        if text_encoder is not None and before.text_key() == release.text_key() and release.dim == before.dim:
            release.text_encoder = text_encoder
        elif text_encoder is not None or self.settings.warm:
            _ = release.text_encoder
