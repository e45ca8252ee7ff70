"""From a file's bytes, whatever its container and whoever wrote it, to a clip or a reason."""

import errno
import os
import struct
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import BAD, RATE_HZ, Sound, bursts, encoded, noise, silent_flac, tone

import audiorec.audio.decode
from audiorec.audio import FULL_SCALE, Pcm
from audiorec.audio.decode import decode
from audiorec.audio.decoder import Decoder
from audiorec.errors import BadAudio

GOOD = {  # seconds by name
    "aac.m4a": 10.68,
    "bass.wma": 3.25,
    "bell.aiff": 0.278,
    "float32_48k.wav": 4.0,
    "mono_8bit_8k.wav": 0.481,
    "mono_96k.flac": 2.812,
    "stereo_24bit_44k.wav": 6.857,
    "surround_5_1.wav": 8.0,
    "tabla.opus": 10.674,
    "tagged.mp3": 8.0,
    "twenty_milliseconds.wav": 0.02,
    "video.webm": 3.0,
    "video_shorter_than_audio.mp4": 2.485,
    "ünïcödé 名前 with spaces.ogg": 0.884,
}
BY_FFMPEG = {"aac.m4a", "bass.wma", "video.webm", "video_shorter_than_audio.mp4", "video_without_audio.mp4"}


def clip_of(sound: Path | bytes, max_s: float = 60) -> Pcm:
    return decode(sound, max_s=max_s)


def refusal(sound: Path | bytes, max_s: float = 60) -> BadAudio:
    with pytest.raises(BadAudio) as refused:
        decode(sound, max_s=max_s)
    return refused.value


def strongest_hz(pcm: Pcm) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(spectrum.argmax() * RATE_HZ / len(pcm))


@pytest.mark.parametrize("name", GOOD)
def test_every_good_file_becomes_a_clip(
    name: str, shared: Path, decoder: Decoder, request: pytest.FixtureRequest
) -> None:
    if name in BY_FFMPEG:
        request.getfixturevalue("ffmpeg")
    path = shared / "formats/good" / name
    pcm = decoder.decode(path)
    assert len(pcm) / RATE_HZ == pytest.approx(GOOD[name], abs=0.06)
    assert np.abs(pcm.astype(int)).max() == FULL_SCALE
    np.testing.assert_array_equal(decoder.decode(path.read_bytes()), pcm, "as bytes it is another clip")


@pytest.mark.parametrize("name", BAD)
def test_every_bad_file_is_refused(name: str, shared: Path, decoder: Decoder, request: pytest.FixtureRequest) -> None:
    if name in BY_FFMPEG:
        request.getfixturevalue("ffmpeg")
    path = shared / "formats/bad" / name
    for sound in (path, path.read_bytes()):
        with pytest.raises(BadAudio, match=r"^got .*expected") as refused:
            decoder.decode(sound)
        assert refused.value.code == BAD[name]


def test_each_bad_file_has_a_reason_of_its_own_and_none_is_forgotten(shared: Path) -> None:
    assert len(set(BAD.values())) == len(BAD)
    assert {path.name for path in (shared / "formats/good").iterdir()} == set(GOOD)
    assert {path.name for path in (shared / "formats/bad").iterdir()} == set(BAD)


@pytest.mark.parametrize("container", sorted(soundfile.available_formats().keys() - {"RAW", "SD2"}))
def test_every_container_of_libsndfile(container: str) -> None:
    sound = encoded(tone(1.0), RATE_HZ, container)
    info = soundfile.info(BytesIO(sound))  # some have a rate of their own
    pcm = clip_of(sound)
    assert len(pcm) == pytest.approx(RATE_HZ * info.frames / info.samplerate, abs=2)
    assert strongest_hz(pcm) == pytest.approx(440 * info.samplerate / RATE_HZ, abs=3)


@pytest.mark.parametrize("subtype", sorted(soundfile.available_subtypes("WAV").keys() - {"MPEG_LAYER_III"}))
def test_every_encoding_in_wav(subtype: str) -> None:
    telephone = subtype.startswith(("NMS", "G7", "GSM"))
    n_tolerance = 700 if telephone or "ADPCM" in subtype else 0  # what comes in blocks is rounded up to one
    rate_hz = 8_000 if telephone else RATE_HZ
    pcm = clip_of(encoded(tone(1.0, 440, rate_hz), rate_hz, "WAV", subtype))
    assert len(pcm) == pytest.approx(RATE_HZ, abs=n_tolerance)
    assert strongest_hz(pcm) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("n_channels", [1, 2, 6])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
