"""One open release, and the questions that it can be asked."""

from collections.abc import Callable
from typing import Any, Literal, get_args

from audiorec.api.bodies import shown
from audiorec.api.health import Health
from audiorec.api.schemas import NearestQuery, Options
from audiorec.api.search_threads import SearchThreads
from audiorec.api.stages import stage
from audiorec.api.text_jobs import Found
from audiorec.errors import BadQuery
from audiorec.metadata.filters import evaluate, parse_filter
from audiorec.nearest import Nearest, Neighbours
from audiorec.release import Release, no_text_encoder
from audiorec.settings import Settings

Asked = Literal["embedding", "clip_id", "text"]
ASKED: tuple[Asked, ...] = get_args(Asked)

QUICK_VALUES = 2_000_000  # numbers in the embeddings up to which any search ends within some milliseconds
QUICK_US = 250  # an index that takes longer is worth the hop to a thread


class Opened:
    """A request takes the one that serves when it begins, and keeps to it whatever is served when it ends.

    It must be held by nothing but `Service` and the requests under way: with the last of them it goes, and with it the
    memory maps and the hold.
    """

    def __init__(self, release: Release, settings: Settings, threads: SearchThreads) -> None:
        self.release = release
        self.nearest = Nearest(release)
        self.health = Health(self.nearest)
        self.settings = settings
        self.document: dict[str, Any] | None = None  # of OpenAPI, once it has been asked for
        self._threads = threads

    async def answer(self, query: NearestQuery) -> Neighbours:
        """Raises BadVector, BadQuery, UnknownClip."""
        return await self._search(query, lambda: self.ask(query))

    def asked(self, query: NearestQuery) -> Asked:
        """What a query asks by. Raises BadQuery."""
        asked = [name for name in ASKED if getattr(query, name) is not None]
        if len(asked) != 1:
            got = " and ".join(asked) or "none of them"
            raise BadQuery(f"got {got}, expected exactly one of embedding, clip_id and text")
        return asked[0]

    async def answer_vector(self, vector: Any, options: Options) -> Neighbours:
        """vector: (D,) numbers. Raises BadVector, BadQuery."""
        return await self._search(options, lambda: self.nearest.search(vector, **self._checked(options)))

    def check(self, options: Options) -> None:
        """Refuses before a sound is read what a search would refuse after it. Raises BadQuery."""
        self._checked(options)
        if options.filter is not None:
            evaluate(parse_filter(options.filter), self.release.metadata)

    def ask(self, query: NearestQuery, found: Found | None = None) -> Neighbours:
        """What `answer` awaits, for a caller who is in a thread of his own. found: of a query by text."""
        asked = self.asked(query)
        if asked == "embedding":
            return self.nearest.search(query.embedding or [], **self._checked(query))
        if asked == "clip_id":
            return self.nearest.search_id(query.clip_id or "", **self._checked(query))
        if found is None:
            raise no_text_encoder(self.release.manifest.encoder.name)
        if isinstance(found, BadQuery):
            raise found
        return self.nearest.search(found, **self._checked(query))

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
        release = self.release
        narrowed = options.filter or options.max_per_artist or len(options.exclude) > options.k
        quick_index = release.engine.kind == "annoy" and release.manifest.index.us_per_query <= QUICK_US
        quick = release.embeddings.size <= QUICK_VALUES or (quick_index and not narrowed)
        with stage("search", k=options.k, engine=release.engine.kind, narrowed=bool(narrowed)):
            return search() if quick else await self._threads.run(search)
