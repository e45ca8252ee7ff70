"""WAVs as recorders and browsers write them, read by numpy alone: three times as fast, and no content can make it fall.

Only what is exactly as it should be: a few encodings at common rates, each number of the header in accord with the
others and with the file; what is resampled is finite. Of any other file nothing is said, it is for `decode.py`.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from audiorec.audio import Pcm, Waveform, to_clip, too_long

MAX_PLAIN_BYTES = 2**23  # takes 0.13 s and 85 MB at most; for what takes longer there is a child, which can be ended
MAX_CHANNELS = 8
RATES_HZ = {8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000}
FORMATS = {(1, 16): "<i2", (1, 24): "<i3", (1, 32): "<i4", (3, 32): "<f4"}  # WAV's number and bits -> what they are
OTHER_CHUNKS = {b"LIST", b"fact", b"PEAK", b"bext", b"JUNK"}  # say nothing about the samples
MAX_OTHER_CHUNKS = 8
BLOCK_SAMPLES = 2**16  # of all channels together, that are floats at a time


class Layout(NamedTuple):
    kind: str  # of a sample: one of FORMATS
    n_channels: int
    rate_hz: int
    start: int  # position of the first sample
    n_samples: int  # of all channels together


def decode_plain_wav(sound: bytes, *, max_s: float) -> Pcm | None:
    """The same clip as `decode`, (n_samples,) int16, from the bytes of a file; None where that one must look.

    Raises BadAudio as `decode` does.
    """
    layout = _layout(sound) if len(sound) <= MAX_PLAIN_BYTES else None
    if layout is None:
        return None
    length_s = layout.n_samples / layout.n_channels / layout.rate_hz
    if length_s > max_s + 1:
        raise too_long(max_s, length_s)
    return to_clip(_blocks(sound, layout), layout.rate_hz, max_s=max_s)


def _layout(sound: bytes) -> Layout | None:
    if len(sound) < 44 or sound[:4] != b"RIFF" or sound[8:16] != b"WAVEfmt ":
        return None
    number, n_channels, rate_hz, bytes_per_s, frame_bytes, bits = struct.unpack_from("<HHIIHH", sound, 20)
    kind, position = FORMATS.get((number, bits)), 36
    if _number(sound, 4) != len(sound) - 8 or _number(sound, 16) != 16 or kind is None:
        return None
    if rate_hz not in RATES_HZ or not 1 <= n_channels <= MAX_CHANNELS:
        return None
    if frame_bytes != n_channels * bits // 8 or bytes_per_s != rate_hz * frame_bytes:
        return None
    for _ in range(MAX_OTHER_CHUNKS):
        if sound[position : position + 4] in OTHER_CHUNKS:
            position += 8 + _number(sound, position + 4)
            position += position % 2
    name, n_bytes, start = sound[position : position + 4], _number(sound, position + 4), position + 8
    if name != b"data" or n_bytes % frame_bytes or start + n_bytes + n_bytes % 2 != len(sound):
        return None
    return Layout(kind, n_channels, rate_hz, start, 8 * n_bytes // bits)


def _number(sound: bytes, position: int) -> int:
    """0 behind the end."""
    return int.from_bytes(sound[position : position + 4], "little")


def _blocks(sound: bytes, layout: Layout) -> Iterator[Waveform]:
    """Yields (n_samples, n_channels) float32."""
    step = BLOCK_SAMPLES // layout.n_channels * layout.n_channels
    for first in range(0, layout.n_samples, step):
        n = min(step, layout.n_samples - first)
        yield _floats(sound, layout.kind, layout.start + first * int(layout.kind[2]), n).reshape(-1, layout.n_channels)


def _floats(sound: bytes, kind: str, start: int, n: int) -> Waveform:
    """n samples from a position on: (n,) float32."""
    if kind == "<f4":
        return np.frombuffer(sound, "<f4", n, start)
    packed = kind == "<i3"  # read four bytes at a time, of which the lowest is not its own
    samples = np.ndarray(n, "<i4", sound, start - 1, 3) >> 8 if packed else np.frombuffer(sound, kind, n, start)
    scaled: Waveform = np.multiply(samples, np.float32(2.0 ** (1 - 8 * int(kind[2]))), dtype=np.float32)
    return scaled
