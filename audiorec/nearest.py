"""Queries on an open release: an embedding, a clip of it, a sound or a text, to ranked clips. Knows no HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from audiorec.audio.decoder import DecodeLimits, Decoder
from audiorec.embed import Embedding, embed
from audiorec.errors import BadAudio, BadQuery, BadVector
from audiorec.metadata.filters import Mask, evaluate, parse_filter
from audiorec.release import Release, open_release
from audiorec.text import clean_text

Array = npt.NDArray[np.float32]

DEFAULT_K = 10


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A clip of an answer. similarity: the cosine, 1 = same. distance: Annoy's angular, sqrt(2 - 2 cos), 0 = same.

    metadata: the columns that have no field here, the person's own among them. predicted_label: what the release's
    classifier says, whatever the label is; None in a release without one.
    """

    rank: int
    clip_id: str
    similarity: float
    distance: float
    url: str
    title: str
    artist: str
    label: str
    metadata: dict[str, Any]
    predicted_label: str | None = None


class Neighbours(Sequence[Neighbour]):
    """An answer, nearest first. What is known of a clip is read when it is looked at."""

    __slots__ = ("_release", "rows", "similarities")

    def __init__(self, rows: list[int], similarities: list[float], release: Release) -> None:
        self.rows = rows
        self.similarities = similarities
        self._release = release

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Neighbour: ...
    @overload
    def __getitem__(self, index: slice) -> list[Neighbour]: ...
    def __getitem__(self, index: int | slice) -> Neighbour | list[Neighbour]:
        if isinstance(index, slice):
            return list(self)[index]
        rank = range(len(self))[index]
        alone = Neighbours(self.rows[rank : rank + 1], self.similarities[rank : rank + 1], self._release)
        return Neighbour(**{**alone.to_dicts()[0], "rank": rank + 1})

    def __iter__(self) -> Iterator[Neighbour]:
        for known in self.to_dicts():
            yield Neighbour(**known)

    def to_dicts(self) -> list[dict[str, Any]]:
        """The results as the HTTP contract has them."""
        known = self._release.rows(self.rows)
        return [
            {
                "rank": rank,
                "clip_id": clip.pop("clip_id"),
                "similarity": round(similarity, 6),
                "distance": round(distance_of(similarity), 6),
                **clip,
            }
            for rank, (clip, similarity) in enumerate(zip(known, self.similarities, strict=True), start=1)
        ]


def distance_of(similarity: float) -> float:
    """Annoy's angular distance of a cosine: 0 = same direction, 2 = opposite."""
    return float(max(0.0, 2.0 - 2.0 * similarity) ** 0.5)


