"""Releases: what is not whole is refused in a sentence and never crashes; what is published stays, and swaps whole."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from annoy import AnnoyIndex
from api_fixtures import N_CLIPS, Catalogue
from model_dirs import change_array, change_metadata, copied, edit_manifest, tree_state, unit_rows, vouch_for
from typer.testing import CliRunner

from audiorec import release as release_module
from audiorec.cli import app
from audiorec.encoders.mean_mel import MeanMel
from audiorec.encoders.mfcc import MFCC
from audiorec.errors import BadModelDir
from audiorec.export import export_encoder
from audiorec.nearest import Nearest
from audiorec.release import (
    EMBEDDINGS_FILE,
    ENCODER_FILE,
    INDEX_FILE,
    SERVED_FILES,
    WINDOW_ROWS_FILE,
    WINDOWS_FILE,
    current_name,
    finish_swap,
    make_current,
    open_release,
    publish,
    release_names,
)
from audiorec.release.holds import is_held
from audiorec.release.manifest import MANIFEST_FILE, read_manifest

Damage = Callable[[Path], object]

Array = npt.NDArray[Any]
Metric = Literal["angular", "euclidean", "manhattan", "hamming", "dot"]

DIM = MeanMel().dim  # the encoder of the small catalogue
NOBODY = 65534  # the user id


@pytest.fixture
def model_dir(catalogue: Catalogue, tmp_path: Path) -> Path:
    """A copy of the small one, to write to."""
    return copied(catalogue.model_dir, tmp_path / "model")


@pytest.fixture
def release_dir(model_dir: Path) -> Path:
    return (model_dir / "current").resolve()


def refused_by_inspect(path: Path, *arguments: str) -> str:
    """What `audiorec inspect` says: exit code 5, one line, no traceback."""
    result = CliRunner().invoke(app, ["inspect", str(path), *arguments])
    assert result.exit_code == BadModelDir.exit_code == 5
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_every_file_is_named_and_opens(catalogue: Catalogue) -> None:
    release = open_release(catalogue.model_dir, verify=True)
    assert set(SERVED_FILES) <= release.manifest.files.keys()
    names = {path.name for path in release.directory.iterdir()} - {MANIFEST_FILE}
    assert names == release.manifest.files.keys()
    assert release.name == "0001"
    assert len(release.metadata) == len(release.embeddings) == len(catalogue.rows)


def cut_to(n_bytes: int | None = None, *, part: float = 1.0, less: int = 0) -> Damage:
    def damage(path: Path) -> None:
        os.truncate(path, n_bytes if n_bytes is not None else int(path.stat().st_size * part) - less)

    return damage


def extended_by(n_bytes: int) -> Damage:
    def damage(path: Path) -> None:
        with path.open("ab") as file:
            file.write(bytes(n_bytes))

    return damage


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


RESIZED: dict[str, Damage] = {
    "empty": cut_to(0),
    "a byte": cut_to(1),
    "half": cut_to(part=0.5),
    "a byte short": cut_to(less=1),
    "a byte more": extended_by(1),
    "a page more": extended_by(4096),
}


@pytest.mark.parametrize("name", SERVED_FILES)
@pytest.mark.parametrize("damage", RESIZED)
def test_a_file_of_another_size_is_refused(release_dir: Path, name: str, damage: str) -> None:
    path = release_dir / name
    expected = path.stat().st_size
    RESIZED[damage](path)
    message = rf"got {name} of {path.stat().st_size:,} bytes, expected {expected:,}: copy the release again"
    with pytest.raises(BadModelDir, match=message):
        open_release(release_dir)
    assert message in refused_by_inspect(release_dir.parents[1])


@pytest.mark.parametrize("name", SERVED_FILES)
@pytest.mark.parametrize("remove", [Path.unlink, replaced_by_folder], ids=["missing", "folder"])
def test_a_missing_file_is_refused(release_dir: Path, name: str, remove: Damage) -> None:
    expected = (release_dir / name).stat().st_size
    remove(release_dir / name)
    message = f"got a release without {name}, expected {expected:,} bytes of it: copy it again"
    with pytest.raises(BadModelDir, match=message):
        open_release(release_dir)
    assert message in refused_by_inspect(release_dir.parents[1])


@pytest.mark.parametrize("name", SERVED_FILES)
def test_a_file_that_the_manifest_does_not_name_is_refused(release_dir: Path, name: str) -> None:
    files = {other: facts.model_dump() for other, facts in read_manifest(release_dir).files.items() if other != name}
    edit_manifest(release_dir, {"files": files})
    with pytest.raises(BadModelDir, match=f"got a manifest that does not name {name}, expected all files"):
        open_release(release_dir)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def noise_in(start: float, stop: float) -> Damage:
    """Random bytes in a part of the file, as shares of its size."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        first, last = int(start * len(content)), int(stop * len(content))
        content[first:last] = np.random.default_rng(0).bytes(last - first)
        path.write_bytes(content)

    return damage


