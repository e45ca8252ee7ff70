"""The other sources of the corpus: free recordings, General MIDI, composed music, speech."""

import ctypes.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import RATE_HZ, noise, tone

from audiorec.audio import FULL_SCALE, SAMPLE_RATE_HZ
from audiorec.errors import BadSetting
from audiorec.training.corpus import espeak, fluid, general_midi, music, real, speech
from audiorec.training.corpus.clip import Clip
from audiorec.training.corpus.composer import DEGREES, HIGHEST_KEY, KEYS, LOUDNESS, LOWEST_KEY, PARTS, compose
from audiorec.training.corpus.instruments import PERCUSSION, PROGRAMS
from audiorec.training.corpus.styles import STYLES
from audiorec.training.corpus.words import WORDS

needs_fluidsynth = pytest.mark.skipif(
    ctypes.util.find_library("fluidsynth") is None
    or not all(font.path.is_file() for font in fluid.SOUNDFONTS.values()),
    reason="apt-get install fluidsynth fluid-soundfont-gm musescore-general-soundfont",
)
needs_espeak = pytest.mark.skipif(
    ctypes.util.find_library("espeak-ng") is None, reason="apt-get install espeak-ng"
)  # fmt: skip

Maker = Callable[[Sequence[int], int], object]


@pytest.mark.parametrize(
    "licence",
    [
        "CC0-1.0", "CC0", "(CC0)", "CC-BY-4.0", "CC-BY-SA-3.0", "CC BY 3.0: https://creativecommons.org/licenses/by/",
        "CC-BY https://creativecommons.org/licenses/by/3.0/", "CC-BY-SA-3.0 (not to be sold or offered as is)",
        "cc-by-sa-2.5",
    ],
)  # fmt: skip
def test_a_licence_that_is_free(licence: str) -> None:
    assert real.is_free(licence)


@pytest.mark.parametrize(
    "licence",
    [
        "", "unknown", "CC-BY-NC-3.0", "CC BY-NC 3.0: https://creativecommons.org/licenses/by-nc/3.0/", "CC-BY NC 3.0",
        "CC-BY-NC-ND-2.0", "CC-BY-NC-SA-2.5", "CC-BY-ND-4.0", "GPLv3", "CC-BY-SA-3.0 or GPLv3", "CC-BY-SA-3.0 or GPLv2",
        "Attribution Noncommercial  (3.0) license.", "CC BY (non commercial)", "All rights reserved", "CCBYNC",
        "CC-BY-SA-3.0, no derivatives", "Attribution License.", "MIT or unknown", "by permission, not CC-BY",
        "CC-BY-NC4.0", "CC BY-NC4", "CC-BY-ND4.0", "CC-BY-NCSA-3.0", "CC-BY-SA_NC", "CC-BY-SANC", "CC-BY NonCom",
        "CC-BY 3.0, 4.0NC", "CC-BY, personal use only", "CC BY, all rights reserved", "CC BY 3.0, Sampling Plus",
    ],
)  # fmt: skip
def test_a_licence_that_is_not(licence: str) -> None:
    assert not real.is_free(licence)


def make_set(folder: Path, rows: list[str]) -> None:
    folder.mkdir(parents=True)
    (folder / "labels.csv").write_text("\n".join(["path,label,artist,license,source,group", *rows]) + "\n")


def test_only_free_rows_are_read_and_credited(tmp_path: Path) -> None:
    rows = ["a.wav,bd,Ann,CC0-1.0,git:x@1:a,g1", "b.wav,misc,Bo,unknown,git:x@1:b,g2", "c.wav,double_bass,,CC-BY-4.0,,"]
    make_set(tmp_path / "first", rows)
    make_set(tmp_path / "second", ["d.wav,3,Cy,CC-BY-NC-4.0,,", "e.wav,3,Cy,CC-BY-SA-4.0,git:y,Cy"])
    for name in ("first/a", "first/b", "first/c", "second/d", "second/e"):
        soundfile.write(tmp_path / f"{name}.wav", tone(0.3), RATE_HZ)
    found = list(real.clips(real.recordings(tmp_path)))
    assert [clip.label for clip in found] == ["kick", "double bass", "word three"]
    assert [clip.licence for clip in found] == ["CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0"]
    assert [clip.credit for clip in found] == ["Ann, git:x@1:a", "unknown, first", "Cy, git:y"]
    assert found[2].instance == "second/Cy/word three"


