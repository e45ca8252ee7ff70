"""Clips as the bytes of audio files, and their table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import soundfile

from audiorec.samples.catalogue import LICENSE, SOURCE, Clip

CHUNK_SAMPLES = 1 << 14
COLUMNS = ("path", "label", "artist", "license", "source", "group", "title", "tempo_bpm", "key")


def encode(clip: Clip) -> bytes:
    """The whole audio file of `clip`, tags included."""
    sound, form, buffer = clip.play(), clip.format, io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", form.rate_hz, form.n_channels, subtype=form.subtype, format=form.container
    ) as file:
        file.title, file.artist, file.album, file.license = clip.title, clip.artist, SOURCE, LICENSE
        # libsndfile crashes when it is handed a minute of stereo Vorbis at once.
        for start in range(0, len(sound), CHUNK_SAMPLES):
            file.write(sound[start : start + CHUNK_SAMPLES])
    return buffer.getvalue()


def is_complete(path: Path, clip: Clip) -> bool:
    """Whether `path` holds `clip` already, by its header."""
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError:
        return False
    form = clip.format
    return (info.frames, info.samplerate, info.channels) == (clip.n_samples, form.rate_hz, form.n_channels)


def labels(clips: Sequence[Clip]) -> bytes:
    """`labels.csv` for `clips`, with tempo and key as columns of its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip in clips:
        head = (clip.path, clip.family, clip.artist, LICENSE, SOURCE, clip.group, clip.title)
        writer.writerow((*head, clip.tempo_bpm or "", clip.key or ""))
    return text.getvalue().encode()
