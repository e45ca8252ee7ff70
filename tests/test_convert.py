"""A folder of clips to converted WAVs and a table: once each, whatever happens on the way."""

import json
import os
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import encoded, make_clips, noise, tone

from audiorec.audio import RECIPE_VERSION, SAMPLE_RATE_HZ
from audiorec.audio.decode import decode
from audiorec.audio.decoder import DecodeLimits
from audiorec.audio.tags import read_tags
from audiorec.audio.wav import convert_file, read_wav, wav_path
from audiorec.catalogue import scan
from audiorec.catalogue.convert import CLIPS_FILE, REFUSED_FILE, Conversion, convert, read_conversion
from audiorec.catalogue.ledger import LEDGER_FILE, Ledger
from audiorec.errors import BadAudio, BadCatalogue, NoSpace
from audiorec.files.tsv import read_tsv

CLIP_IDS = [
    "noises/bursts.wav",
    "noises/long.flac",
    "noises/white.wav",
    "tones/high.flac",
    "tones/höher.ogg",
    "tones/low.wav",
]


def run(clips_dir: Path, wav_dir: Path, **options: Any) -> Conversion:
    return convert(clips_dir, wav_dir, n_workers=1, **options)


def ids(conversion: Conversion) -> list[str]:
    return [clip["clip_id"] for clip in conversion.clips]


def codes(conversion: Conversion) -> dict[str, str]:
    return {refusal.clip_id: refusal.code for refusal in conversion.refusals}


def tables(wav_dir: Path) -> tuple[bytes, bytes]:
    return (wav_dir / CLIPS_FILE).read_bytes(), (wav_dir / REFUSED_FILE).read_bytes()


def wavs(wav_dir: Path) -> dict[Path, int]:
    """When each converted clip was written."""
    return {path: path.stat().st_mtime_ns for path in wav_dir.rglob("*.wav")}


@pytest.fixture(scope="session")
def converted_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Clips and what two workers made of them; tests get copies."""
    folder = tmp_path_factory.mktemp("convert")
    clips_dir, wav_dir = make_clips(folder / "clips"), folder / "wav"
    convert(clips_dir, wav_dir, n_workers=2)
    return clips_dir, wav_dir


@pytest.fixture
def converted(converted_once: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Folders of one test's own, converted and up to date."""
    clips_dir, wav_dir = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in converted_once)
    ledger = wav_dir / LEDGER_FILE
    ledger.write_text(ledger.read_text().replace(str(converted_once[0]), str(clips_dir)))
    assert run(clips_dir, wav_dir).n_new == 0
    return clips_dir, wav_dir


def test_every_clip_is_converted_and_every_refusal_written_down(converted: tuple[Path, Path]) -> None:
    _, wav_dir = converted
    clips = list(read_tsv(wav_dir / CLIPS_FILE))
    assert [clip["clip_id"] for clip in clips] == CLIP_IDS
    assert [clip["label"] for clip in clips] == ["noises"] * 3 + ["tones"] * 3
    assert [clip["duration_s"] for clip in clips] == ["9.0000", "13.0000", "0.4000", "0.5000", "0.7000", "0.6000"]
    (refused,) = read_tsv(wav_dir / REFUSED_FILE)
    assert (refused["clip_id"], refused["code"]) == ("noises/broken.wav", "text")
    assert "expected sound" in refused["message"]
    assert set(wavs(wav_dir)) == {wav_path(wav_dir, clip["sha256"]) for clip in clips}


def test_a_converted_clip_is_the_clip_bit_for_bit(converted: tuple[Path, Path]) -> None:
    clips_dir, wav_dir = converted
    for clip in read_conversion(wav_dir).clips:
        source = clips_dir / clip["clip_id"]
        pcm = read_wav(wav_dir, clip["sha256"])
        np.testing.assert_array_equal(pcm, decode(source, max_s=60), clip["clip_id"])
        np.testing.assert_array_equal(pcm, decode(source.read_bytes(), max_s=60), clip["clip_id"])
        stored, rate_hz = soundfile.read(wav_path(wav_dir, clip["sha256"]), dtype="int16")
        np.testing.assert_array_equal(pcm, stored, clip["clip_id"])
        assert rate_hz == SAMPLE_RATE_HZ