def test_long_recordings_come_as_excerpts_and_bad_ones_not_at_all(tmp_path: Path) -> None:
    make_set(tmp_path / "set", ["long.wav,sea,,CC0,,g", "bad.wav,sea,,CC0,,h", "gone.wav,sea,,CC0,,i"])
    soundfile.write(tmp_path / "set/long.wav", noise(30.0), RATE_HZ)
    (tmp_path / "set/bad.wav").write_text("no sound")
    found = list(real.clips(real.recordings(tmp_path)))
    assert [round(len(clip.pcm) / SAMPLE_RATE_HZ, 3) for clip in found] == [real.EXCERPT_S] * 3
    assert len({clip.pcm[:1000].tobytes() for clip in found}) == 3
    assert len({clip.instance for clip in found}) == 1


def test_a_folder_without_tables(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"expected a folder of sets, each with a labels\.csv"):
        real.recordings(tmp_path)


def test_what_must_not_be_learnt_from_is_not(shared: Path) -> None:
    sets = {recording.set_name for recording in real.recordings(shared)}
    assert sets == {"music", "philharmonia", "sonicpi", "spoken_digits"}


class AnyKit:
    """A soundfont that has every kit but one."""

    def has(self, bank: int, number: int) -> bool:
        return number != 25


@pytest.mark.parametrize("name", STYLES)
def test_a_style_composes_what_a_synthesiser_can_play(name: str) -> None:
    for seed in range(4):
        piece, take = np.random.default_rng(seed), np.random.default_rng(100 + seed)
        programs, notes = compose(STYLES[name], piece, take, 8.0, AnyKit())  # type: ignore[arg-type]
        assert len(notes) > 3
        channels = {program.channel for program in programs}
        assert {note.channel for note in notes} <= channels
        assert all(0 <= program.number < 128 for program in programs)
        assert all(note.start_s >= 0 and 0 < note.length_s < 60 and 1 <= note.velocity <= 127 for note in notes)
        keys = [note.key for note in notes if note.channel != fluid.DRUM_CHANNEL]
        assert all(LOWEST_KEY <= key <= HIGHEST_KEY for key in keys)
        assert programs[-1].number != 25


@pytest.mark.parametrize("name", STYLES)
def test_the_patterns_of_a_style_are_bars_that_can_be_read(name: str) -> None:
    style = STYLES[name]
    for pattern in style.drums:
        assert set(pattern) <= set(KEYS)
        assert set("".join(pattern.values())) <= {*LOUDNESS, "."}
    assert set("".join(style.bass)) <= {*DEGREES, "."}
    assert set("".join(style.chords)) <= {*LOUDNESS, *"1234."}
    patterns = [*style.bass, *style.chords, *(bar for pattern in style.drums for bar in pattern.values())]
    assert all(len(bar) in (8, 12, 16) for bar in patterns)
    assert bool(style.bass) == bool(style.basses)
    assert bool(style.chords) == bool(style.comps)
    assert any((style.drums[0], style.bass, style.chords)), "a style that plays nothing"


def test_a_piece_is_the_same_in_each_take_but_for_key_tempo_and_touch() -> None:
    def played(take: int) -> list[fluid.Note]:
        rngs = np.random.default_rng(5), np.random.default_rng(take)
        return compose(STYLES["salsa"], *rngs, 60.0, AnyKit())[1]  # type: ignore[arg-type]

    first, second = (
        [note for note in played(take) if note.channel == PARTS["bass"].channel][:400] for take in (1, 2)
    )  # fmt: skip
    assert first != second
    intervals = [{after.key - before.key for before, after in pairwise(notes)} for notes in (first, second)]
    assert intervals[0] == intervals[1]


def test_the_tables_of_general_midi_are_whole() -> None:
    assert len(PROGRAMS) == 128
    assert [PROGRAMS[number].name for number in (0, 24, 40, 56, 73, 127)] == [
        "grand piano", "nylon guitar", "violin", "trumpet", "flute", "gunshot",
    ]  # fmt: skip
    assert all(0 < low < high < 128 for low, high in (program.range for program in PROGRAMS))
    assert set(range(35, 82)) <= set(PERCUSSION)
    assert {key for keys in KEYS.values() for key in keys} <= set(PERCUSSION)


def test_words_are_words() -> None:
    assert len(WORDS) == len(set(WORDS)) > 300
    assert WORDS[:10] == ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    assert {"dog", "yes", "stop"} <= set(WORDS)
    assert all(word.replace("-", "").isalpha() and word.islower() for word in WORDS)


@needs_fluidsynth
@pytest.mark.parametrize("maker", [general_midi.notes, general_midi.percussion, music.music])
def test_what_a_soundfont_plays(maker: Callable[[Sequence[int], int], Sequence[Clip]]) -> None:
    clips, again = list(maker((1, 2, 3), 12)), list(maker((1, 2, 3), 12))
    assert len(clips) >= 10
    for clip, same in zip(clips, again, strict=True):
        np.testing.assert_array_equal(clip.pcm, same.pcm)
        assert np.abs(clip.pcm).max() == FULL_SCALE
        assert clip.licence == "MIT"
        assert clip.credit in {font.package for font in fluid.SOUNDFONTS.values()}
    assert 1 < len({clip.instance for clip in clips}) <= 6
    assert len({clip.pcm.tobytes() for clip in clips}) == len(clips)


