"""Texts to vectors: those of late from memory, the others through the queue of uploads, so that they hold up nobody."""

from collections.abc import Sequence
from hashlib import sha256

from audiorec.api import metrics
from audiorec.api.text_jobs import Found, TextJob
from audiorec.api.upload_cache import TextCache
from audiorec.api.uploads import ClientGone, Uploads
from audiorec.errors import BadQuery
from audiorec.release import Release, no_text_encoder
from audiorec.settings import Settings
from audiorec.text import clean_text

Key = tuple[tuple[str, ...], bytes]


class Texts:
    """One a worker."""

    def __init__(self, settings: Settings, uploads: Uploads) -> None:
        self._max_chars = settings.max_text_chars
        self._uploads = uploads
        self._cache = TextCache(settings.text_cache_mb * 2**20)

    async def embed(self, texts: Sequence[str], release: Release, client_gone: ClientGone) -> list[Found]:
        """Of each text its vector, (D,), or why it has none. All of them take one place in the queue.

        Raises BadQuery for a release without a text encoder, Overloaded, ClientGoneError.
        """
        if not release.has_text:
            raise no_text_encoder(release.manifest.encoder.name)
        cleaned = [self._cleaned(text) for text in texts]
        known: dict[str, Found] = {}
        for text in cleaned:
            if isinstance(text, str) and (vector := self._cache.get(_key(release, text))) is not None:
                known[text] = vector
        unknown = tuple(dict.fromkeys(text for text in cleaned if isinstance(text, str) and text not in known))
        if unknown:
            known |= zip(unknown, await self._encoded(unknown, release, client_gone), strict=True)
        elif known:
            metrics.TEXT_CACHE["hit"].inc()
        return [known[text] if isinstance(text, str) else text for text in cleaned]

    async def _encoded(self, texts: tuple[str, ...], release: Release, client_gone: ClientGone) -> list[Found]:
        key = release.text_key(), texts
        found = await self._uploads.result(key, lambda: TextJob(key, texts, release), client_gone, metrics.TEXT_CACHE)
        for text, vector in zip(texts, found, strict=True):
            if not isinstance(vector, BadQuery):
                self._cache.put(_key(release, text), vector)
        return found

    def _cleaned(self, text: str) -> str | BadQuery:
        try:
            return clean_text(text, self._max_chars)
        except BadQuery as error:
            return error.with_traceback(None)


def _key(release: Release, text: str) -> Key:
    return release.text_key(), sha256(text.encode()).digest()