def test_what_was_converted_can_be_read_again(converted: tuple[Path, Path]) -> None:
    clips_dir, wav_dir = converted
    now, later = run(clips_dir, wav_dir), read_conversion(wav_dir)
    assert later.clips == [{name: clip.get(name, "") for name in now.columns} for clip in now.clips]
    assert (later.columns, later.refusals) == (now.columns, now.refusals)
    assert later.hours == pytest.approx((9 + 13 + 0.4 + 0.5 + 0.7 + 0.6) / 3600)
    with pytest.raises(BadCatalogue, match=rf"got elsewhere without {CLIPS_FILE}, .* run `audiorec convert`"):
        read_conversion(wav_dir.parent / "elsewhere")


def test_a_second_run_converts_nothing(converted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    clips_dir, wav_dir = converted
    before, written = tables(wav_dir), wavs(wav_dir)
    monkeypatch.setattr("audiorec.catalogue.convert.DecoderPool", lambda *_: pytest.fail("a decoder was started"))
    assert run(clips_dir, wav_dir).n_new == 0
    assert (tables(wav_dir), wavs(wav_dir)) == (before, written)


def test_the_order_of_work_does_not_show(converted: tuple[Path, Path], tmp_path: Path) -> None:
    clips_dir, wav_dir = converted
    convert(clips_dir, tmp_path / "again", n_workers=3)
    assert tables(tmp_path / "again") == tables(wav_dir)


def test_a_relative_folder_is_the_same_folder(converted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(converted[0])
    assert run(Path("."), Path("../wav")).n_new == 0


def test_only_what_changed_is_converted(converted: tuple[Path, Path]) -> None:
    clips_dir, wav_dir = converted
    written = wavs(wav_dir)
    os.utime(clips_dir / "tones/low.wav")  # touched: looked at, and found to be the same
    (clips_dir / "noises/white.wav").write_bytes(encoded(noise(0.8, 9)))
    (clips_dir / "noises/new.wav").write_bytes(encoded(noise(0.3, 10)))
    (clips_dir / "tones/höher.ogg").rename(clips_dir / "tones/renamed.ogg")
    (clips_dir / "noises/long.flac").unlink()
    conversion = run(clips_dir, wav_dir)
    assert conversion.n_new == 4
    assert ids(conversion) == [
        "noises/bursts.wav",
        "noises/new.wav",
        "noises/white.wav",
        "tones/high.flac",
        "tones/low.wav",
        "tones/renamed.ogg",
    ]
    assert [clip["duration_s"] for clip in conversion.clips][1:3] == ["0.3000", "0.8000"]
    assert written.items() <= wavs(wav_dir).items()
    assert len(wavs(wav_dir)) == len(written) + 2


def test_one_content_under_two_names_is_stored_once(converted: tuple[Path, Path]) -> None:
    clips_dir, wav_dir = converted
    written = wavs(wav_dir)
    shutil.copyfile(clips_dir / "tones/low.wav", clips_dir / "noises/copy.wav")
    shutil.copyfile(clips_dir / "tones/low.wav", clips_dir / "noises/another.wav")
    conversion = run(clips_dir, wav_dir)
    assert (conversion.n_new, len(conversion.clips)) == (2, 8)
    assert len(set(conversion.sha256s)) == 6
    assert wavs(wav_dir) == written


@pytest.mark.parametrize("kept_bytes", [None, 0, 20, 44, 5_000])
def test_a_converted_clip_that_was_lost_or_cut_is_made_again(
    kept_bytes: int | None, converted: tuple[Path, Path]
) -> None:
    clips_dir, wav_dir = converted
    before = tables(wav_dir)
    sha256 = read_conversion(wav_dir).sha256s[2]
    path = wav_path(wav_dir, sha256)
    whole = path.read_bytes()
    path.unlink()
    if kept_bytes is not None:
        path.write_bytes(whole[:kept_bytes])
    with pytest.raises(BadAudio, match=r"expected a converted clip: run `audiorec convert` again") as refused:
        read_wav(wav_dir, sha256)
    assert refused.value.code == "not_converted"
    assert run(clips_dir, wav_dir).n_new == 1
    assert (path.read_bytes(), tables(wav_dir)) == (whole, before)


def test_another_limit_is_another_answer(converted: tuple[Path, Path]) -> None:
    clips_dir, wav_dir = converted
    all_of_them = tables(wav_dir)
    strict = run(clips_dir, wav_dir, limits=DecodeLimits(max_s=5))
    assert codes(strict) == {"noises/broken.wav": "text", **dict.fromkeys(CLIP_IDS[:2], "too_long")}
    assert len(strict.clips) == 4
    assert run(clips_dir, wav_dir, limits=DecodeLimits(max_s=5)).n_new == 0
    run(clips_dir, wav_dir)
    assert tables(wav_dir) == all_of_them


def test_another_recipe_converts_everything_again(converted: tuple[Path, Path]) -> None:
    clips_dir, wav_dir = converted
    ledger = wav_dir / LEDGER_FILE
    ledger.write_text(ledger.read_text().replace(f'"recipe": {RECIPE_VERSION}', f'"recipe": {RECIPE_VERSION - 1}'))
    assert run(clips_dir, wav_dir).n_new == 7


@pytest.mark.parametrize(
    ("damage", "n_new"),
    [
        pytest.param(lambda ledger: ledger[:-20], 1, id="last line torn"),
        pytest.param(lambda ledger: ledger + b'{"path": "/x", "sta', 0, id="half a line more"),
        pytest.param(lambda ledger: ledger + bytes(4096), 0, id="zeros after a power cut"),
        pytest.param(
            lambda ledger: ledger.replace(b"\n", b"\n\xff\xfe\n[]\n7\n" + b"[" * 9999 + b"\n", 3), 0, id="rubbish"
        ),
        pytest.param(lambda ledger: ledger * 2, 0, id="twice"),
        pytest.param(lambda ledger: b"", 7, id="empty"),
        pytest.param(lambda ledger: b"\x80" * 999, 7, id="not a ledger"),
    ],
)
def test_a_damaged_ledger_costs_at_most_what_it_forgot(damage: Any, n_new: int, converted: tuple[Path, Path]) -> None:
    clips_dir, wav_dir = converted
    before, ledger = tables(wav_dir), wav_dir / LEDGER_FILE
    ledger.write_bytes(damage(ledger.read_bytes()))
    assert run(clips_dir, wav_dir).n_new == n_new
    assert tables(wav_dir) == before
    assert run(clips_dir, wav_dir).n_new == 0


@pytest.mark.parametrize(
    ("code", "tried_again"),
    [("text", 0), ("too_long", 0), ("unreadable", 1), ("decoder_crashed", 1), ("decode_timeout", 1), ("no_ffmpeg", 1)],
)
def test_reasons_that_may_have_passed_are_tried_again(
    code: str, tried_again: int, converted: tuple[Path, Path]
) -> None:
    clips_dir, wav_dir = converted
    ledger = wav_dir / LEDGER_FILE
    assert ledger.read_text().count('["text"') == 1
    ledger.write_text(ledger.read_text().replace('["text"', f'["{code}"'))
    conversion = run(clips_dir, wav_dir)
    assert (conversion.n_new, codes(conversion)) == (
        tried_again,
        {"noises/broken.wav": "text" if tried_again else code},
    )


def test_an_entry_holds_while_its_file_is_unchanged(tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    clip.write_bytes(b"one")
    with Ledger(tmp_path, max_s=60) as ledger:
        assert ledger.entry(clip) is None
        status = clip.stat()
        ledger.add(clip, [status.st_size, status.st_mtime_ns], {"refused": ["text", "got text"]})
    with Ledger(tmp_path, max_s=60) as ledger:
        assert ledger.entry(clip) == {"refused": ["text", "got text"]}
        clip.write_bytes(b"four")
        assert ledger.entry(clip) is None
        clip.unlink()
        assert ledger.entry(clip) is None
    with Ledger(tmp_path, max_s=61) as ledger:
        assert ledger.entry(clip) is None


def test_a_person_s_words_come_before_the_tags(tmp_path: Path) -> None:
    clips_dir = tmp_path / "clips"
    clips_dir.mkdir()
    for name in ("a.flac", "b.flac"):
        with soundfile.SoundFile(clips_dir / name, "w", 16_000, 1, format="FLAC") as file:
            file.title, file.artist, file.album, file.genre, file.date = "Title", "Tagged", "Album", "Salsa", "1999"
            file.write(tone(0.5))
    table = "path,artist,title,mood,sha256,duration_s\na.flac,Given,,calm,forged,1e9\nb.flac,,,,,\n"
    (clips_dir / "labels.csv").write_text(table)
    a, b = run(clips_dir, tmp_path / "wav").clips
    assert (a["artist"], a["title"], a["album"], a["genre"], a["date"]) == ("Given", "Title", "Album", "Salsa", "1999")
    assert (b["artist"], b["title"], b.get("mood", "")) == ("Tagged", "Title", "")
    assert (a["duration_s"], len(a["sha256"])) == ("0.5000", 64)
    columns = read_conversion(tmp_path / "wav").columns
    assert columns[-3:] == ["genre", "date", "mood"]


def test_tags_of_a_real_mp3(shared: Path) -> None:
    assert {"artist", "title"} <= read_tags(shared / "formats/good/tagged.mp3").keys()


def test_broken_tags_refuse_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(encoded(tone(0.5)))
    assert read_tags(path) == {}
    monkeypatch.setattr("audiorec.audio.tags.TinyTag.get", lambda *_, **__: 1 / 0)
    assert read_tags(path) == {}
    assert convert_file(path, tmp_path, max_s=60)["n_samples"] == 8_000


def test_the_first_of_two_clips_with_one_id_stays(tmp_path: Path) -> None:
    clips_dir = tmp_path / "clips"
    clips_dir.mkdir()
    for i, name in enumerate(("a.wav", "b.wav", "c.wav")):
        (clips_dir / name).write_bytes(encoded(noise(0.1 * (i + 1), i)))
    (clips_dir / "labels.csv").write_text("path,clip_id\na.wav,same\nb.wav,same\nc.wav,c\n")
    conversion = run(clips_dir, tmp_path / "wav")
    assert [(clip["clip_id"], clip["duration_s"]) for clip in conversion.clips] == [("c", "0.3000"), ("same", "0.1000")]
    assert codes(conversion) == {"same": "duplicate_id"}
    assert "got a second clip with the id same, expected each id once" in conversion.refusals[0].message


def test_refusals_are_in_the_order_of_their_ids(converted: tuple[Path, Path]) -> None:
    clips_dir, wav_dir = converted
    (clips_dir / "zz.wav").symlink_to("nowhere.wav")  # refused while scanning, before anything is decoded
    (clips_dir / "aa.wav").write_bytes(b"text")
    run(clips_dir, wav_dir)
    refused = [row["clip_id"] for row in read_tsv(wav_dir / REFUSED_FILE)]
    assert refused == ["aa.wav", "noises/broken.wav", "zz.wav"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"without a clip in it \(0 other files\), expected sound files"),
        ({"a.txt": b"x", ".hidden": b"x"}, r"without a clip in it \(2 other files\)"),
        ({"a.wav": b"x", "b.wav": b""}, r"got 2 files, none of them usable, .* the first: a\.wav: got text"),
    ],
)
def test_a_folder_with_nothing_usable(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    clips_dir, wav_dir = tmp_path / "clips", tmp_path / "wav"
    clips_dir.mkdir()
    for name, content in files.items():
        (clips_dir / name).write_bytes(content)
    for _ in range(2):
        with pytest.raises(BadCatalogue, match=message):
            run(clips_dir, wav_dir)
    assert len(list(read_tsv(wav_dir / REFUSED_FILE))) == sum(name.endswith(".wav") for name in files)
    with pytest.raises(BadCatalogue):
        read_conversion(wav_dir)


def test_a_file_that_goes_away_is_refused_and_the_rest_goes_on(
    converted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips_dir, wav_dir = converted
    (clips_dir / "brief.wav").write_bytes(encoded(noise(1.0)))
    found = scan(clips_dir)
    (clips_dir / "brief.wav").unlink()
    monkeypatch.setattr("audiorec.catalogue.convert.scan", lambda _: found)
    conversion = run(clips_dir, wav_dir)
    assert codes(conversion)["brief.wav"] == "unreadable"
    assert ids(conversion) == CLIP_IDS


KILLED = """
import os, sys, threading
from pathlib import Path
from audiorec.catalogue import convert as c
from audiorec.catalogue import ledger

def end(*_):
    os.kill(os.getpid(), 9)

def after(n_done):
    def progress(items, **_):
        for i, item in enumerate(items):
            if i == n_done:
                end()
            yield item
    return progress

def half_a_line(self, path, stamp, entry):
    self._file.write(ledger._line({"path": str(path), "stamp": stamp, **entry})[:40])
    end()

point = sys.argv[3]
options = {}
if point.isdigit():
    options["progress"] = after(int(point))
elif point == "in the ledger":
    ledger.Ledger.add = half_a_line
elif point == "at any time":
    threading.Timer(0.35, end).start()
elif point == "before the tables":
    c._write_tables = end
elif point == "between the tables":
    c.write_refused = end
c.convert(Path(sys.argv[1]), Path(sys.argv[2]), n_workers=2, **options)
"""


@pytest.mark.parametrize(
    "point", ["0", "1", "3", "6", "in the ledger", "at any time", "before the tables", "between the tables"]
)
def test_killed_anywhere_it_goes_on(point: str, converted_once: tuple[Path, Path], tmp_path: Path) -> None:
    clips_dir, reference = converted_once
    wav_dir = tmp_path / "wav"
    command = [sys.executable, "-c", KILLED, str(clips_dir), str(wav_dir), point]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    conversion = run(clips_dir, wav_dir)
    assert tables(wav_dir) == tables(reference)
    clips = read_conversion(wav_dir).clips
    assert [len(read_wav(wav_dir, clip["sha256"])) / SAMPLE_RATE_HZ for clip in clips] == [9, 13, 0.4, 0.5, 0.7, 0.6]
    if point.isdigit():
        assert conversion.n_new == 7 - int(point)
    if "tables" in point:
        assert conversion.n_new == 0


def test_what_killed_runs_left_is_swept_up(converted: tuple[Path, Path]) -> None:
    clips_dir, wav_dir = converted
    leftovers = [wav_dir / ".part-1-clips.tsv", next(iter(wavs(wav_dir))).parent / ".part-2-x.wav"]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    (clips_dir / "new.wav").write_bytes(encoded(noise(0.3)))
    run(clips_dir, wav_dir)
    assert [path for path in leftovers if path.exists()] == []


LIMITED = """
import resource, sys
from pathlib import Path
from audiorec.catalogue.convert import convert
from audiorec.errors import NoSpace
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    convert(Path(sys.argv[1]), Path(sys.argv[2]), n_workers=2)
except NoSpace as error:
    print(error.message)
"""


def test_a_disk_that_takes_no_more_is_said_and_the_next_run_completes(
    converted_once: tuple[Path, Path], tmp_path: Path
) -> None:
    clips_dir, reference = converted_once
    command = [sys.executable, "-c", LIMITED, str(clips_dir), str(tmp_path / "wav")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "got 'File too large' while writing" in said
    assert not (tmp_path / "wav" / CLIPS_FILE).exists()
    assert run(clips_dir, tmp_path / "wav").n_new >= 2  # at least those that are larger than the disk was
    assert tables(tmp_path / "wav") == tables(reference)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("a small disk cannot be mounted here: there is no mount")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk(small_disk: Path, converted_once: tuple[Path, Path]) -> None:
    clips_dir, reference = converted_once
    with pytest.raises(NoSpace, match=r"got 'No space left on device' while writing .* run the same command again"):
        convert(clips_dir, small_disk / "wav", n_workers=2)
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    run(clips_dir, small_disk / "wav")
    assert tables(small_disk / "wav") == tables(reference)
    assert not list(small_disk.rglob(".part-*"))


def test_a_read_only_disk(small_disk: Path, converted_once: tuple[Path, Path]) -> None:
    clips_dir, reference = converted_once
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    shutil.copytree(reference, small_disk / "wav")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for wav_dir in (small_disk / "new", small_disk / "wav"):
        with pytest.raises(NoSpace, match="got 'Read-only file system' while writing"):
            run(clips_dir, wav_dir)


def test_an_output_folder_that_may_not_be_written(unprivileged_dir: Path) -> None:
    (unprivileged_dir / "clips").mkdir()
    unprivileged_dir.chmod(0o500)
    with pytest.raises(NoSpace, match="got 'Permission denied' while writing the converted clips"):
        run(unprivileged_dir / "clips", unprivileged_dir / "wav")


def test_a_wav_of_somebody_else_is_not_read(tmp_path: Path) -> None:
    path = wav_path(tmp_path, "ab" * 32)
    path.parent.mkdir()
    for n_channels, width, rate_hz in [(2, 2, 16_000), (1, 1, 16_000), (1, 2, 44_100)]:
        with wave.open(str(path), "wb") as file:
            file.setparams((n_channels, width, rate_hz, 0, "NONE", ""))
            file.writeframes(bytes(800))
        with pytest.raises(BadAudio, match="no readable 16 kHz mono WAV"):
            read_wav(tmp_path, "ab" * 32)


def test_the_ledger_is_lines_of_json(converted: tuple[Path, Path]) -> None:
    header, *lines = (json.loads(line) for line in (converted[1] / LEDGER_FILE).read_text().splitlines())
    assert header == {"recipe": RECIPE_VERSION, "max_s": 3600.0}
    assert sorted(line["path"] for line in lines) == sorted(
        str(converted[0] / name) for name in [*CLIP_IDS, "noises/broken.wav"]
    )


def test_progress_counts_what_is_new(converted_once: tuple[Path, Path], tmp_path: Path) -> None:
    told: list[tuple[int, str, str]] = []

    def progress(items: Any, *, total: int, stage: str, unit: str) -> Any:
        told.append((total, stage, unit))
        return items

    run(converted_once[0], tmp_path / "wav", progress=progress)
    run(converted_once[0], tmp_path / "wav", progress=progress)
    assert told == [(7, "convert", "clip")]
