"""A sound file, whatever its container, to a clip: numpy for plain WAVs, libsndfile where it can, ffmpeg for the rest.

Decoders have faults that hostile files know of. Call `decode` where a crash costs nothing: `decoder.py` runs it in a
limited child process, and everything in audiorec that decodes goes through there.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np
import soundfile

from audiorec.audio import Pcm, Waveform, to_clip, too_long
from audiorec.audio.plain_wav import MAX_PLAIN_BYTES, decode_plain_wav
from audiorec.errors import BadAudio
from audiorec.files.memory import memory_file

BLOCK_SAMPLES = 2**16  # of all channels together: what is in memory at a time, whatever a header claims
MAX_CHANNELS = 64
LONG_OPUS_BYTES = 2**18  # about 20 s
PIPE_BYTES = 2**20  # as much as Linux lets anybody have: fewer turns between ffmpeg and us
STREAMED_SIZES = {0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFFFFF - 36}  # "unknown" of programs that write to a pipe
UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's word for a FLAC that was written to a pipe
TRUNCATED_RATIO = 0.99  # a WAV that holds less of its data than this has lost its end
FFMPEG_DEMUXERS = (  # containers that hold sound themselves: no playlists, no scripts, nothing that opens other files
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,dtshd,eac3,flac,flv,gsm,matroska,webm,mov,mp4,m4a,3gp,3g2,"
    "mp3,mpc,mpc8,mpeg,mpegts,ogg,tak,tta,voc,w64,wav,wv"
)
NIST_MAGIC = b"NIST_1A\n"  # the one sound format whose header is text
TRUNCATED_COMPLAINTS = ("partial file", "ended prematurely")  # ffmpeg mentions it, and succeeds
MAGIC = {  # leading bytes -> reason code, what it is
    b"\xff\xd8\xff": ("picture", "a JPEG picture"),
    b"\x89PNG": ("picture", "a PNG picture"),
    b"GIF8": ("picture", "a GIF picture"),
    b"%PDF": ("not_audio", "a PDF document"),
    b"PK\x03\x04": ("not_audio", "a ZIP archive"),
    b"\x1f\x8b": ("not_audio", "a gzip archive"),
    b"\x7fELF": ("not_audio", "a program"),
}


def decode(source: Path | bytes | BinaryIO, *, max_s: float) -> Pcm:
    """Decodes a file, or the bytes of one, to canonical PCM: (n_samples,) int16, mono, 16 kHz, peak-normalised.

    max_s: the longest clip that is accepted, counted while decoding. The extension is not looked at, only the content.
    Raises BadAudio, whose `code` is the reason.
    """
    if isinstance(source, bytes) and (pcm := decode_plain_wav(source, max_s=max_s)) is not None:
        return pcm
    with _opened(source) as file:
        _check_content(file)
        if (pcm := decode_plain_wav(_small_wav(file), max_s=max_s)) is not None:
            return pcm
        if _is_long_opus(file) and shutil.which("ffmpeg"):
            return _decode_by_ffmpeg(file, max_s)
        try:
            sound = _SoundStream(file.fileno(), closefd=False)
        except soundfile.LibsndfileError:
            return _decode_by_ffmpeg(file, max_s)
        with sound:
            return to_clip(_blocks(sound, max_s), sound.samplerate, max_s=max_s)


def _small_wav(file: BinaryIO) -> bytes:
    """All of the file where it is one; nothing where not. Leaves the file at its start."""
    head = file.read(12)
    is_one = head[:4] == b"RIFF" and head[8:] == b"WAVE" and file.seek(0, os.SEEK_END) <= MAX_PLAIN_BYTES
    file.seek(len(head))
    sound = head + file.read() if is_one else b""
    file.seek(0)
    return sound


def _is_long_opus(file: BinaryIO) -> bool:
    """ffmpeg decodes Opus in a third of the time that libopus in libsndfile takes; short ones end before it starts."""
    head = file.read(36)
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    return head.startswith(b"OggS") and head.endswith(b"OpusHead") and size_bytes >= LONG_OPUS_BYTES


class _SoundStream(soundfile.SoundFile):  # type: ignore[misc]
    """Read from start to end. SoundFile seeks after every read: slow, and an error at the end of some files."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _opened(source: Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    """A real file in any case, so that every decoder can seek in it and none is handed a name."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    elif isinstance(source, bytes):
        with memory_file() as file:
            file.write(source)
            file.seek(0)
            yield file
    else:
        source.seek(0)
        yield source


def _check_content(file: BinaryIO) -> None:
    """Refuses by the first bytes what would make a decoder guess. Leaves the file at its start."""
    head = file.read(512)
    size_bytes = file.seek(0, os.SEEK_END)
    if not head:
        raise BadAudio("got an empty file, expected sound", code="empty")
    for magic, (code, what) in MAGIC.items():
        if head.startswith(magic):
            raise BadAudio(f"got {what}, expected sound", code=code)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        raise BadAudio("got a WebP picture, expected sound", code="picture")
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        _check_wav(file, size_bytes)
    elif _is_text(head) and not head.startswith(NIST_MAGIC):
        raise BadAudio("got text, expected sound", code="text")
    file.seek(0)


def _is_text(head: bytes) -> bool:
    try:
        text = head[:500].decode()
    except UnicodeDecodeError as error:
        if error.start < len(head[:500]) - 3:  # else only the last character was cut
            return False
        text = head[: error.start].decode()
    return all(char.isprintable() or char in "\r\n\t\f\ufeff" for char in text)


