"""The cache of features: what is in it is right, however the process that wrote it ended."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from audiorec.audio import CLIP_SAMPLES, Pcm, Waveform
from audiorec.embed import BATCH_WINDOWS
from audiorec.features import FeatureStore, add_features, vectors_of

N_FEATURES = 3
CLIPS = {"a": "1", "b": "101", "c": "11", "d": "0001"}  # name -> a digit a window, 1 where it sounds

Array = npt.NDArray[np.float32]


def heard_in(digits: str) -> list[bool]:
    return [digit != "0" for digit in digits]


def features_of(name: str) -> Array:
    """(number of windows that sound, N_FEATURES), different for every clip and window."""
    n_heard = CLIPS[name].count("1")
    return (100 * ord(name) + np.arange(n_heard * N_FEATURES, dtype=np.float32)).reshape(n_heard, N_FEATURES)


def add(store: FeatureStore, *names: str) -> None:
    for name in names:
        store.append(name, features_of(name), np.array(heard_in(CLIPS[name])))


def check(store: FeatureStore, *names: str) -> None:
    """These clips are in the store, whole, and no others."""
    assert [name for name in CLIPS if name in store] == sorted(names)
    for name in names:
        np.testing.assert_array_equal(store.of([name]), features_of(name), name)
        assert store.heard(name).tolist() == heard_in(CLIPS[name])
    if names:
        np.testing.assert_array_equal(store.of(names), np.concatenate([features_of(name) for name in names]))


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store with the clips a, b and c."""
    with FeatureStore(tmp_path / "store", N_FEATURES) as store:
        add(store, "a", "b", "c")
    return tmp_path / "store"


def test_what_was_added_is_there_at_once_and_later(tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "store", N_FEATURES) as store:
        check(store)
        add(store, "b", "a")
        check(store, "b", "a")
    with FeatureStore(tmp_path / "store", N_FEATURES) as store:
        check(store, "a", "b")
        add(store, "c")
        check(store, "c", "a", "b")
    assert (tmp_path / "store" / "features.f32").stat().st_size == 5 * N_FEATURES * 4


@pytest.mark.parametrize(
    ("damage", "survivors"),
    [
        pytest.param(lambda line: line[:-1], "ab", id="without its line end"),
        pytest.param(lambda line: line[:-7], "ab", id="torn"),
        pytest.param(lambda line: b"", "ab", id="missing"),
        pytest.param(lambda line: b"\0" * 512, "ab", id="zeros after a power cut"),
        pytest.param(lambda line: b"\xff\xfe\n", "ab", id="not UTF-8"),
        pytest.param(lambda line: b"null\n", "ab", id="null"),
        pytest.param(lambda line: b'["c", 3]\n', "ab", id="too short"),
        pytest.param(lambda line: b'["c", 3, 11]\n', "ab", id="a number for digits"),
        pytest.param(lambda line: b'["c", "3", "11"]\n', "ab", id="digits for a number"),
        pytest.param(lambda line: b'["c", 2, "11"]\n', "ab", id="an overlap"),
        pytest.param(lambda line: b'["c", 4, "1"]\n', "ab", id="a gap"),
        pytest.param(lambda line: b'["c", 3, "111"]\n', "ab", id="more than there is"),
        pytest.param(lambda line: line + b'["d", 5, "0001"]\n', "abc", id="a line without its features"),
    ],
)
def test_a_damaged_last_line_costs_that_line(damage: Any, survivors: str, filled: Path) -> None:
    *before, last = (filled / "features.jsonl").read_bytes().splitlines(keepends=True)
    (filled / "features.jsonl").write_bytes(b"".join(before) + damage(last))
    with FeatureStore(filled, N_FEATURES) as store:
        check(store, *survivors)
        add(store, *sorted(set(CLIPS) - set(survivors)))
        check(store, *CLIPS)
    with FeatureStore(filled, N_FEATURES) as store:
        check(store, *CLIPS)


@pytest.mark.parametrize(
    ("n_floats_kept", "survivors"), [(15, "abc"), (14, "ab"), (9, "ab"), (8, "a"), (3, "a"), (1, "")]
)
def test_features_that_are_cut_off_cost_the_clips_they_were_of(
    n_floats_kept: int, survivors: str, filled: Path
) -> None:
    os.truncate(filled / "features.f32", 4 * n_floats_kept + 1)
    with FeatureStore(filled, N_FEATURES) as store:
        check(store, *survivors)
        add(store, *sorted(set(CLIPS) - set(survivors)))
        check(store, *CLIPS)


