"""What a release says of itself: read back as written, and refused in a sentence when it is not what format 1 says."""

import json
from pathlib import Path
from typing import Any

import pytest
from api_fixtures import Catalogue
from model_dirs import GONE, copied, edit_manifest
from typer.testing import CliRunner

from audiorec.cli import app
from audiorec.errors import BadModelDir
from audiorec.release import open_release
from audiorec.release.manifest import FORMAT_VERSION, MANIFEST_FILE, read_manifest


@pytest.fixture
def release_dir(catalogue: Catalogue, tmp_path: Path) -> Path:
    return copied((catalogue.model_dir / "current").resolve(), tmp_path / "release")


def refusal(release_dir: Path) -> str:
    """The same sentence from the manifest, from the release and from the command line."""
    with pytest.raises(BadModelDir) as by_library:
        read_manifest(release_dir)
    with pytest.raises(BadModelDir) as by_release:
        open_release(release_dir)
    by_command = CliRunner().invoke(app, ["inspect", str(release_dir)])
    assert by_command.exit_code == 5
    assert by_command.stderr == f"error: {by_library.value.message}\n"
    assert by_release.value.message == by_library.value.message
    return by_library.value.message


def test_it_is_read_as_it_was_written(release_dir: Path, tmp_path: Path) -> None:
    manifest = read_manifest(release_dir)
    manifest.write(tmp_path)
    assert (tmp_path / MANIFEST_FILE).read_bytes() == (release_dir / MANIFEST_FILE).read_bytes()
    assert read_manifest(tmp_path) == manifest


def test_it_describes_the_build(catalogue: Catalogue) -> None:
    manifest = read_manifest(catalogue.model_dir / "current")
    assert (manifest.format_version, manifest.encoder.name, manifest.encoder.format) == (1, "MeanMel", "torchscript")
    assert manifest.catalogue.n_clips == manifest.evaluation.n_clips == len(catalogue.rows)
    assert manifest.index.metric == "angular"
    assert manifest.index.recall_at_10 >= 0.99


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b'{"format_version": 1',
        b"version 1",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a": ' * 100_000,
        b"\x00" * 500,
        b'{"format_version": 1' + b"0" * 5000 + b"}",
    ],
    ids=lambda text: f"{text[:8]!r} {len(text)}",
)
def test_what_is_not_json_is_refused(release_dir: Path, text: bytes) -> None:
    (release_dir / MANIFEST_FILE).write_bytes(text)
    assert refusal(release_dir).startswith(f"got a {MANIFEST_FILE} that is not JSON (")


def test_a_folder_in_its_place_is_refused(release_dir: Path) -> None:
    (release_dir / MANIFEST_FILE).unlink()
    (release_dir / MANIFEST_FILE).mkdir()
    assert f"got a {MANIFEST_FILE} that cannot be read (Is a directory), expected a file" in refusal(release_dir)


def test_one_that_may_not_be_read(unprivileged_dir: Path) -> None:
    (unprivileged_dir / MANIFEST_FILE).write_text("{}")
    (unprivileged_dir / MANIFEST_FILE).chmod(0)
    with pytest.raises(BadModelDir, match=r"cannot be read \(Permission denied\), expected a file and the right to"):
        read_manifest(unprivileged_dir)


def test_a_missing_one_is_refused(release_dir: Path) -> None:
    (release_dir / MANIFEST_FILE).unlink()
    with pytest.raises(BadModelDir, match=f"got no {MANIFEST_FILE} in release, expected a release of audiorec"):
        read_manifest(release_dir)
    with pytest.raises(BadModelDir, match=f"got {release_dir} without a published release"):
        open_release(release_dir)


@pytest.mark.parametrize("version", [0, 2, -1, 10**40, "1", None, [], GONE])
def test_another_format_is_refused_with_both_numbers(release_dir: Path, version: object) -> None:
    edit_manifest(release_dir, {"format_version": version})
    got = None if version is GONE else version
    assert f"got a release of format {got!r}, expected {FORMAT_VERSION}: build it again" in refusal(release_dir)


@pytest.mark.parametrize("fields", [[], 1, "manifest", None])
def test_json_that_is_no_object_is_refused(release_dir: Path, fields: object) -> None:
    (release_dir / MANIFEST_FILE).write_text(json.dumps(fields))
    assert f"got a release of format None, expected {FORMAT_VERSION}" in refusal(release_dir)


REQUIRED = [
    *("created_at", "build_key", "made_with", "encoder", "index", "catalogue", "evaluation", "files"),
    *(f"made_with.{name}" for name in ("audiorec", "torch", "annoy", "python")),
    *(f"encoder.{name}" for name in ("name", "dim", "sample_rate_hz", "clip_samples", "params", "licence", "origin")),
    *(f"encoder.{name}" for name in ("key", "features_key", "fitted_windows")),
    *(f"index.{name}" for name in ("kind", "n_trees", "search_k", "recall_at_10", "us_per_query")),
    *(f"catalogue.{name}" for name in ("n_clips", "n_windows", "n_refused", "hours")),
    *("evaluation.n_clips", "evaluation.encoder", "evaluation.baselines"),
    *(f"evaluation.encoder.{name}" for name in ("name", "hubness", "n_queries")),
]


