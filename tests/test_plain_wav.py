"""Plain WAVs read by numpy: bit for bit what libsndfile makes of them, and nothing said of any other file."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from sounds import RATE_HZ, Sound, bursts, encoded, noise, tone

import audiorec.audio.decode
from audiorec.audio import Pcm
from audiorec.audio.decode import decode
from audiorec.audio.plain_wav import MAX_CHANNELS, MAX_OTHER_CHUNKS, MAX_PLAIN_BYTES, RATES_HZ, decode_plain_wav
from audiorec.errors import BadAudio

Outcome = list[int] | tuple[str, str]


@pytest.fixture
def by_libsndfile(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Outcome]:
    """What becomes of a file where nothing is read by numpy alone: its samples, or code and message."""
    monkeypatch.setattr(audiorec.audio.decode, "decode_plain_wav", lambda *_, **__: None)
    return lambda sound: outcome(lambda: decode(sound, max_s=60))


def outcome(decoding: Callable[[], Pcm | None]) -> Outcome:
    try:
        pcm = decoding()
    except BadAudio as error:
        return error.code, error.message
    return [] if pcm is None else pcm.tolist()


def by_numpy(sound: bytes) -> Outcome:
    """[] where it says nothing."""
    return outcome(lambda: decode_plain_wav(sound, max_s=60))


def channels(n: int, length_s: float = 0.3, rate_hz: int = RATE_HZ) -> Sound:
    """(n_samples, n), each different."""
    return np.stack([bursts(length_s, seed, rate_hz, peak=0.3 + 0.05 * seed) for seed in range(n)], axis=1)


@pytest.mark.parametrize("rate_hz", sorted(RATES_HZ))
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_every_encoding_at_every_rate(subtype: str, rate_hz: int, by_libsndfile: Callable[[bytes], Outcome]) -> None:
    sound = encoded(channels(2, rate_hz=rate_hz), rate_hz, "WAV", subtype)
    assert by_numpy(sound) == by_libsndfile(sound) != []


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("n_channels", range(1, MAX_CHANNELS + 1))
def test_any_number_of_channels(n_channels: int, subtype: str, by_libsndfile: Callable[[bytes], Outcome]) -> None:
    sound = wav(encoded_samples(channels(n_channels, 2.7), subtype), n_channels, subtype)
    assert by_numpy(sound) == by_libsndfile(sound) != []


def encoded_samples(sound: Sound, subtype: str) -> bytes:
    """The content of a data chunk."""
    if subtype == "FLOAT":
        return sound.astype("<f4").tobytes()
    bits = int(subtype[4:])
    whole = (sound.astype(np.float64) * (2 ** (bits - 1) - 1)).astype("<i4")
    packed: bytes = whole.ravel().view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()
    return packed


def wav(
    samples: bytes,
    n_channels: int = 1,
    subtype: str = "PCM_16",
    rate_hz: int = RATE_HZ,
    *,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A file of exactly the form that is read by numpy, unless there is something before or after its samples."""
    number, bits = (3, 32) if subtype == "FLOAT" else (1, int(subtype[4:]))
    frame_bytes = n_channels * bits // 8
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, number, n_channels, rate_hz, rate_hz * frame_bytes, frame_bytes, bits)
    padding = bytes(len(samples) % 2)
    body = b"WAVE" + fmt + before + struct.pack("<4sI", b"data", len(samples)) + samples + padding + after
    return struct.pack("<4sI", b"RIFF", len(body)) + body


SAMPLES = encoded_samples(noise(0.2), "PCM_16")
PLAIN = wav(SAMPLES)


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(wav(encoded_samples(tone(0.1)[:1599], "PCM_24"), 1, "PCM_24"), id="an odd number of bytes"),
        pytest.param(wav(b"\x00\x80\xff\x7f" * 500), id="full scale of 16 bits"),
        pytest.param(wav(b"\x00\x00\x80\xff\xff\x7f\x01\x00\x00" * 500, 1, "PCM_24"), id="full scale of 24"),
        pytest.param(wav(b"\x00\x00\x00\x80\xff\xff\xff\x7f" * 500, 1, "PCM_32"), id="full scale of 32"),
        pytest.param(wav(encoded_samples(noise(0.2) * 40, "FLOAT"), 1, "FLOAT"), id="floats above full scale"),
        pytest.param(wav(SAMPLES, before=b"LIST\x06\0\0\0INFOxy"), id="a list before"),
        pytest.param(wav(SAMPLES, before=b"JUNK\x03\0\0\0abc\0" * MAX_OTHER_CHUNKS), id="odd chunks before"),
    ],
)
def test_at_the_edges(sound: bytes, by_libsndfile: Callable[[bytes], Outcome]) -> None:
    assert by_numpy(sound) == by_libsndfile(sound) != []