def _check_wav(file: BinaryIO, size_bytes: int) -> None:
    """Refuses a WAV whose header lies: libsndfile believes the one kind and hides the other."""
    position = 12
    while position + 8 <= size_bytes:
        file.seek(position)
        chunk_id, chunk_bytes = struct.unpack("<4sI", file.read(8))
        if chunk_id == b"fmt ":
            fmt = file.read(8)
            if len(fmt) == 8 and struct.unpack("<4xI", fmt)[0] == 0:
                raise BadAudio(
                    "got a WAV header with a sample rate of 0 Hz, expected a real one", code="bad_sample_rate"
                )
        if chunk_id == b"data":
            there_bytes = size_bytes - position - 8
            if chunk_bytes not in STREAMED_SIZES and there_bytes < TRUNCATED_RATIO * chunk_bytes:
                raise BadAudio(
                    f"got {there_bytes:,} bytes of sound, expected {chunk_bytes:,} by the WAV's header: "
                    "the end is missing or the header is wrong, write the file again",
                    code="lying_header",
                )
            return
        position += 8 + chunk_bytes + chunk_bytes % 2


def _blocks(sound: soundfile.SoundFile, max_s: float) -> Iterator[Waveform]:
    """Yields (n_samples, n_channels) float32."""
    _check_channels(sound.channels)
    length_known = sound.format != "MP3" and sound.frames < UNKNOWN_FRAMES  # of an MP3 it may be a guess
    if length_known and sound.samplerate > 0 and sound.frames / sound.samplerate > max_s + 1:
        raise too_long(max_s, sound.frames / sound.samplerate)
    n_frames = max(1, BLOCK_SAMPLES // sound.channels)
    while True:
        try:
            block = sound.read(n_frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise BadAudio(
                f"got a {sound.format} file that breaks off or is damaged ({error.error_string}), expected a whole one",
                code="truncated",
            ) from None
        if not len(block):
            return
        yield cast(Waveform, block)


def _check_channels(n_channels: int) -> None:
    if not 1 <= n_channels <= MAX_CHANNELS:
        raise BadAudio(f"got {n_channels} channels, expected 1 to {MAX_CHANNELS}", code="bad_channels")


def _decode_by_ffmpeg(file: BinaryIO, max_s: float) -> Pcm:
    """Lets ffmpeg unpack the first sound stream at its own rate and channels; the rest of the recipe is ours."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise BadAudio(
            "got a container that needs ffmpeg, and no ffmpeg is installed: apt-get install ffmpeg", code="no_ffmpeg"
        )
    # `fd:` needs ffmpeg 6; /dev/fd can seek as well.
    arguments = ["-v", "error", "-nostdin", "-threads", "1", "-protocol_whitelist", "file,pipe"]
    arguments += ["-format_whitelist", FFMPEG_DEMUXERS, "-i", f"/dev/fd/{file.fileno()}", "-map", "0:a:0"]
    arguments += ["-vn", "-sn", "-dn", "-threads", "1", "-f", "wav", "-c:a", "pcm_f32le", "pipe:1"]
    with memory_file() as complaints:
        process = subprocess.Popen(
            [ffmpeg, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            pass_fds=[file.fileno()],
        )
        assert process.stdout is not None
        with suppress(AttributeError, OSError):  # not on Linux, or more than the system lets this person have
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            if (found := _read_wav_header(process.stdout)) is not None:
                sample_rate_hz, n_channels = found
                _check_channels(n_channels)
                pcm = to_clip(_float_blocks(process.stdout, n_channels), sample_rate_hz, max_s=max_s)
                if process.wait() == 0 and not any(what in _tail(complaints) for what in TRUNCATED_COMPLAINTS):
                    return pcm
                raise BadAudio("got a file that breaks off or is damaged, expected a whole one", code="truncated")
            process.wait()
            raise _ffmpeg_refusal(_tail(complaints))
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


def _read_wav_header(stream: IO[bytes]) -> tuple[int, int] | None:
    """(sample rate, channels) of a WAV that ffmpeg writes, read up to its samples; None where it wrote none."""
    found = None
    stream.read(12)  # RIFF, a size that is not known yet, WAVE
    while len(chunk := stream.read(8)) == 8:
        name, n_bytes = struct.unpack("<4sI", chunk)
        if name == b"data":
            return found
        content = stream.read(n_bytes)
        if name == b"fmt ":
            n_channels, sample_rate_hz = struct.unpack_from("<2xHI", content)
            found = sample_rate_hz, n_channels
    return None


def _float_blocks(stream: IO[bytes], n_channels: int) -> Iterator[Waveform]:
    """Yields (n_samples, n_channels) float32 from little-endian float PCM."""
    frame_bytes = 4 * n_channels
    n_bytes = max(1, BLOCK_SAMPLES // n_channels) * frame_bytes
    while data := stream.read(n_bytes):
        whole = data[: len(data) - len(data) % frame_bytes]
        yield np.frombuffer(whole, "<f4").reshape(-1, n_channels)


def _tail(complaints: BinaryIO) -> str:
    complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - 4096))
    return complaints.read().decode(errors="replace")


def _ffmpeg_refusal(complaint: str) -> BadAudio:
    if "matches no streams" in complaint:
        return BadAudio("got a file without any sound stream, expected sound", code="no_audio_stream")
    return BadAudio("got a file that neither libsndfile nor ffmpeg can read, expected sound", code="undecodable")
