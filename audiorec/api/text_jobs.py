"""Texts on their way to vectors, in the queue that uploads go through."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from audiorec.api.pending import Pending
from audiorec.embed import Array
from audiorec.errors import BadQuery
from audiorec.release import Release
from audiorec.settings import Settings
from audiorec.text import BATCH_TEXTS

if TYPE_CHECKING:
    from audiorec.text_encoder import Tokens

Found = Array | BadQuery  # of a text: its vector, (D,), or why it has none


class TextJob(Pending[list[Found]]):
    """The texts of one request."""

    unit = "texts"

    def __init__(self, key: Hashable, texts: Sequence[str], release: Release) -> None:
        """texts: as `clean_text` leaves them."""
        super().__init__(key, release)
        self._left = list(texts)
        self._found: list[Found | None] = []
        self._taken: list[int] = []  # where in `_found` the vectors go that the encoder is to give

    @property
    def n_left(self) -> int:
        return len(self._left)

    def _take(self, n: int) -> "list[Tokens]":
        """Their tokens, as many as the text encoder reads of a text; one that has more is refused alone."""
        taken, self._left, self._taken = self._left[:n], self._left[n:], []
        tokens = []
        for of_text in map(self._tokens, taken):
            if isinstance(of_text, BadQuery):
                self._found.append(of_text)
            else:
                self._taken.append(len(self._found))
                self._found.append(None)
                tokens.append(of_text)
        return tokens

    def _tokens(self, text: str) -> "Tokens | BadQuery":
        try:
            return self.release.text_encoder.tokens(text)
        except BadQuery as error:
            return error.with_traceback(None)

    @staticmethod
    def batch_size(settings: Settings) -> int:
        return BATCH_TEXTS

    @staticmethod
    def encode(release: Release, parts: "Sequence[list[Tokens]]") -> Array:
        return release.text_encoder.encode_tokens([tokens for part in parts for tokens in part])

    def give(self, outputs: Array) -> None:
        for place, vector in zip(self._taken, outputs, strict=True):
            self._found[place] = vector

    def finished(self) -> list[Found]:
        return [found for found in self._found if found is not None]