@pytest.mark.parametrize(
    ("sound", "code"),
    [
        pytest.param(wav(b""), "no_samples", id="nothing"),
        pytest.param(wav(bytes(100)), "too_short", id="50 samples"),
        pytest.param(wav(bytes(10_000)), "silent", id="silence"),
        pytest.param(wav(b"\x00\x20" * 8_000), "offset_only", id="offset"),
        pytest.param(wav(np.full(8_000, np.nan, "<f4").tobytes(), 1, "FLOAT"), "not_finite", id="NaN"),
        pytest.param(wav(np.full(8_000, 1e30, "<f4").tobytes(), 1, "FLOAT"), "not_finite", id="beyond measure"),
        pytest.param(wav(encoded_samples(noise(62.0), "PCM_16")), "too_long", id="62 s of 60"),
        pytest.param(wav(encoded_samples(noise(60.5), "PCM_16")), "too_long", id="60.5 s of 60"),
    ],
)
def test_refusals_are_the_same(sound: bytes, code: str, by_libsndfile: Callable[[bytes], Outcome]) -> None:
    assert by_numpy(sound) == by_libsndfile(sound)
    assert by_numpy(sound)[0] == code


def changed(position: int, *new: int) -> bytes:
    return PLAIN[:position] + bytes(new) + PLAIN[position + len(new) :]


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(PLAIN[:43], id="no whole header"),
        pytest.param(PLAIN[:-2], id="without its end"),
        pytest.param(PLAIN + b"\0\0", id="more than it says"),
        pytest.param(changed(3, ord("X")), id="RIFX"),
        pytest.param(changed(8, ord("w")), id="no WAVE"),
        pytest.param(changed(4, 0, 0, 0, 0), id="the wrong size"),
        pytest.param(changed(4, 0xFF, 0xFF, 0xFF, 0xFF), id="written to a pipe"),
        pytest.param(changed(16, 18), id="a long format chunk"),
        pytest.param(changed(20, 0xFE, 0xFF), id="extensible"),
        pytest.param(changed(20, 7), id="mu-law"),
        pytest.param(changed(22, 0, 0), id="no channel"),
        pytest.param(changed(22, 2, 0), id="channels that the frames do not have"),
        pytest.param(changed(24, 0, 0, 0, 0), id="0 Hz"),
        pytest.param(changed(24, 0x99, 0x3E), id="16025 Hz"),
        pytest.param(changed(28, 1), id="the wrong bytes a second"),
        pytest.param(changed(32, 4), id="the wrong bytes a frame"),
        pytest.param(changed(34, 12), id="12 bits"),
        pytest.param(changed(36, ord("x")), id="an unknown chunk"),
        pytest.param(changed(40, 0xFF, 0xFF, 0xFF, 0xFF), id="samples without end"),
        pytest.param(wav(SAMPLES + b"\0"), id="half a sample"),
        pytest.param(wav(SAMPLES, after=b"LIST\x04\0\0\0INFO"), id="a list after"),
        pytest.param(wav(SAMPLES, before=b"JUNK\0\0\0\0" * (MAX_OTHER_CHUNKS + 1)), id="many chunks"),
        pytest.param(wav(SAMPLES, before=b"LIST\xff\xff\xff\x7f"), id="a list without end"),
        pytest.param(wav(bytes(2 * (MAX_CHANNELS + 1)), MAX_CHANNELS + 1), id="9 channels"),
        pytest.param(wav(bytes(MAX_PLAIN_BYTES)), id="large"),
        pytest.param(encoded(tone(1.0), RATE_HZ, "WAV", "PCM_U8"), id="8 bits"),
        pytest.param(encoded(tone(1.0), RATE_HZ, "WAV", "DOUBLE"), id="64 bits"),
        pytest.param(encoded(tone(1.0), RATE_HZ, "WAVEX", "PCM_16"), id="WAVEX"),
        pytest.param(encoded(tone(1.0), RATE_HZ, "FLAC"), id="FLAC"),
    ],
)
def test_of_any_other_file_nothing_is_said(sound: bytes) -> None:
    assert decode_plain_wav(sound, max_s=60) is None


def test_whatever_is_said_of_a_damaged_file_is_what_libsndfile_says(by_libsndfile: Callable[[bytes], Outcome]) -> None:
    rng = np.random.default_rng(0)
    whole = {subtype: wav(encoded_samples(channels(2, 0.05), subtype), 2, subtype) for subtype in ("PCM_16", "FLOAT")}
    n_said = 0
    for number in range(400):
        sound = bytearray(whole["PCM_16" if number % 2 else "FLOAT"])
        for position in rng.integers(60, size=rng.integers(1, 4)):
            sound[position] = rng.choice([0, 1, 2, 3, 16, 24, 32, 128, 255, sound[position] ^ 1, rng.integers(256)])
        damaged = bytes(sound[: rng.integers(len(sound))] if number % 10 == 0 else sound)
        if (said := by_numpy(damaged)) != []:
            n_said += 1
            assert said == by_libsndfile(damaged), damaged[:60]
    assert 20 < n_said < 380  # both happen


def test_decode_reads_plain_wavs_so_by_every_door(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("wav") / "plain.wav"
    path.write_bytes(PLAIN)
    monkeypatch.setattr(audiorec.audio.decode, "_SoundStream", lambda *_, **__: pytest.fail("by libsndfile"))
    with path.open("rb") as file:
        assert [len(decode(source, max_s=60)) for source in (PLAIN, path, file)] == [3_200] * 3
