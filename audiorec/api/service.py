"""What the routes stand on: the open release, and the questions that it can be asked."""

from collections.abc import Callable
from datetime import datetime
from time import perf_counter
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool

from audiorec.api import metrics
from audiorec.api.bodies import shown
from audiorec.api.schemas import NearestQuery, Options
from audiorec.api.uploads import Uploads
from audiorec.errors import BadQuery, NotReady
from audiorec.filters import evaluate, parse_filter
from audiorec.nearest import Nearest, Neighbours
from audiorec.release import open_release
from audiorec.settings import Settings

NOT_OPEN = "got a request while no release is open, expected one a moment later: try again"
QUICK_VALUES = 2_000_000  # numbers in the embeddings up to which any search ends within some milliseconds
QUICK_US = 250  # an index that takes longer is worth the hop to a thread


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
        self._nearest: Nearest | None = None

    async def open(self) -> None:
        """Raises BadModelDir."""
        release = open_release(self.settings.model_dir)
        manifest = release.manifest
        metrics.CLIPS.set(manifest.catalogue.n_clips)
        metrics.CREATED_S.set(datetime.fromisoformat(manifest.created_at).timestamp())
        metrics.RECALL.set(manifest.index.recall_at_10)
        if self.settings.warm:
            await self.uploads.load_encoder(release)
        self._nearest = Nearest(release)

    def close(self) -> None:
        self._nearest = None
        self.uploads.close()

    @property
    def nearest(self) -> Nearest:
        if self._nearest is None:
            raise NotReady(NOT_OPEN)
        return self._nearest

    async def answer(self, query: NearestQuery) -> Neighbours:
        """Raises BadVector, BadQuery, UnknownClip."""
        return await self._search(query, lambda: self.ask(query))

    async def answer_vector(self, vector: Any, options: Options) -> Neighbours:
        """vector: (D,) numbers. Raises BadVector, BadQuery."""
        return await self._search(options, lambda: self.nearest.search(vector, **self._checked(options)))

    def check(self, options: Options) -> None:
        """Refuses before a sound is read what a search would refuse after it. Raises BadQuery."""
        self._checked(options)
        if options.filter is not None:
            evaluate(parse_filter(options.filter), self.nearest.release.metadata)

    def ask(self, query: NearestQuery) -> Neighbours:
        """What `answer` awaits, for a caller who is in a thread of his own."""
        asked = [name for name in ("embedding", "clip_id", "text") if getattr(query, name) is not None]
        if len(asked) != 1:
            got = " and ".join(asked) or "none of them"
            raise BadQuery(f"got {got}, expected exactly one of embedding, clip_id and text")
        if query.embedding is not None:
            return self.nearest.search(query.embedding, **self._checked(query))
        if query.clip_id is not None:
            return self.nearest.search_id(query.clip_id, **self._checked(query))
        encoder = self.nearest.release.manifest.encoder.name
        raise BadQuery(
            f"got a text, but this release's {encoder} has no text encoder: ask by embedding, clip_id or sound",
            code="no_text_encoder",
        )

    def _checked(self, options: Options) -> dict[str, Any]:
        if not 1 <= options.k <= self.settings.max_k:
            raise BadQuery(f"got k = {shown(options.k)}, expected 1 to {self.settings.max_k}")
        if len(options.exclude) > self.settings.max_excluded:
            raise BadQuery(
                f"got {len(options.exclude)} clips to exclude, expected at most {self.settings.max_excluded}"
            )
        return {
            "k": options.k,
            "filter": options.filter,
            "exclude": options.exclude,
            "max_per_artist": options.max_per_artist,
        }

    async def _search(self, options: Options, search: Callable[[], Neighbours]) -> Neighbours:
        """In the event loop when it is quick, which saves a thread's hop; else in a thread, beside others."""
        start = perf_counter()
        release = self.nearest.release
        narrowed = options.filter or options.max_per_artist or len(options.exclude) > options.k
        quick_index = release.engine.kind == "annoy" and release.manifest.index.us_per_query <= QUICK_US
        quick = release.embeddings.size <= QUICK_VALUES or (quick_index and not narrowed)
        neighbours = search() if quick else await run_in_threadpool(search)
        metrics.SEARCH_S.observe(perf_counter() - start)
        return neighbours
