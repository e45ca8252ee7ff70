"""What a generator is tuned on: the converted clips of a catalogue, and a caption of each."""

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiorec.audio import FULL_SCALE
from audiorec.audio.wav import HEADER_BYTES
from audiorec.catalogue.convert import CLIPS_FILE, read_conversion
from audiorec.errors import BadCatalogue, BadModelDir
from audiorec.publishing.workplace import Workplace
from audiorec.release import open_release
from audiorec.training.data import MIN_CLIPS, MIN_GROUPS, Array, Clip, read_clips
from audiorec.training.generator.captions import DEFAULT_TEMPLATE, captions
from audiorec.training.loop import Say


@dataclass(frozen=True)
class Captioned(Clip):
    """A clip, and what it is called."""

    caption: str


def captioned_clips(wav_dir: Path, model_dir: Path, template: str, say: Say) -> list[Captioned]:
    """The converted clips that have a caption, each sound once. model_dir: what the person named; where it has a
    current release, clips that were removed from that are not learnt from.

    Raises BadCatalogue where there are too few, or nothing is known of any; BadSetting for a template.
    """
    conversion = read_conversion(wav_dir)
    rows = {row["sha256"]: row for row in conversion.clips}
    clips = {clip.path.stem: clip for clip in read_clips(wav_dir)}
    if wav_dir == Workplace(model_dir).wav_dir:
        of_release = _of_release(model_dir, rows.keys(), say)
        clips = {sha256: clip for sha256, clip in clips.items() if sha256 in of_release}
    texts = captions([rows[sha256] for sha256 in clips], conversion.columns, template)
    captioned = [
        Captioned(clip.path, clip.n_samples, clip.group, text)
        for clip, text in zip(clips.values(), texts, strict=True)
        if text
    ]
    _check(captioned, len(clips), template)
    common = ", ".join(repr(text[:60]) for text, _ in Counter(clip.caption for clip in captioned).most_common(3))
    without = len(clips) - len(captioned)
    left_out = f"; {without} without are left out" if without else ""
    say(f"{len(captioned)} clips with a caption, as {common}{left_out}")
    return captioned


def _of_release(model_dir: Path, converted: Set[str], say: Say) -> Set[str]:
    """The hashes of the sounds of the current release; where there is none yet, of all that were converted."""
    try:
        release = open_release(model_dir)
    except BadModelDir:
        return converted
    of_release = {str(one) for one in release.metadata.column("sha256").take(np.arange(len(release.metadata)))}
    if missing := len(of_release - converted):
        say(f"{missing} clips of release {release.name}, which were added, have no converted sound: not learnt from")
    if gone := len(converted - of_release):
        say(f"{gone} converted clips are not in release {release.name}: not learnt from")
    return of_release


def _check(captioned: list[Captioned], n_clips: int, template: str) -> None:
    if not captioned:
        said = template or DEFAULT_TEMPLATE
        raise BadCatalogue(
            f"got no caption for any of {n_clips} clips from {said!r}, expected something to be known of them: "
            "put a labels.csv with a column caption, label, artist or title beside them, or clips into a folder a "
            "label, and convert again; or say --caption"
        )
    n_groups = len({clip.group for clip in captioned})
    if len(captioned) < MIN_CLIPS or n_groups < MIN_GROUPS:
        raise BadCatalogue(
            f"got {len(captioned)} clips with a caption, of {n_groups} groups, expected at least {MIN_CLIPS} clips of "
            f"{MIN_GROUPS} groups: add clips, or captions"
        )


def check_sound(audio_dir: Path) -> None:
    """Raises BadCatalogue for a release, or a model directory, whose converted clips are elsewhere."""
    if any((folder / CLIPS_FILE).exists() for folder in (audio_dir, Workplace(audio_dir).wav_dir)):
        return
    try:
        release = open_release(audio_dir)
    except BadModelDir:
        return
    raise BadCatalogue(
        f"got {audio_dir} with release {release.name}, which has vectors and no sound, expected the sound of its "
        "clips: name the folder of clips, or convert it to there by `audiorec convert AUDIO_DIR MODEL_DIR`"
    )


def crop(clip: Clip, crop_samples: int, rng: np.random.Generator) -> Array:
    """A random part of a clip, (crop_samples,) float32 in [-1, 1]; a shorter clip ends in silence, as it ought to when
    it is generated.
    """
    pcm = np.memmap(clip.path, "<i2", "r", offset=HEADER_BYTES)
    part = np.zeros(crop_samples, np.float32)
    start = int(rng.integers(max(1, len(pcm) - crop_samples + 1)))
    cut = pcm[start : start + crop_samples]
    part[: len(cut)] = cut / np.float32(FULL_SCALE)
    return part