def test_features_that_no_line_names_are_overwritten(filled: Path) -> None:
    with (filled / "features.f32").open("ab") as file:
        file.write(b"\xff" * 50)
    with FeatureStore(filled, N_FEATURES) as store:
        add(store, "d")
        check(store, *CLIPS)
    assert (filled / "features.f32").stat().st_size == 6 * N_FEATURES * 4


@pytest.mark.parametrize("missing", ["features.f32", "features.jsonl"])
def test_half_a_store_is_an_empty_one(missing: str, filled: Path) -> None:
    (filled / missing).unlink()
    with FeatureStore(filled, N_FEATURES) as store:
        check(store)
        add(store, *CLIPS)
        check(store, *CLIPS)


@pytest.mark.parametrize("shape", [(1, N_FEATURES), (3, N_FEATURES), (2, N_FEATURES + 1)])
def test_features_of_another_shape_are_a_fault_of_ours(shape: tuple[int, int], filled: Path) -> None:
    with FeatureStore(filled, N_FEATURES) as store:
        with pytest.raises(AssertionError, match=rf"\({shape[0]}, {shape[1]}\)"):
            store.append("d", np.zeros(shape, np.float32), np.array([True, False, True]))
        check(store, "a", "b", "c")


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from audiorec.embed import BATCH_WINDOWS
from audiorec.features import FeatureStore
with FeatureStore(Path(sys.argv[1]), 3) as store:
    for name in "abc":
        if name == "c" and sys.argv[2] == "between":
            store._lines.write = lambda line: os.kill(os.getpid(), 9)
        store.append(name, np.full((1, 3), ord(name), np.float32), np.array([True]))
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("point", "survivors"), [("after", "abc"), ("between", "ab")])
def test_a_killed_writer_loses_at_most_the_clip_at_hand(point: str, survivors: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), point]
    assert subprocess.run(command, check=False).returncode == -9
    with FeatureStore(tmp_path, N_FEATURES) as store:
        assert [name for name in "abcd" if name in store] == list(survivors)
        np.testing.assert_array_equal(store.of(survivors)[:, 0], [ord(name) for name in survivors])
        add(store, "d")
        np.testing.assert_array_equal(store.of("bd")[:, 0], [ord("b"), features_of("d")[0, 0]])


def clip(windows: str) -> Pcm:
    """A clip with a window a digit, as loud as the digit says."""
    return np.repeat(np.array([3_000 * int(digit) for digit in windows], np.int16), CLIP_SAMPLES)


def loudness(cut: Waveform) -> Array:
    """A toy encoder's features: (n, CLIP_SAMPLES) -> (n, 3)."""
    peaks = cut.max(axis=1)
    return np.stack([peaks, peaks**2, np.ones_like(peaks)], axis=1)


def test_features_of_clips_go_to_each_clip_s_own_place(tmp_path: Path) -> None:
    batches: list[int] = []

    def features(cut: Waveform) -> Array:
        batches.append(len(cut))
        return loudness(cut)

    clips = {"one": "9", "two": "301", "long": "9" * 7 + "5" * 30, "last": "04"}
    with FeatureStore(tmp_path, N_FEATURES) as store:
        added = add_features(features, ((name, clip(digits)) for name, digits in clips.items()), store)
        assert [name for name in added if name in store] == list(clips)
        for name, digits in clips.items():
            expected = [3_000 * int(digit) / 32_767 for digit in digits if digit != "0"]
            np.testing.assert_allclose(store.of([name])[:, 0], expected, rtol=1e-6, err_msg=name)
            assert store.heard(name).tolist() == heard_in(digits)
    assert (max(batches), sum(batches)) == (BATCH_WINDOWS, 1 + 2 + 37 + 1)


def test_vectors_of_clips(tmp_path: Path) -> None:
    def post(features: Array) -> Array:
        unit: Array = features / np.linalg.norm(features, axis=1, keepdims=True)
        return unit

    with FeatureStore(tmp_path, N_FEATURES) as store:
        clips = [("one", clip("9")), ("two", clip("301"))]
        assert list(add_features(loudness, clips, store)) == ["one", "two"]
        (one, one_windows), (two, two_windows), (again, _) = vectors_of(post, store, ["one", "two", "one"], N_FEATURES)
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one_windows, [one])
    assert [round(float(np.linalg.norm(window)), 5) for window in two_windows] == [1, 0, 1]
    mean = two_windows[0] + two_windows[2]
    np.testing.assert_allclose(two, mean / np.linalg.norm(mean), atol=1e-6)


def test_the_lines_are_json(filled: Path) -> None:
    lines = (filled / "features.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [["a", 0, "1"], ["b", 1, "101"], ["c", 3, "11"]]