def test_one_sound_in_many_shapes_is_one_clip(subtype: str, n_channels: int, rate_hz: int) -> None:
    channels = np.repeat(tone(1.0, 440, rate_hz)[:, None], n_channels, axis=1)
    difference = clip_of(encoded(channels, rate_hz, "WAV", subtype)).astype(int) - clip_of(encoded(tone(1.0)))
    assert np.abs(difference[100:-100]).max() <= (600 if subtype == "PCM_U8" else 40)  # of 32,767


def test_floats_above_full_scale_are_not_clipped() -> None:
    sound = bursts(1.0)
    np.testing.assert_allclose(
        clip_of(encoded(sound * 40, RATE_HZ, "WAV", "FLOAT")), clip_of(encoded(sound, RATE_HZ, "WAV", "FLOAT")), atol=1
    )


def test_the_extension_is_not_looked_at(tmp_path: Path) -> None:
    misnamed = tmp_path / "really_mp3.wav"
    misnamed.write_bytes(encoded(tone(1.0), RATE_HZ, "MP3"))
    np.testing.assert_array_equal(clip_of(misnamed), clip_of(misnamed.read_bytes()))


def test_reading_does_not_seek(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile.SoundFile, "seek", lambda *_: pytest.fail("it seeks after every read"))
    assert len(clip_of(encoded(tone(6.0), RATE_HZ, "FLAC"))) == 6 * RATE_HZ


def wav(data_bytes: int | None = None, rate_hz: int = RATE_HZ, n_channels: int = 1, chunks: bytes = b"") -> bytes:
    """One second of noise, with a header that says what it is told to."""
    pcm = (noise(1.0) * FULL_SCALE).astype("<i2").tobytes()
    data_bytes = len(pcm) if data_bytes is None else data_bytes
    bytes_per_s, frame_bytes = 2 * rate_hz % 2**32, 2 * n_channels % 2**16
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, n_channels, rate_hz, bytes_per_s, frame_bytes, 16)
    body = b"WAVE" + fmt + chunks + struct.pack("<4sI", b"data", data_bytes) + pcm
    return struct.pack("<4sI", b"RIFF", min(data_bytes, 2**32 - 37) + 36) + body


@pytest.mark.parametrize("data_bytes", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFFFFF - 36])
def test_a_wav_that_was_written_to_a_pipe(data_bytes: int) -> None:
    np.testing.assert_array_equal(clip_of(wav(data_bytes)), clip_of(wav()))


@pytest.mark.parametrize("chunks", [b"LIST\x06\0\0\0INFOxy", b"bext\x03\0\0\0abc\0", b"junk\0\0\0\0" * 300])
def test_a_wav_with_other_chunks_first(chunks: bytes) -> None:
    np.testing.assert_array_equal(clip_of(wav(chunks=chunks)), clip_of(wav()))


@pytest.mark.parametrize("data_bytes", [32_400, 64_000, 4_294_967_280])
@pytest.mark.parametrize("chunks", [b"", b"odd \x03\0\0\0abc\0"])
def test_a_wav_whose_header_promises_more(data_bytes: int, chunks: bytes) -> None:
    error = refusal(wav(data_bytes, chunks=chunks))
    assert error.code == "lying_header"
    assert f"got 32,000 bytes of sound, expected {data_bytes:,}" in error.message


def test_a_wav_without_its_last_few_samples_is_good_enough() -> None:
    assert len(clip_of(wav()[:-200])) == RATE_HZ - 100


@pytest.mark.parametrize(("n_bytes", "code"), [(3, "text"), (30, "undecodable"), (44, "lying_header")])
def test_a_wav_cut_inside_its_header(n_bytes: int, code: str, ffmpeg: str) -> None:
    assert refusal(wav()[:n_bytes]).code == code


@pytest.mark.parametrize("rate_hz", [0, 1, 999, 2**31 - 1])
def test_a_wav_of_an_impossible_rate(rate_hz: int) -> None:
    error = refusal(wav(rate_hz=rate_hz))
    assert error.code == "bad_sample_rate"
    assert f" {rate_hz} Hz, expected" in error.message


def test_too_many_channels() -> None:
    crowd = np.repeat(tone(0.1)[:, None], 65, axis=1)
    error = refusal(encoded(crowd))
    assert error.code == "bad_channels"
    assert "got 65 channels, expected 1 to 64" in error.message
    assert len(clip_of(encoded(crowd[:, :64]))) == 1_600


@pytest.mark.parametrize("n_channels", [0, 1_024, 65_535])
def test_a_wav_of_an_impossible_number_of_channels(n_channels: int, ffmpeg: str) -> None:
    assert refusal(wav(n_channels=n_channels)).code in ("bad_channels", "undecodable", "no_samples")


