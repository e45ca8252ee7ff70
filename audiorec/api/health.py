"""Whether a worker answers queries, asked of it as cheaply as can be and still be true."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from audiorec.nearest import Nearest

_THREAD = ThreadPoolExecutor(1, "health")  # free when all those are busy that searches and uploads wait for


class Health:
    """Of one open release."""

    def __init__(self, nearest: Nearest) -> None:
        self._nearest = nearest
        self._asking: asyncio.Future[None] | None = None

    async def check(self) -> None:
        """Searches for a clip of the release. Raises what a query would.

        Who comes while another is being answered shares the answer, so that any number of probes cost one search at a
        time. It waits for the event loop, and for nothing that uploads, batches and other searches wait for.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().run_in_executor(_THREAD, self._ask)
        await asyncio.shield(self._asking)

    def _ask(self) -> None:
        self._nearest.search(self._nearest.release.embeddings[0], k=1)