def starts_with(head: bytes) -> Damage:
    return lambda path: path.write_bytes(head + path.read_bytes()[len(head) :])


SAME_SIZE: dict[str, Damage] = {
    "zeros": zeros,
    "noise": noise_in(0, 1),
    "noise at the start": noise_in(0, 0.1),
    "noise in the middle": noise_in(0.4, 0.6),
    "noise at the end": noise_in(0.9, 1),
    "a zip": starts_with(b"PK\x05\x06"),
}
OPEN_EACH = """
import contextlib, json, os, sys
from audiorec.errors import AudiorecError, BadModelDir
from audiorec.nearest import Nearest
from audiorec.release import open_release

def used(path):
    with contextlib.suppress(AudiorecError):
        nearest = Nearest(path)
        vector = nearest.release.embeddings[0]
        for options in ({}, {"filter": {"label": "dog"}}, {"max_per_artist": 1}, {"exclude": ["100%.wav"]}):
            nearest.search(vector, 50, **options).to_dicts()
        nearest.search_id("100%.wav", 50)

def outcome(path, verify):
    try:
        open_release(path, verify=verify)
    except BadModelDir as error:
        return error.message
    return "opened"

for path in sys.argv[1:]:
    if (child := os.fork()) == 0:
        answer = [path, outcome(path, False), outcome(path, True)]
        used(path)
        print(json.dumps(answer), flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        print(json.dumps([path, f"died with {status}", f"died with {status}"]), flush=True)
"""