def test_nist_sphere_whose_header_is_text() -> None:
    sound = encoded(tone(1.0), RATE_HZ, "NIST")
    header, pcm = sound[:1024].rstrip(b"\0"), sound[1024:]
    assert header.isascii()
    np.testing.assert_array_equal(clip_of(header.ljust(1024) + pcm), clip_of(encoded(tone(1.0))))


def a_zip() -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("sound.wav", wav())
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"these are not the bytes of a sound\n" * 100, "text", id="text"),
        pytest.param("\ufeffBöse Überraschung: ".encode() + "é".encode() * 600, "text", id="UTF-8 cut in a character"),
        pytest.param(b"<!DOCTYPE html><title>404 Not Found</title>", "text", id="a web page"),
        pytest.param(b'{"error": "sign in"}', "text", id="JSON"),
        pytest.param(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(500), "picture", id="JPEG"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(500), "picture", id="PNG"),
        pytest.param(b"GIF89a" + bytes(500), "picture", id="GIF"),
        pytest.param(b"RIFF\x10\0\0\0WEBPVP8 " + bytes(500), "picture", id="WebP"),
        pytest.param(b"%PDF-1.7\n%\xe2\xe3", "not_audio", id="PDF"),
        pytest.param(a_zip(), "not_audio", id="ZIP"),
        pytest.param(b"\x1f\x8b\x08" + bytes(100), "not_audio", id="gzip"),
        pytest.param(b"\x7fELF\x02\x01\x01" + bytes(100), "not_audio", id="program"),
        pytest.param(encoded(np.zeros(8_000, np.float32)), "silent", id="silence"),
        pytest.param(encoded(np.full(8_000, 0.5, np.float32)), "offset_only", id="offset"),
        pytest.param(encoded(tone(1.0)[:0]), "no_samples", id="a header alone"),
        pytest.param(encoded(tone(1.0)[:1]), "too_short", id="one sample"),
        pytest.param(encoded(np.full(8_000, np.nan, np.float32), RATE_HZ, "WAV", "FLOAT"), "not_finite", id="NaN"),
        pytest.param(encoded(np.stack([tone(1.0), -tone(1.0)], 1)), "cancelled_out", id="opposite channels"),
    ],
)
def test_what_is_no_sound_is_refused(content: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "sound.mp3").write_bytes(content)
    for sound in (content, tmp_path / "sound.mp3"):
        error = refusal(sound)
        assert error.code == code
        assert error.message.startswith("got ")
        assert str(tmp_path) not in error.message


@pytest.mark.parametrize("container", ["FLAC", "OGG", "MP3", "AIFF", "W64", "CAF"])
def test_noise_with_a_good_beginning(container: str, ffmpeg: str) -> None:
    start = encoded(tone(0.5), RATE_HZ, container)[:16]
    assert refusal(start + np.random.default_rng(0).bytes(50_000)).code in ("undecodable", "truncated", "no_samples")


@pytest.mark.parametrize("content", [bytes(100_000), np.random.default_rng(1).bytes(100_000)], ids=["zeros", "random"])
def test_bytes_without_meaning(content: bytes, ffmpeg: str) -> None:
    assert refusal(content).code == "undecodable"


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.999])
def test_a_flac_without_its_end(kept: float) -> None:
    whole = encoded(noise(3.0), RATE_HZ, "FLAC")
    assert refusal(whole[: int(kept * len(whole))]).code == "truncated"