class Nearest:
    """The neighbours of anything, in one release.

    >>> nearest = Nearest("exp/demo")
    >>> for clip in nearest.search(vector, k=3, filter={"label": "bells"}):
    ...     print(clip.rank, clip.clip_id, clip.similarity)
    """

    def __init__(self, model_dir: Path | str | Release) -> None:
        """model_dir: a model directory, a release, or one that is open. Raises BadModelDir."""
        self.release = model_dir if isinstance(model_dir, Release) else open_release(model_dir)

    def search(
        self,
        vector: npt.ArrayLike,
        k: int = DEFAULT_K,
        *,
        filter: Mapping[str, Any] | None = None,
        exclude: Sequence[str] = (),
        max_per_artist: int | None = None,
    ) -> Neighbours:
        """The k clips nearest to an embedding; k of them whenever k clips pass.

        vector: D finite numbers, of any length but zero. filter: see `filters.py`. exclude: clip ids, unknown ones are
        passed over. max_per_artist: at most so many clips by one artist; a clip without an artist is its own.
        Raises BadVector, BadQuery.
        """
        return self._search(self.unit_vector(vector), k, filter, self._rows_of(exclude), max_per_artist)

    def search_id(
        self,
        clip_id: str,
        k: int = DEFAULT_K,
        *,
        filter: Mapping[str, Any] | None = None,
        exclude: Sequence[str] = (),
        max_per_artist: int | None = None,
    ) -> Neighbours:
        """The k clips nearest to one of the catalogue, itself left out. Raises UnknownClip, BadQuery."""
        row = self.release.metadata.row_of(clip_id)
        excluded = [row, *self._rows_of(exclude)]
        return self._search(self.release.embeddings[row], k, filter, excluded, max_per_artist)

    def search_file(
        self, path: Path | str, k: int = DEFAULT_K, *, max_s: float = DecodeLimits.max_s, **options: Any
    ) -> Neighbours:
        """The k clips nearest to a sound file; max_s as in `embed_file`, options as in `search`.

        Raises BadAudio, BadQuery.
        """
        return self.search(self.embed_file(path, max_s=max_s).vector, k, **options)

    def search_text(self, text: str, k: int = DEFAULT_K, **options: Any) -> Neighbours:
        """The k clips nearest to what a text says, where the release has a text encoder; options as in `search`.

        Raises BadQuery for a text that cannot be looked for, and for a release without a text encoder.
        """
        (vector,) = self.embed_texts([text])
        return self.search(vector, k, **options)

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Texts to (N, D) float32 unit vectors, to be compared with those of sounds. Raises BadQuery, BadModelDir."""
        return embed_texts(texts, self.release)

    def embed_file(self, path: Path | str, *, max_s: float = DecodeLimits.max_s) -> Embedding:
        """A sound file of up to max_s seconds to its embedding, by the recipe of the catalogue. Raises BadAudio."""
        return embed_file(path, self.release, max_s=max_s)

    def unit_vector(self, vector: npt.ArrayLike) -> Array:
        """Checks an embedding from outside and scales it: (D,) float32, unit norm. Raises BadVector."""
        try:
            given = np.asarray(vector)
            if given.dtype.kind not in "fiuO":  # numpy would read text and truth values as numbers
                raise TypeError
            checked = given.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            raise BadVector(f"got an embedding that is not a list of numbers, expected {self.release.dim}") from None
        if checked.shape != (self.release.dim,):
            got = f"{checked.shape[0]} numbers" if checked.ndim == 1 else f"shape {checked.shape}"
            raise BadVector(
                f"got an embedding of {got}, expected {self.release.dim}: "
                f"make it with this release's encoder, {self.release.manifest.encoder.name}"
            )
        largest = np.abs(checked).max()
        if not np.isfinite(largest):
            raise BadVector("got an embedding with NaN or infinity in it, expected finite numbers")
        if largest == 0:
            raise BadVector("got an embedding of zeros, expected one that has a direction")
        checked = checked / largest  # so that neither very small nor very large numbers overflow when squared
        unit: Array = (checked / np.sqrt(checked @ checked)).astype(np.float32)
        return unit

    def _rows_of(self, clip_ids: Sequence[str]) -> list[int]:
        rows = (self.release.metadata.find(clip_id) for clip_id in clip_ids)
        return [row for row in rows if row is not None]

    def _allowed(self, filter: Mapping[str, Any] | None) -> Mask | None:
        wanted = parse_filter({} if filter is None else filter)
        return evaluate(wanted, self.release.metadata) if wanted.conditions else None

    def _search(
        self,
        unit_vector: Array,
        k: int,
        filter: Mapping[str, Any] | None,
        excluded: Sequence[int],
        max_per_artist: int | None,
    ) -> Neighbours:
        if k < 1:
            raise BadQuery(f"got k = {k}, expected 1 or more")
        if max_per_artist is not None and max_per_artist < 1:
            raise BadQuery(f"got max_per_artist = {max_per_artist}, expected 1 or more")
        metadata = self.release.metadata
        hits = self.release.engine.search(
            unit_vector[None],
            min(k, len(metadata)),
            allowed=self._allowed(filter),
            excluded=excluded,
            groups=metadata.groups if max_per_artist else None,
            group_cap=max_per_artist,
        )
        rows = hits.rows[0].tolist()
        n_found = rows.index(-1) if rows and rows[-1] == -1 else len(rows)
        return Neighbours(rows[:n_found], hits.similarities[0, :n_found].tolist(), self.release)


def embed_file(path: Path | str, release: Release | Path | str, *, max_s: float = DecodeLimits.max_s) -> Embedding:
    """A sound file to its embedding by the encoder of a release (or of a model directory's current one).

    max_s: the longest that is taken, in seconds; unless said, what a build takes.

    Returns an `Embedding`; its `vector` is (D,) float32, unit norm. Raises BadAudio, BadModelDir.
    """
    opened = release if isinstance(release, Release) else open_release(release)
    decoder = Decoder(DecodeLimits(max_s=max_s))
    try:
        return embed(decoder.decode(Path(path)), opened.encoder)
    except BadAudio as error:
        if error.code != "unreadable":
            raise
        raise BadAudio(f"{error.message}: {path}, expected a file of sound", code=error.code) from None
    finally:
        decoder.close()


def embed_texts(texts: Sequence[str], release: Release | Path | str) -> Array:
    """Texts to vectors by the text encoder of a release (or of a model directory's current one).

    Returns (N, D) float32, unit norm. Raises BadQuery for a text that cannot be looked for, and for a release without a
    text encoder; BadModelDir.
    """
    opened = release if isinstance(release, Release) else open_release(release)
    encoder = opened.text_encoder  # first: without one, it matters little what the texts are
    return encoder.encode([clean_text(text) for text in texts])
