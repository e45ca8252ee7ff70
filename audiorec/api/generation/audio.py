"""The file of a sound, in the format that was asked for: made when it is asked for first, then kept beside the WAV."""

import io
from threading import Lock
from typing import BinaryIO, cast

import soundfile

from audiorec.errors import SoundGone
from audiorec.generate.sound import Sound, encode_sound
from audiorec.jobs.sounds import Sounds

_ENCODING = Lock()  # one at a time in a worker: queries come first


def opened_sound(sounds: Sounds, key: str, kind: str) -> tuple[BinaryIO, int]:
    """(an open file, its bytes). For threads. Raises SoundGone, JobsUnavailable."""
    file = sounds.find(key)
    if file is None:
        raise SoundGone("got a sound that is not kept any more, expected one: ask for it again")
    n_bytes = sounds.size(file, kind)
    if n_bytes is not None:
        return cast(BinaryIO, sounds.open(file, kind)), n_bytes
    if kind == "wav":
        raise SoundGone("got a sound that is not kept any more, expected one: ask for it again")
    with _ENCODING:
        content = encoded(sounds.read(file), kind)
    sounds.add(file, kind, content)
    return io.BytesIO(content), len(content)


def encoded(wav: bytes, kind: str) -> bytes:
    samples, rate_hz = soundfile.read(io.BytesIO(wav), dtype="float32")
    return encode_sound(Sound(samples, rate_hz), kind)