def test_a_flac_with_a_hole() -> None:
    whole = bytearray(encoded(noise(3.0), RATE_HZ, "FLAC"))
    whole[len(whole) // 2 :][:2_000] = bytes(2_000)
    whole[len(whole) // 2 : len(whole) // 2 + 2_000] = bytes(2_000)
    assert refusal(bytes(whole)).code == "truncated"


def test_a_flac_of_unknown_length_is_read_to_its_end() -> None:
    whole = bytearray(encoded(noise(5.0), RATE_HZ, "FLAC"))
    known = clip_of(bytes(whole))
    whole[21] &= 0xF0
    whole[22:26] = bytes(4)
    assert soundfile.info(BytesIO(whole)).frames == 2**63 - 1
    np.testing.assert_array_equal(clip_of(bytes(whole)), known)


@pytest.mark.parametrize("length_known", [True, False])
def test_ten_hours_of_silence_are_refused_after_few_samples(
    length_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = silent_flac(36_000, length_known=length_known)
    assert len(bomb) < 200_000
    n_read = 0
    read = soundfile.SoundFile.read

    def counting_read(*args: Any, **options: Any) -> Sound:
        nonlocal n_read
        block: Sound = read(*args, **options)
        n_read += len(block)
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counting_read)
    error = refusal(bomb)
    assert error.code == "too_long"
    assert ("got 36000.0 s" if length_known else "got more") in error.message
    assert n_read <= (0 if length_known else 60_000 + 2 * audiorec.audio.decode.BLOCK_SAMPLES)


def test_a_block_of_many_channels_is_no_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(
        audiorec.audio.decode, "to_clip", lambda blocks, rate_hz, max_s: sizes.extend(b.size for b in blocks)
    )
    clip_of(encoded(np.zeros((50_000, 64), np.float32)))
    assert sum(sizes) == 50_000 * 64
    assert max(sizes) <= audiorec.audio.decode.BLOCK_SAMPLES


def by_ffmpeg(ffmpeg: str, path: Path, *arguments: str, sound: Sound | None = None) -> bytes:
    """Bytes of a file that ffmpeg wrote to `path` of 3 s of noise at 44.1 kHz, or of another sound."""
    sound = noise(3.0, 0, 44_100) if sound is None else sound
    command = [ffmpeg, "-v", "error", "-y", "-i", "pipe:0", *arguments, str(path)]
    subprocess.run(command, input=encoded(sound, 44_100), check=True)
    return path.read_bytes()


AAC = ("-c:a", "aac")
FAST_START = ("-movflags", "+faststart")
BLACK = ("-f", "lavfi", "-i", "color=size=64x64:rate=10:duration=3", "-shortest")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sound.m4a", AAC),
        ("sound.mp4", (*BLACK, *AAC, "-c:v", "mpeg4")),
        ("sound.webm", (*BLACK, "-c:a", "libopus", "-c:v", "libvpx")),
        ("sound.mka", AAC),
        ("sound.wma", ("-c:a", "wmav2")),
        ("sound.aac", AAC),
        ("sound.wv", ("-c:a", "wavpack")),
        ("sound.avi", ("-c:a", "mp2")),
    ],
)
def test_a_container_that_needs_ffmpeg(name: str, arguments: tuple[str, ...], ffmpeg: str, tmp_path: Path) -> None:
    sound = by_ffmpeg(ffmpeg, tmp_path / name, *arguments, sound=tone(3.0, 440, 44_100))
    pcm = clip_of(sound)
    assert len(pcm) / RATE_HZ == pytest.approx(3.0, abs=0.15)
    assert strongest_hz(pcm) == pytest.approx(440, abs=1)
    np.testing.assert_array_equal(clip_of(tmp_path / name), pcm)


def test_a_video_without_sound(ffmpeg: str, tmp_path: Path) -> None:
    silent_film = by_ffmpeg(ffmpeg, tmp_path / "film.mp4", *BLACK, "-map", "1:v", "-c:v", "mpeg4")
    assert refusal(silent_film).code == "no_audio_stream"


@pytest.mark.parametrize("kept", [0.4, 0.9])
@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("index_first.m4a", (*AAC, *FAST_START), "truncated"),
        ("index_last.m4a", AAC, "undecodable"),
        ("sound.webm", ("-c:a", "libopus"), "truncated"),
    ],
)
def test_a_container_without_its_end(
    name: str, arguments: tuple[str, ...], code: str, kept: float, ffmpeg: str, tmp_path: Path
) -> None:
    whole = by_ffmpeg(ffmpeg, tmp_path / name, *arguments)
    assert len(clip_of(whole)) > 2.9 * RATE_HZ
    assert refusal(whole[: int(kept * len(whole))]).code == code


