"""The real clips nearest to a generated sound, and to the words it was made from."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from audiorec.audio.decode import decode
from audiorec.audio.decoder import DecodeLimits
from audiorec.embed import Embedding, embed
from audiorec.errors import BadQuery
from audiorec.generate.sound import Sound, encode_sound
from audiorec.nearest import DEFAULT_K, Nearest, Neighbours
from audiorec.release import Release


@dataclass(frozen=True)
class Recommendation:
    """by_prompt: nearest to the words, where the release has a text encoder that can read them."""

    by_sound: Neighbours
    by_prompt: Neighbours | None
    release: str

    @property
    def agreed(self) -> list[str]:
        """The ids of the clips that both name, those nearest to the sound first."""
        if self.by_prompt is None:
            return []
        also = set(self.by_prompt.rows)
        return [clip.clip_id for row, clip in zip(self.by_sound.rows, self.by_sound, strict=True) if row in also]

    def to_json(self) -> dict[str, Any]:
        """`results` as in an answer of `nearest`; the last two null where texts cannot be looked for."""
        results = {"results": self.by_sound.to_dicts(), "release": self.release}
        if self.by_prompt is None:
            return {**results, "by_prompt": None, "agreed": None}
        return {**results, "by_prompt": self.by_prompt.to_dicts(), "agreed": self.agreed}


def recommend(
    sound: Sound | bytes,
    nearest: Nearest,
    k: int = DEFAULT_K,
    *,
    prompt: str | None = None,
    max_per_artist: int | None = None,
    filter: Mapping[str, Any] | None = None,
) -> Recommendation:
    """The k clips nearest to a sound, and to the prompt where one is given and the release can read it.

    sound: what a generator made, or the bytes of its WAV. Options as in `Nearest.search`. Raises BadAudio, BadQuery.
    """
    options: dict[str, Any] = {"k": k, "filter": filter, "max_per_artist": max_per_artist}
    by_sound = nearest.search(embed_sound(sound, nearest.release).vector, **options)
    by_prompt = None
    if prompt is not None and nearest.release.has_text:
        with suppress(BadQuery):  # more words than it can read: they made a sound all the same
            (vector,) = nearest.embed_texts([prompt])
            by_prompt = nearest.search(vector, **options)
    return Recommendation(by_sound, by_prompt, nearest.release.name)


def embed_sound(sound: Sound | bytes, release: Release) -> Embedding:
    """A sound to its embedding as if its WAV were uploaded: by the very recipe of the catalogue. Raises BadAudio."""
    wav = sound if isinstance(sound, bytes) else encode_sound(sound, "wav")
    return embed(decode(wav, max_s=DecodeLimits.max_s), release.encoder)  # our own: no need of a process that may die