@needs_fluidsynth
def test_a_note_has_its_pitch_and_its_place() -> None:
    with fluid.synthesisers() as fonts:
        for font in fonts.values():
            sound = font.play([fluid.Program(0, 73)], [fluid.Note(0.5, 1.0, 0, 69, 100)], 2.0)
            assert len(sound) == 2 * fluid.RATE_HZ
            assert np.abs(sound[: int(0.49 * fluid.RATE_HZ)]).max() < 1e-3
            middle = sound[int(0.8 * fluid.RATE_HZ) : int(1.3 * fluid.RATE_HZ)]
            spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 4 * len(middle)))
            hz = np.fft.rfftfreq(4 * len(middle), 1 / fluid.RATE_HZ)
            around = (hz > 420) & (hz < 460)
            assert abs(hz[around][spectrum[around].argmax()] - 440) < 5
            assert spectrum[around].max() > 0.1 * spectrum.max()
            with pytest.raises(BadSetting, match="got program 3 of bank 99"):
                font.play([fluid.Program(0, 3, 99)], [], 0.1)


@needs_espeak
def test_what_is_said() -> None:
    clips, again = list(speech.speech((1, 2), 24)), list(speech.speech((1, 2), 24))
    assert len(clips) == 24
    for clip, same in zip(clips, again, strict=True):
        np.testing.assert_array_equal(clip.pcm, same.pcm)
        assert 0.05 < len(clip.pcm) / SAMPLE_RATE_HZ < 10
    words = [clip for clip in clips if clip.instance.startswith("word/")]
    assert all(clip.label == f"word {clip.instance[5:]}" and clip.instance[5:] in WORDS for clip in words)
    assert len({clip.take for clip in words}) > 3
    voices = [clip for clip in clips if not clip.instance.startswith("word/")]
    assert all(clip.label.startswith("speech in ") for clip in voices)
    for instance in {clip.instance for clip in voices}:
        assert len({clip.take for clip in voices if clip.instance == instance}) == 1


BREATHY = """
import ctypes, hashlib, sys
from audiorec.training.corpus.espeak import speaker
for _ in range(int(sys.argv[1])):
    ctypes.CDLL(None).rand()
print(hashlib.sha256(speaker().say("one", "en-gb-scotland+f5", 160, 50, 50)).hexdigest())
"""


@needs_espeak
def test_a_breathy_voice_says_the_same_whatever_else_has_drawn_numbers() -> None:
    said = [subprocess.check_output([sys.executable, "-c", BREATHY, n_drawn]) for n_drawn in ("0", "3")]
    assert said[0] == said[1]


@needs_espeak
def test_every_voice_is_there() -> None:
    said = [
        espeak.speaker().say("one", f"{language}+m1", 160, 50, 50) for language in {*speech.ACCENTS, *speech.LANGUAGES}
    ]
    said += [espeak.speaker().say("one", f"en-us+{variant}", 160, 50, 50) for variant in speech.VARIANTS]
    assert all(len(one) > 1000 and np.abs(one).max() > 0.01 for one in said)
    with pytest.raises(BadSetting, match="got voice xx-nowhere"):
        espeak.speaker().say("one", "xx-nowhere", 160, 50, 50)


def test_without_the_programs_it_names_the_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = {"fluid": fluid.Soundfont(tmp_path / "no.sf2", "fluid-soundfont-gm")}
    monkeypatch.setattr(fluid, "SOUNDFONTS", missing)
    with pytest.raises(BadSetting, match=r"got no soundfont no\.sf2.*apt-get install fluid-soundfont-gm"):
        fluid.Synthesiser("fluid")
    (tmp_path / "no.sf2").write_bytes(b"RIFF")
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    fluid._library.cache_clear()
    with pytest.raises(BadSetting, match=r"got no libfluidsynth.*apt-get install fluidsynth"):
        fluid.Synthesiser("fluid")
    with pytest.raises(BadSetting, match=r"got no libespeak-ng.*apt-get install espeak-ng"):
        espeak.Speaker()


@needs_fluidsynth
def test_a_soundfont_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bad.sf2").write_bytes(b"RIFF" + bytes(100))
    monkeypatch.setattr(fluid, "SOUNDFONTS", {"fluid": fluid.Soundfont(tmp_path / "bad.sf2", "some-soundfont")})
    with pytest.raises(BadSetting, match=r"got a broken soundfont bad\.sf2.*install some-soundfont again"):
        fluid.Synthesiser("fluid")