def test_the_limit_holds_for_ffmpeg_which_is_ended(
    ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    long = by_ffmpeg(ffmpeg, tmp_path / "long.m4a", *AAC, sound=tone(20.0, 440, 44_100))
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    assert refusal(long, max_s=2.0).code == "too_long"
    assert [process.returncode is None for process in started] == [False]


def test_without_ffmpeg_the_reason_says_so(ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = by_ffmpeg(ffmpeg, tmp_path / "sound.m4a", *AAC)
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refusal(sound)
    assert (error.code, "apt-get install ffmpeg" in error.message) == ("no_ffmpeg", True)


def test_a_pipe_that_may_not_grow_is_no_reason_to_refuse(
    ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    sound = by_ffmpeg(ffmpeg, tmp_path / "sound.m4a", *AAC)
    monkeypatch.setattr("fcntl.fcntl", refused)
    assert len(clip_of(sound)) > 2.9 * RATE_HZ


def test_a_long_opus_is_the_same_clip_with_and_without_ffmpeg(ffmpeg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opus = encoded(bursts(40.0, 0, 48_000), 48_000, "OGG", "OPUS")
    assert len(opus) > 2**18
    with_ffmpeg = clip_of(opus)
    monkeypatch.setenv("PATH", "/nowhere")
    np.testing.assert_allclose(clip_of(opus), with_ffmpeg.astype(int), atol=1)


def test_mp3_of_varying_bitrate_that_does_not_say_how_long_it_is(ffmpeg: str, tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(2 * 44_100, np.float32), noise(8.0, 0, 44_100)])
    mp3 = by_ffmpeg(ffmpeg, tmp_path / "vbr.mp3", "-q:a", "0", "-write_xing", "0", sound=sound)
    info = soundfile.info(BytesIO(mp3))
    assert info.frames / info.samplerate > 20, "libsndfile has learnt to count"
    assert len(clip_of(mp3, max_s=11)) / RATE_HZ == pytest.approx(10, abs=0.1)


def playlist(kind: str, target: Path) -> bytes:
    """Not quite text, so that it gets as far as ffmpeg."""
    return {
        "hls": f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10,\nfile://{target}\n#EXT-X-ENDLIST\n".encode(),
        "ffconcat": f"ffconcat version 1.0\nfile {target}\n".encode(),
        "dash": f"<?xml version='1.0'?><MPD><Period><BaseURL>file://{target}</BaseURL></Period></MPD>".encode(),
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 49170 RTP/AVP 0\na=control:{target}\n".encode(),
    }[kind] + b"#\xff\xfe\0\n"


@pytest.fixture
def tripwire(tmp_path: Path) -> Iterator[tuple[Path, threading.Event]]:
    """A named pipe, and what happens when anyone opens it."""
    path, opened = tmp_path / "secret.ts", threading.Event()
    os.mkfifo(path)

    def wait_for_a_reader() -> None:
        with path.open("wb"):
            opened.set()

    waiting = threading.Thread(target=wait_for_a_reader)
    waiting.start()
    yield path, opened
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # lets the thread go
    waiting.join()


@pytest.mark.parametrize("kind", ["hls", "ffconcat", "dash", "sdp"])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_playlist_is_refused_and_what_it_names_never_opened(
    kind: str, as_bytes: bool, tripwire: tuple[Path, threading.Event], tmp_path: Path, ffmpeg: str
) -> None:
    target, opened = tripwire
    listed = tmp_path / "innocent.mp3"
    listed.write_bytes(playlist(kind, target))
    assert refusal(listed.read_bytes() if as_bytes else listed).code == "undecodable"
    assert not opened.is_set(), f"ffmpeg opened the file that the {kind} playlist names"


def test_the_tripwire_works(tripwire: tuple[Path, threading.Event], tmp_path: Path, ffmpeg: str) -> None:
    """The same ffmpeg, without our list of containers, falls for it."""
    target, opened = tripwire
    (tmp_path / "innocent.mp3").write_bytes(playlist("hls", target))
    command = [ffmpeg, "-v", "quiet", "-nostdin", "-i", str(tmp_path / "innocent.mp3"), "-f", "null", "-"]
    subprocess.run(command, check=False)
    assert opened.is_set()


def test_a_text_playlist_is_text(tmp_path: Path) -> None:
    assert refusal(playlist("hls", tmp_path / "secret.wav")[:-5]).code == "text"


def outcome(decoder: Decoder, sound: bytes) -> str:
    try:
        pcm = decoder.decode(sound)
    except BadAudio as error:
        return error.code
    whole = 80 <= len(pcm) <= 3 * RATE_HZ and np.abs(pcm.astype(int)).max() == FULL_SCALE
    return "a clip" if whole else "no clip"


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_damage_anywhere_gives_a_clip_or_a_reason(container: str, decoder: Decoder, ffmpeg: str) -> None:
    whole = encoded(bursts(1.0), RATE_HZ, container)
    rng = np.random.default_rng(0)
    pieces = [whole[: len(whole) * tenths // 10] for tenths in (10, 9, 7, 5, 3, 1)]
    pieces += [whole[1:], whole[len(whole) // 2 :]]
    for _ in range(6):
        flipped = np.frombuffer(whole, np.uint8).copy()
        flipped[rng.integers(len(whole), size=20)] = rng.integers(256, size=20)
        pieces.append(flipped.tobytes())
    outcomes = [outcome(decoder, piece) for piece in pieces]
    assert not {"decoder_crashed", "decode_timeout", "no clip"} & set(outcomes)
    assert outcomes[0] == "a clip"
