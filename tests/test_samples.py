"""The sample catalogue: the same sound in every run, whole files only, labels that can be heard."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from audiorec.errors import BadSetting, Busy
from audiorec.files import locked
from audiorec.samples import render
from audiorec.samples.catalogue import FORMATS, ROOMS, Clip, clips
from audiorec.samples.families import FAMILIES
from audiorec.samples.music import Key, hits, melody
from audiorec.samples.synth import cycles, fast_length, pluck, saw, shape_over_time, sine

WINDOW_S = 8.192
Samples = npt.NDArray[np.floating]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("samples")
    seen: list[str] = []

    def progress(items: Iterable[Clip], *, total: int, stage: str, unit: str) -> Iterator[Clip]:
        assert (total, stage, unit) == (len(clips()), "render", "clip")
        for clip in items:
            yield clip
            seen.append(clip.path)

    assert render(out_dir, progress=progress) == len(clips())  # type: ignore[arg-type]
    assert seen == [clip.path for clip in clips()]
    return out_dir


@pytest.fixture(scope="module")
def decoded(rendered: Path) -> dict[str, Samples]:
    """Each clip by path, `(n_samples, n_channels)` float64."""
    return {clip.path: soundfile.read(rendered / clip.path, always_2d=True)[0] for clip in clips()}


@pytest.fixture
def copy(rendered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rendered, tmp_path / "copy"))


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_catalogue_is_as_large_and_as_mixed_as_it_says() -> None:
    planned = clips()
    assert 140 <= len(planned) <= 160
    assert Counter(clip.family for clip in planned) == dict.fromkeys(FAMILIES, 11)
    assert {clip.artist for clip in planned} == set(ROOMS)
    assert {clip.format for clip in planned} == set(FORMATS)
    assert len({clip.path for clip in planned}) == len({clip.title for clip in planned}) == len(planned)
    shared = [group for group, n in Counter(clip.group for clip in planned).items() if n > 1]
    assert len(shared) == len(FAMILIES)
    seconds = [clip.n_samples / clip.format.rate_hz for clip in planned]
    assert 0.5 <= min(seconds) < 0.6
    assert sum(length_s >= 1.5 * WINDOW_S for length_s in seconds) == len(FAMILIES)
    assert max(seconds) <= 14


def test_takes_of_one_performance_share_what_is_said_about_them() -> None:
    by_group: dict[str, list[Clip]] = {}
    for clip in clips():
        by_group.setdefault(clip.group, []).append(clip)
    for first, *others in by_group.values():
        for other in others:
            assert (other.family, other.artist, other.key, other.tempo_bpm) == (
                first.family,
                first.artist,
                first.key,
                first.tempo_bpm,
            )
            assert other.title == f"{first.title}, second take"


def test_labels_agree_with_the_files(rendered: Path) -> None:
    with (rendered / "labels.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["path", "label", "artist", "license", "source", "group", "title", "tempo_bpm", "key"]
    files = {path.relative_to(rendered).as_posix() for path in rendered.rglob("*") if path.is_file()}
    assert {row["path"] for row in rows} == files - {"labels.csv", ".lock"}
    assert all(row["label"] == row["path"].split("/")[0] for row in rows)
    assert {row["license"] for row in rows} == {"CC0-1.0"}
    assert {row["source"] for row in rows} == {"audiorec samples"}
    assert all(row["tempo_bpm"] == "" or 60 <= int(row["tempo_bpm"]) <= 150 for row in rows)
    assert all(row["key"] == "" or row["key"].split()[1] in ("major", "minor") for row in rows)


def test_every_file_is_what_its_format_says(rendered: Path) -> None:
    for clip in clips():
        info = soundfile.info(rendered / clip.path)
        form = clip.format
        assert (info.format, info.subtype, info.samplerate) == (form.container, form.subtype, form.rate_hz), clip.path
        assert (info.frames, info.channels) == (clip.n_samples, form.n_channels), clip.path


def test_no_clip_is_silent_broken_or_clipped(decoded: dict[str, Samples]) -> None:
    for path, sound in decoded.items():
        assert np.isfinite(sound).all(), path
        assert 0.2 < np.abs(sound).max() < 0.99, path
        assert np.sqrt(np.mean(sound**2)) > 0.01, path
        assert np.abs(sound.mean(axis=0)).max() < 0.01, path
        assert np.abs(sound[-8:]).max() < 0.05, f"{path} ends with a click"


def test_stereo_is_not_two_copies(decoded: dict[str, Samples]) -> None:
    wide = [path for path, sound in decoded.items() if sound.shape[1] == 2 and np.ptp(sound[:, 0] - sound[:, 1]) > 0.01]
    mono = {clip.path for clip in clips() if clip.format.n_channels == 1 or clip.family == "bass"}
    assert set(wide) == set(decoded) - mono


def test_missing_cut_and_leftover_files_are_repaired_and_sound_the_same(
    copy: Path, decoded: dict[str, Samples]
) -> None:
    victims = [clip.path for clip in clips() if clip.path.split("/")[1].startswith("04")]
    for path in victims:
        (copy / path).unlink()
    cut = next(clip.path for clip in clips() if clip.path.endswith(".wav") and clip.path not in victims)
    (copy / cut).write_bytes((copy / cut).read_bytes()[:5000])
    empty = next(clip.path for clip in clips() if clip.path.endswith(".ogg") and clip.path not in victims)
    (copy / empty).write_bytes(b"")
    (copy / victims[0]).with_name(".part-1-half.wav").write_bytes(b"RIFF half a file")
    (copy / "labels.csv").write_text("path,label\n")
    kept = {
        path: stamp
        for path, stamp in stamps(copy).items()
        if not path.endswith((cut, empty, "half.wav", ".csv", ".lock"))
    }

    done = subprocess.run([sys.executable, "-m", "audiorec.samples", copy], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(clips())} clips" in done.stdout
    after = stamps(copy)
    assert len(after) == len(clips()) + 2
    assert kept.items() <= after.items()
    for path in [*victims, cut, empty]:
        again, _ = soundfile.read(copy / path, always_2d=True)
        np.testing.assert_array_equal(again, decoded[path])


def test_a_second_run_touches_nothing(rendered: Path) -> None:
    before = stamps(rendered / "bells") | {"labels": (rendered / "labels.csv").stat().st_mtime_ns}
    assert render(rendered) == len(clips())
    assert stamps(rendered / "bells") | {"labels": (rendered / "labels.csv").stat().st_mtime_ns} == before


def test_killed_anywhere_it_goes_on(copy: Path, decoded: dict[str, Samples]) -> None:
    missing = [clip.path for clip in clips() if clip.family in ("pads", "sirens")]
    for path in [*missing, "labels.csv"]:
        (copy / path).unlink()
    with subprocess.Popen([sys.executable, "-m", "audiorec.samples", copy]) as child:
        while child.poll() is None and not (copy / missing[4]).exists():
            time.sleep(0.002)
        os.kill(child.pid, signal.SIGKILL)
    written = [path for path in missing if (copy / path).exists()]
    assert 5 <= len(written) < len(missing)
    assert not (copy / "labels.csv").exists()
    assert render(copy) == len(clips())
    assert not list(copy.rglob(".part-*"))
    for path in missing:
        np.testing.assert_array_equal(soundfile.read(copy / path, always_2d=True)[0], decoded[path])


@pytest.mark.parametrize("inside", ["file", "file/samples"])
def test_a_file_in_the_way_is_said(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadSetting, match=r"got 'file' .* expected a folder"):
        render(tmp_path / inside)
    done = subprocess.run(
        [sys.executable, "-m", "audiorec.samples", tmp_path / inside], capture_output=True, check=False
    )
    assert done.returncode == BadSetting.exit_code
    assert done.stderr.startswith(b"got ")


def test_two_at_once_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / ".lock", "the folder"), pytest.raises(Busy, match="in use by another process"):
        render(tmp_path)


def log_spectrum(sound: Samples, rate_hz: int) -> Samples:
    """Mean and deviation over time of the log energy in 48 bands a constant ratio apart, `(96,)`."""
    mono = soxr.resample(sound.mean(axis=1), rate_hz, 16_000)
    mono = np.pad(mono / np.abs(mono).max(), (0, 1024))
    frames = np.lib.stride_tricks.sliding_window_view(mono, 1024)[::512] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(3, 513, 49).astype(int))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-4)
    return np.concatenate([bands.mean(axis=0), bands.std(axis=0)])


def test_families_sound_alike_and_apart(decoded: dict[str, Samples]) -> None:
    features = np.array([log_spectrum(decoded[clip.path], clip.format.rate_hz) for clip in clips()])
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    similarity = features @ features.T
    labels, groups = (np.array([getattr(clip, field) for clip in clips()]) for field in ("family", "group"))
    similarity[groups[:, None] == groups] = -np.inf
    precision_at_1 = np.mean(labels[similarity.argmax(axis=1)] == labels)
    assert precision_at_1 > 0.75  # it was 0.87; chance is 0.07


def test_no_performance_is_a_copy_of_another(decoded: dict[str, Samples]) -> None:
    starts = []
    for clip in clips():
        mono = soxr.resample(decoded[clip.path].mean(axis=1), clip.format.rate_hz, 16_000)[:7000]
        starts.append(mono / np.linalg.norm(mono))
    likeness = np.abs(np.array(starts) @ np.array(starts).T)
    groups = np.array([clip.group for clip in clips()])
    assert likeness[groups[:, None] != groups].max() < 0.9
    assert likeness[~np.eye(len(groups), dtype=bool)].max() < 0.99  # nor is a take of another take


def test_a_plucked_string_is_in_tune() -> None:
    rate_hz, frequency_hz = 16_000, 441.7  # a period of 36.2 samples
    note = pluck(frequency_hz, 32_768, rate_hz, np.random.default_rng(1), average_hz=30_000, t60_s=3.0)
    spectrum = np.abs(np.fft.rfft(note * np.hanning(len(note))))
    low, high = int(400 / rate_hz * len(note)), int(480 / rate_hz * len(note))
    assert (low + spectrum[low:high].argmax()) * rate_hz / len(note) == pytest.approx(frequency_hz, abs=0.5)
    early, late = note[:4000], note[-4000:]
    assert np.sqrt(np.mean(late**2)) < 0.1 * np.sqrt(np.mean(early**2))


def test_oscillators_are_clean() -> None:
    phase = cycles(1234.5, 16_000, 16_000, start=0.25)
    np.testing.assert_allclose(sine(phase), np.sin(2 * np.pi * phase), atol=1e-6)
    frequency_hz = 1600 * 1.01
    spectrum = np.abs(np.fft.rfft(saw(cycles(frequency_hz, 16_000, 16_000)) * np.hanning(16_000)))
    alias = spectrum[16_000 - 10 * 1616 + 1600 :][:1].max()  # the tenth harmonic folded down
    assert alias < 0.05 * spectrum[1616]


def test_a_moving_filter_that_does_nothing_changes_nothing() -> None:
    sound = np.random.default_rng(0).standard_normal(5001)
    same = shape_over_time(sound, 16_000, lambda time_s, hz: np.ones((len(time_s), len(hz))))
    np.testing.assert_allclose(same, sound, atol=1e-12)


@pytest.mark.parametrize("n_samples", [1, 2, 31, 1024, 44_101, 617_399])
def test_fast_lengths_are_little_longer(n_samples: int) -> None:
    assert n_samples <= fast_length(n_samples) <= n_samples * 17 / 16


def test_music_is_counted_right() -> None:
    assert Key(9, "minor").hz(0) == pytest.approx(440)
    assert Key(0, "major").hz(-1, 5) == pytest.approx(493.883, abs=1e-3)
    assert str(Key(1, "minor")) == "C# minor"
    assert [(round(at_s, 9), loudness) for at_s, loudness in hits("X.-.", 0.4, 150)] == [(0, 1), (0.2, 0.3), (0.4, 1)]
    tune = melody(np.random.default_rng(3), 64, low=-1, high=5)
    assert (min(tune), max(tune)) == (-1, 5)
    assert all(degree % 7 in (0, 2, 4) for degree in tune[::4])