@pytest.mark.parametrize("field", REQUIRED)
@pytest.mark.parametrize("value", [GONE, None, [], True], ids=["gone", "null", "list", "true"])
def test_a_field_that_is_missing_or_of_another_type_is_named(release_dir: Path, field: str, value: object) -> None:
    edit_manifest(release_dir, {field: value})
    message = refusal(release_dir)
    assert message.startswith(f"got a {MANIFEST_FILE} whose '{field}")
    assert message.endswith("build it again")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder.dim", 0),
        ("encoder.dim", -160),
        ("encoder.dim", 160.0),
        ("encoder.dim", "160"),
        ("encoder.params", -1),
        ("encoder.sample_rate_hz", -16000),
        ("encoder.clip_samples", 0),
        ("encoder.fitted_windows", -1),
        ("index.n_trees", 0),
        ("index.search_k", -1),
        ("index.recall_at_10", 1.5),
        ("index.recall_at_10", float("nan")),
        ("index.us_per_query", -1.0),
        ("catalogue.n_clips", 0),
        ("catalogue.n_clips", -40),
        ("catalogue.n_windows", 0),
        ("catalogue.n_refused", -1),
        ("catalogue.hours", -0.1),
        ("catalogue.hours", float("nan")),
        ("created_at", "yesterday"),
        ("evaluation.encoder.n_queries", -1),
    ],
)
def test_a_number_out_of_range_is_named(release_dir: Path, field: str, value: object) -> None:
    edit_manifest(release_dir, {field: value})
    assert refusal(release_dir).startswith(f"got a {MANIFEST_FILE} whose '{field}' is wrong (")


@pytest.mark.parametrize("facts", [{"bytes": -1}, {"sha256": "0" * 63}, {"sha256": "G" * 64}, {"sha256": "A" * 64}])
def test_the_facts_of_a_file_are_checked(release_dir: Path, facts: dict[str, Any]) -> None:
    stated = read_manifest(release_dir).files["groups.npy"].model_dump()
    files = {"groups.npy": {**stated, **facts}}
    edit_manifest(release_dir, {"files": files})
    (name,) = facts
    assert f"whose 'files.groups.npy.{name}' is wrong" in refusal(release_dir)


NO_FILES = (
    *("../release/groups.npy", "/etc/hostname", "versions/groups.npy", "./groups.npy", "groups.npy/"),
    *("..", ".", "", ".hidden", "nul\0byte", "a" * 300, "\x1b[2J", "new\nline"),
)


@pytest.mark.parametrize("name", NO_FILES)
def test_a_name_that_is_no_file_of_the_release_is_refused(release_dir: Path, name: str) -> None:
    files = {other: facts.model_dump() for other, facts in read_manifest(release_dir).files.items()}
    edit_manifest(release_dir, {"files": {**files, name: files["groups.npy"]}})
    with pytest.raises(BadModelDir, match=rf"got a {MANIFEST_FILE} whose .files\..* is wrong \(String should match"):
        open_release(release_dir)
    shown = CliRunner().invoke(app, ["inspect", str(release_dir)])
    assert (shown.exit_code, shown.stderr.count("\n")) == (5, 1)
    assert "\x1b" not in shown.stderr


@pytest.mark.parametrize("text", ["\ud800", "\x1b]0;title\x07"])
def test_odd_text_is_no_trouble(release_dir: Path, text: str) -> None:
    edit_manifest(release_dir, {"encoder.licence": text, "made_with.git": text})
    shown = CliRunner().invoke(app, ["inspect", str(release_dir)])
    assert shown.exit_code in (0, 5)
    assert isinstance(shown.exception, SystemExit | None)
    assert "\x1b" not in shown.output


def test_what_a_later_audiorec_adds_is_passed_over(release_dir: Path) -> None:
    known = read_manifest(release_dir)
    edit_manifest(release_dir, {name: {"new": [1]} for name in ("later", "encoder.later", "index.later")})
    edit_manifest(release_dir, {"evaluation.later": 1, "catalogue.later": None, "made": ""})
    edit_manifest(release_dir, {"files": {n: {**f.model_dump(), "later": 1} for n, f in known.files.items()}})
    assert read_manifest(release_dir) == known
    assert open_release(release_dir, verify=True).name == "release"


def test_a_release_without_labels_needs_no_figures(release_dir: Path) -> None:
    edit_manifest(release_dir, {"evaluation.encoder": {"name": "MeanMel", "hubness": 0.5, "n_queries": 0}})
    shown = CliRunner().invoke(app, ["inspect", str(release_dir)])
    assert shown.exit_code == 0
    assert "no retrieval figures: they need a label that two clips share (hubness 0.50)" in shown.stdout