def open_each(paths: list[Path]) -> dict[Path, tuple[str, str]]:
    """What came of opening, and of opening with `verify`: "opened", the refusal, or how the process died.

    All of it happens in another process, which the files might kill.
    """
    done = subprocess.run([sys.executable, "-c", OPEN_EACH, *map(str, paths)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = map(json.loads, done.stdout.splitlines())
    outcomes = {Path(path): (quick, full) for path, quick, full in answers}
    assert outcomes.keys() == set(paths), done.stderr
    return outcomes


@pytest.fixture(scope="module")
def annoy_release(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small release with Annoy to answer: exact search, chosen for so few clips, does not open the index."""
    release_dir = copied((catalogue.model_dir / "current").resolve(), tmp_path_factory.mktemp("annoy") / "release")
    edit_manifest(release_dir, {"index.kind": "annoy"})
    return release_dir


@pytest.fixture(scope="module")
def opened(annoy_release: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, bool], list[str]]:
    """(file, damage, vouched for) -> what `open_each` found."""
    folder = tmp_path_factory.mktemp("damaged")
    cases = [(name, damage, vouched) for name in SERVED_FILES for damage in SAME_SIZE for vouched in (False, True)]
    cases += [(name, damage, True) for name in SERVED_FILES for damage in RESIZED]
    paths = {}
    for number, (name, damage, vouched) in enumerate(cases):
        path = paths[name, damage, vouched] = copied(annoy_release, folder / str(number))
        {**SAME_SIZE, **RESIZED}[damage](path / name)
        if vouched:
            vouch_for(path)
    outcomes = open_each(list(paths.values()))
    return {case: list(outcomes[path]) for case, path in paths.items()}


@pytest.mark.parametrize("name", SERVED_FILES)
@pytest.mark.parametrize("damage", SAME_SIZE)
def test_garbage_of_the_same_size_never_crashes_and_is_found_by_its_hash(
    opened: dict[tuple[str, str, bool], list[str]], name: str, damage: str
) -> None:
    quick, full = opened[name, damage, False]
    assert quick == "opened" or "expected" in quick or "build the release again" in quick
    if quick == "opened":
        assert f"got {name} with SHA-256" in full
    else:
        assert full == quick


@pytest.mark.parametrize("name", SERVED_FILES)
@pytest.mark.parametrize("damage", [*SAME_SIZE, *RESIZED])
def test_a_manifest_that_vouches_for_garbage_is_no_way_to_a_crash(
    opened: dict[tuple[str, str, bool], list[str]], name: str, damage: str
) -> None:
    quick, full = opened[name, damage, True]
    assert "died" not in quick
    mapped = name not in (ENCODER_FILE, "metadata.tsv")
    harmless = "more" in damage and name.endswith(".npy")  # numpy maps what the header says
    if mapped and damage in RESIZED and not harmless:
        assert quick != "opened"
    if name == "metadata.tsv":
        assert "metadata.tsv" in full


def with_array(name: str, change: Callable[[Array], Array]) -> Damage:
    return lambda release_dir: np.save(release_dir / name, change(np.load(release_dir / name)))


def with_row(row: int, value: float) -> Damage:
    return lambda release_dir: change_array(release_dir / EMBEDDINGS_FILE, {row: value})


def with_index(*, dim: int = DIM, n: int = N_CLIPS, metric: Metric = "angular", n_trees: int = 4) -> Damage:
    """An index over `n` vectors of `dim` numbers: the embeddings where that is their shape."""

    def damage(release_dir: Path) -> None:
        vectors = np.load(release_dir / EMBEDDINGS_FILE) if (n, dim) == (N_CLIPS, DIM) else unit_rows(n, dim)
        index = AnnoyIndex(dim, metric)
        for row, vector in enumerate(vectors):
            index.add_item(row, vector)
        index.build(n_trees)
        index.save(str(release_dir / INDEX_FILE))

    return damage


def with_manifest(field: str, value: object) -> Damage:
    return lambda release_dir: edit_manifest(release_dir, {field: value})


FOREIGN: dict[str, tuple[Damage, str]] = {  # and the refusal by any opening, in parts
    "embeddings of a dimension more": (
        with_array(EMBEDDINGS_FILE, lambda e: np.hstack([e, e[:, :1]])),
        f"embeddings.npy holds float32 ({N_CLIPS}, {DIM + 1}), expected float32 ({N_CLIPS}, {DIM})",
    ),
    "embeddings of a clip less": (
        with_array(EMBEDDINGS_FILE, lambda e: e[1:]),
        f"embeddings.npy holds float32 ({N_CLIPS - 1}, {DIM}), expected float32 ({N_CLIPS}, {DIM})",
    ),
    "embeddings of float64": (
        with_array(EMBEDDINGS_FILE, lambda e: e.astype(np.float64)),
        f"embeddings.npy holds float64 ({N_CLIPS}, {DIM}), expected float32",
    ),
    "flat embeddings": (
        with_array(EMBEDDINGS_FILE, lambda e: e.reshape(-1)),
        f"embeddings.npy holds float32 ({N_CLIPS * DIM},), expected float32 ({N_CLIPS}, {DIM})",
    ),
    "pickled embeddings": (
        with_array(EMBEDDINGS_FILE, lambda e: np.array([{}], object)),
        "embeddings.npy is cut off or not a numpy file",
    ),
    "windows of float32": (
        with_array(WINDOWS_FILE, lambda w: w.astype(np.float32)),
        f"windows.npy holds float32 ({N_CLIPS}, {DIM}), expected float16",
    ),
    "windows of half the dimension": (
        with_array(WINDOWS_FILE, lambda w: w[:, : DIM // 2]),
        f"windows.npy holds float16 ({N_CLIPS}, {DIM // 2}), expected float16 ({N_CLIPS}, {DIM})",
    ),
    "window_rows of a window more": (
        with_array(WINDOW_ROWS_FILE, lambda r: np.append(r, r[-1:])),
        f"window_rows.npy holds int32 ({N_CLIPS + 1},), expected int32 ({N_CLIPS},)",
    ),
    "window_rows of int64": (
        with_array(WINDOW_ROWS_FILE, lambda r: r.astype(np.int64)),
        f"window_rows.npy holds int64 ({N_CLIPS},), expected int32",
    ),
    "a NaN row": (with_row(7, np.nan), "got an embedding of norm nan in row 7, expected 1"),
    "an infinite row": (with_row(N_CLIPS - 1, np.inf), f"norm inf in row {N_CLIPS - 1}, expected 1"),
    "a zero row": (with_row(0, 0), "got an embedding of norm 0 in row 0, expected 1"),
    "a long row": (with_row(12, 1), f"got an embedding of norm {DIM**0.5:g} in row 12, expected 1"),
    "an index of 5 trees": (with_index(n_trees=5), f"got 5 ... trees over {N_CLIPS} clips, expected 4"),
    "an index of half the dimension": (with_index(dim=DIM // 2), f"a node of dimension {DIM}"),
    "an index of a dimension more": (with_index(dim=DIM + 1), f"a node of dimension {DIM}"),
    "an index of a clip less": (with_index(n=N_CLIPS - 1), f"expected at least {N_CLIPS + 8} for {N_CLIPS} clips"),
    "an index of a clip more": (with_index(n=N_CLIPS + 1), f"got 0 ... trees over {N_CLIPS} clips, expected 4"),
    "a euclidean index": (with_index(metric="euclidean"), f"a node of dimension {DIM}"),
    "a dot index": (with_index(metric="dot"), f"a node of dimension {DIM}"),
    "a manhattan index": (with_index(metric="manhattan"), f"a node of dimension {DIM}"),
    "a hamming index": (with_index(metric="hamming"), f"a node of dimension {DIM}"),
    "dim": (
        with_manifest("encoder.dim", DIM // 2),
        f"embeddings.npy holds float32 ({N_CLIPS}, {DIM}), expected float32 ({N_CLIPS}, {DIM // 2})",
    ),
    "n_clips": (
        with_manifest("catalogue.n_clips", 10**30),
        f"embeddings.npy holds float32 ({N_CLIPS}, {DIM}), expected float32 ({10**30}, {DIM})",
    ),
    "n_windows": (
        with_manifest("catalogue.n_windows", N_CLIPS - 1),
        f"windows.npy holds float16 ({N_CLIPS}, {DIM}), expected float16 ({N_CLIPS - 1}, {DIM})",
    ),
    "n_trees": (with_manifest("index.n_trees", 3), f"got 4 ... trees over {N_CLIPS} clips, expected 3"),
    "kind": (with_manifest("index.kind", "hnsw"), "got an index of kind 'hnsw' and metric 'angular', expected one of"),
    "metric": (with_manifest("index.metric", "dot"), "metric 'dot', expected one of annoy, exact and angular"),
    "sample_rate_hz": (with_manifest("encoder.sample_rate_hz", 8000), "8000, 131072), expected ('torchscript', 16000"),
    "clip_samples": (
        with_manifest("encoder.clip_samples", 999),
        "16000, 999), expected ('torchscript', 16000, 131072)",
    ),
    "format": (with_manifest("encoder.format", "onnx"), "got an encoder of (format, Hz, samples) ('onnx'"),
    "metadata of a clip less": (
        lambda release_dir: change_metadata(release_dir, n_clips=N_CLIPS - 1),
        f"got {N_CLIPS - 1} clips in metadata.arrow, expected {N_CLIPS} as in the manifest",
    ),
}


def swapped_lines(release_dir: Path) -> None:
    path = release_dir / "metadata.tsv"
    header, first, second, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([header, second, first, *rest]))


def swapped_in_arrow(release_dir: Path) -> None:
    """The first two clips change places everywhere but in the text."""
    text = (release_dir / "metadata.tsv").read_bytes()
    change_metadata(release_dir, order=[1, 0, *range(2, N_CLIPS)])
    (release_dir / "metadata.tsv").write_bytes(text)


HIDDEN: dict[str, tuple[Damage, str]] = {  # what only `verify` finds, in a release whose manifest vouches for it
    "metadata.tsv": (swapped_lines, "metadata.tsv is not what metadata.arrow holds after row 0"),
    "metadata.arrow": (swapped_in_arrow, "metadata.tsv is not what metadata.arrow holds after row 0"),
    "clip_ids.npy": (
        with_array("clip_ids.npy", lambda t: np.stack([t[0], t[1, ::-1]])),
        "clip_ids.npy does not belong to the clip ids of metadata.arrow",
    ),
    "groups.npy": (with_array("groups.npy", np.zeros_like), "groups.npy does not belong to the artists"),
    "window_rows.npy": (
        with_array(WINDOW_ROWS_FILE, lambda r: r[::-1]),
        f"got window_rows.npy out of order, expected every clip from 0 to {N_CLIPS - 1} in turn",
    ),
    "a clip without a window": (
        with_array(WINDOW_ROWS_FILE, lambda r: np.where(r == 5, 4, r).astype(np.int32)),
        f"got window_rows.npy out of order, expected every clip from 0 to {N_CLIPS - 1} in turn",
    ),
}


@pytest.fixture(scope="module")
def vouched(annoy_release: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """What `open_each` found of FOREIGN and HIDDEN, by name."""
    folder = tmp_path_factory.mktemp("foreign")
    paths = {name: copied(annoy_release, folder / str(number)) for number, name in enumerate({**FOREIGN, **HIDDEN})}
    for name, path in paths.items():
        {**FOREIGN, **HIDDEN}[name][0](path)
        vouch_for(path)
    outcomes = open_each(list(paths.values()))
    return {name: outcomes[path] for name, path in paths.items()}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_does_not_fit_together_is_refused(vouched: dict[str, tuple[str, str]], name: str) -> None:
    quick, full = vouched[name]
    assert all(part in quick for part in FOREIGN[name][1].split(" ... ")), quick
    assert full == quick


@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_out_of_order_is_found_by_verify(vouched: dict[str, tuple[str, str]], name: str) -> None:
    quick, full = vouched[name]
    assert quick == "opened"
    assert HIDDEN[name][1] in full


def test_of_a_large_release_opening_looks_at_some_norms_and_verify_at_all(
    release_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_row(7, 1)(release_dir)
    with_index()(release_dir)
    vouch_for(release_dir)
    monkeypatch.setattr(release_module, "NORM_SAMPLE_VALUES", 3 * DIM)  # the first clip, the last, one in between
    assert open_release(release_dir).embeddings[7, 0] == 1
    with pytest.raises(BadModelDir, match=rf"got an embedding of norm {DIM**0.5:g} in row 7, expected 1"):
        open_release(release_dir, verify=True)


def test_inspect_verify_finds_what_a_quick_look_does_not(model_dir: Path, release_dir: Path) -> None:
    noise_in(0.5, 0.6)(release_dir / WINDOWS_FILE)
    assert CliRunner().invoke(app, ["inspect", str(model_dir)]).exit_code == 0
    expected = read_manifest(release_dir).files[WINDOWS_FILE].sha256[:12]
    assert f"expected {expected}…" in refused_by_inspect(model_dir, "--verify")


@pytest.mark.parametrize("damage", ["zeros", "noise in the middle", "a byte short"])
def test_a_broken_encoder_is_refused_when_it_is_asked_for(release_dir: Path, damage: str) -> None:
    {**SAME_SIZE, **RESIZED}[damage](release_dir / ENCODER_FILE)
    vouch_for(release_dir)
    with pytest.raises(BadModelDir, match=r"encoder\.pt .*expected one written by audiorec"):
        _ = open_release(release_dir).encoder


def test_an_encoder_of_another_dimension_is_refused(release_dir: Path) -> None:
    export_encoder(MFCC().eval(), release_dir / ENCODER_FILE)
    vouch_for(release_dir)
    with pytest.raises(BadModelDir, match=f"got an encoder of {MFCC().dim} dimensions, expected {DIM} as in the"):
        _ = open_release(release_dir, verify=True).encoder


def test_a_release_moves_and_is_copied(model_dir: Path, tmp_path: Path) -> None:
    moved = model_dir.rename(tmp_path / "moved")
    alone = copied(moved / "versions" / "0001", tmp_path / "alone")
    (tmp_path / "link").symlink_to(moved)
    vectors = []
    for path in (moved, moved / "current", alone, tmp_path / "link", str(alone)):
        release = open_release(path, verify=True)
        vectors.append(release.embeddings)
        assert release.name == ("alone" if str(path) == str(alone) else "0001")
        assert len(Nearest(path).search(release.embeddings[0], 3)) == 3
    assert all(np.array_equal(vectors[0], other) for other in vectors)


def nothing_at_all(model_dir: Path) -> None:
    model_dir.rename(model_dir.with_name("elsewhere"))


def no_current(model_dir: Path) -> None:
    (model_dir / "current").unlink()


def dangling_current(model_dir: Path) -> None:
    no_current(model_dir)
    (model_dir / "current").symlink_to("versions/0099")


def looping_current(model_dir: Path) -> None:
    no_current(model_dir)
    (model_dir / "current").symlink_to("current")


def empty(model_dir: Path) -> None:
    nothing_at_all(model_dir)
    model_dir.mkdir()


def a_file(model_dir: Path) -> None:
    nothing_at_all(model_dir)
    model_dir.write_text("versions/0001")


@pytest.mark.parametrize("change", [no_current, dangling_current, looping_current, empty, a_file, nothing_at_all])
def test_a_model_directory_without_a_release_is_refused(model_dir: Path, change: Damage) -> None:
    change(model_dir)
    reason = "which does not exist" if change is nothing_at_all else "without a published release"
    reason += ", expected a model directory: "
    command = "audiorec build"
    if change in (no_current, dangling_current, looping_current):
        reason, command = "without a current release, expected it to be one of 0001: choose it by ", "audiorec use"
    with pytest.raises(BadModelDir, match=rf"got {model_dir}.* {reason}.*{command}"):
        open_release(model_dir)
    assert reason in refused_by_inspect(model_dir)


@pytest.mark.parametrize("path", ["x" * 300, "nul\0byte"])
def test_a_path_that_cannot_be_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(BadModelDir, match="expected a model directory"):
        open_release(tmp_path / path)


@pytest.fixture
def unreadable_dir(model_dir: Path) -> Iterator[Path]:
    """The model directory, as somebody else sees it."""
    model_dir.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:  # who may read everything
        os.seteuid(NOBODY)
    yield model_dir
    if is_root:
        os.seteuid(0)
    model_dir.chmod(0o755)


def test_a_directory_that_may_not_be_read_is_refused(unreadable_dir: Path) -> None:
    with pytest.raises(
        BadModelDir, match=rf"got {unreadable_dir}, which cannot be read \(Permission denied\), expected"
    ):
        open_release(unreadable_dir)


def staged(model_dir: Path, name: str = "0001") -> Path:
    """A finished release in the work folder."""
    return copied(model_dir / "versions" / name, model_dir / "work" / "release")


@pytest.mark.parametrize(
    ("there", "expected"),
    [((), "0002"), (("0003",), "0004"), (("0002.bak", "old", "3"), "0002"), (("9999",), "10000")],
)
def test_names_count_up(model_dir: Path, there: tuple[str, ...], expected: str) -> None:
    for name in there:
        (model_dir / "versions" / name).mkdir()
    published = publish(staged(model_dir), model_dir)
    assert published == model_dir / "versions" / expected
    assert release_names(model_dir)[-1] == expected
    assert open_release(model_dir).name == expected


def test_a_first_release_needs_nothing_but_the_folder(model_dir: Path, tmp_path: Path) -> None:
    staging = staged(model_dir)
    (tmp_path / "new").mkdir()
    assert publish(staging, tmp_path / "new") == tmp_path / "new" / "versions" / "0001"
    assert open_release(tmp_path / "new", verify=True).name == "0001"


def test_publishing_adds_and_never_changes(model_dir: Path) -> None:
    before = tree_state(model_dir / "versions" / "0001")
    staging = staged(model_dir)
    published = publish(staging, model_dir)
    assert tree_state(model_dir / "versions" / "0001") == before
    assert os.readlink(model_dir / "current") == "versions/0002"
    assert not staging.exists()
    assert {stat.S_IMODE(path.stat().st_mode) for path in published.iterdir()} == {0o444}
    assert sorted(os.listdir(model_dir)) == ["current", "versions", "work"]


@pytest.mark.parametrize("damage", ["a byte short", "noise in the middle"])
def test_what_is_not_whole_is_not_published(model_dir: Path, damage: str) -> None:
    staging = staged(model_dir)
    {**SAME_SIZE, **RESIZED}[damage](staging / "metadata.tsv")
    before = tree_state(model_dir / "versions")
    with pytest.raises(BadModelDir, match=r"got metadata\.tsv .*, expected"):
        publish(staging, model_dir)
    assert tree_state(model_dir / "versions") == before
    assert os.readlink(model_dir / "current") == "versions/0001"


def test_a_swap_that_was_killed_leaves_nothing_in_the_way(model_dir: Path) -> None:
    (model_dir / ".current").symlink_to("versions/0007")  # made, and not yet in its place
    publish(staged(model_dir), model_dir)
    assert os.readlink(model_dir / "current") == "versions/0002"


@pytest.mark.parametrize(("target", "current"), [("0002", "0002"), ("0007", "0001")])
def test_a_swap_that_was_killed_is_ended(model_dir: Path, target: str, current: str) -> None:
    """To the release that was meant, or not at all when that was not published any more."""
    copied(model_dir / "versions" / "0001", model_dir / "versions" / "0002")
    (model_dir / ".current").symlink_to(f"versions/{target}")
    finish_swap(model_dir)
    assert current_name(model_dir) == current
    assert not (model_dir / ".current").is_symlink()
    finish_swap(model_dir)
    assert current_name(model_dir) == current


def test_one_that_is_held_back_is_published_and_not_current(model_dir: Path) -> None:
    staging = staged(model_dir)
    edit_manifest(staging, {"held_back": "it is worse"})
    assert publish(staging, model_dir).name == "0002"
    assert (release_names(model_dir), current_name(model_dir)) == (["0001", "0002"], "0001")
    assert open_release(model_dir / "versions" / "0002", verify=True).manifest.held_back == "it is worse"


def test_a_current_that_is_a_folder_stops_the_next_before_it_is_published(model_dir: Path) -> None:
    staging = staged(model_dir)
    (model_dir / "current").unlink()
    (model_dir / "current").mkdir()
    with pytest.raises(BadModelDir, match="which is a folder, expected a link to a release"):
        publish(staging, model_dir)
    assert release_names(model_dir) == ["0001"]


def test_an_open_release_is_held(model_dir: Path) -> None:
    release = open_release(model_dir)
    assert is_held(release.directory)
    del release
    assert not is_held(model_dir / "versions" / "0001")


def test_a_current_that_is_a_folder_is_not_deleted(model_dir: Path) -> None:
    current = model_dir / "current"
    current.unlink()
    copied(model_dir / "versions" / "0001", current)  # as `cp -rL` makes it
    with pytest.raises(BadModelDir, match=f"got {current}, which is a folder, expected a link to a release"):
        make_current(model_dir, "0001")
    assert open_release(current, verify=True)


def test_readers_see_one_whole_release_during_swaps(model_dir: Path) -> None:
    other = staged(model_dir)
    change_array(other / EMBEDDINGS_FILE, {})
    edit_manifest(other, {"build_key": "other"})
    flipped = -np.load(other / EMBEDDINGS_FILE)
    np.save(other / EMBEDDINGS_FILE, flipped)
    with_index()(other)
    vouch_for(other)
    publish(other, model_dir)
    sign = {name: open_release(model_dir / "versions" / name).embeddings[0, 0] for name in ("0001", "0002")}
    finished = Event()

    def read() -> list[str]:
        seen = []
        while not finished.is_set():
            release = open_release(model_dir, verify=True)
            assert release.embeddings[0, 0] == sign[release.name]
            assert release.manifest.build_key == "other" or release.name == "0001"
            assert release.engine.search(release.embeddings[:1], 1).rows[0, 0] == 0
            seen.append(release.name)
        return seen

    with ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(read) for _ in range(2)]
        try:
            for swap in range(200):
                make_current(model_dir, ("0001", "0002")[swap % 2])
        finally:
            finished.set()
        assert set(reading[0].result() + reading[1].result()) == {"0001", "0002"}
