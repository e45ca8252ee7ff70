"""The commands on a catalogue that is there: what they print, as text and as JSON, and how they end."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from api_fixtures import N_CLIPS, Catalogue
from model_dirs import copied
from sounds import encoded, noise, tone
from typer.main import get_command
from typer.testing import CliRunner, Result

from audiorec.cli import app
from audiorec.publishing.workplace import Workplace
from audiorec.release import current_name, release_names
from audiorec.release.holds import Hold

COMMANDS = ("add", "remove", "releases", "use", "rollback", "prune")


@pytest.fixture
def model_dir(catalogue: Catalogue, tmp_path: Path) -> Path:
    return copied(catalogue.model_dir, tmp_path / "model")


@pytest.fixture
def new_dir(tmp_path: Path) -> Path:
    """Two clips."""
    folder = tmp_path / "new"
    for name, sound in {"tones/low.wav": tone(0.3, 200), "noises/white.wav": noise(0.3, 1)}.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(encoded(sound))
    return folder


def run(*arguments: object, code: int = 0, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def done(*arguments: object, code: int = 0, stdin: str | None = None) -> str:
    return run(*arguments, code=code, stdin=stdin).stdout


def parsed(*arguments: object, code: int = 0) -> Any:
    return json.loads(done(*arguments, "--json", code=code))


def refused(*arguments: object, code: int) -> str:
    """The one line that it said."""
    result = run(*arguments, code=code)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_every_option_says_what_it_does() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name in COMMANDS:
        assert commands[name].help
        assert all(parameter.help or parameter.name == "help" for parameter in commands[name].params)


def test_add_tells_what_came_of_it(model_dir: Path, new_dir: Path) -> None:
    text = done("add", model_dir, new_dir)
    assert text.startswith("clips: 2 added\n")
    assert re.search(
        rf"published release 0002: {N_CLIPS + 2} clips \(verify \d+\.\d s, convert .* publish .* s\)", text
    )
    assert re.search(r"index: exact answers, as fast here; Annoy \(4 trees, search_k \d+\): recall@10 1\.0000, ", text)
    assert re.search(r"neighbours by label: P@5 \d\.\d{3}, mAP \d\.\d{3}, \d+ queries", text)
    assert done("add", model_dir, new_dir) == "clips: 2 as they were\nnothing new: release 0002 is current\n"


def test_what_could_not_be_added_is_told_one_by_one(model_dir: Path, new_dir: Path) -> None:
    (new_dir / "broken.wav").write_text("no sound")
    (new_dir / "labels.csv").write_text("path,clip_id\ntones/low.wav,100%.wav\n")
    text = done("add", model_dir, new_dir, code=3)
    assert text.startswith("clips: 1 added, 2 refused\n")
    assert re.search(r"^broken\.wav +text +got text, expected sound$", text, re.MULTILINE)
    assert re.search(r"^100%\.wav +id_taken +got another sound for the id 100%\.wav, which", text, re.MULTILINE)
    text = done("add", model_dir, new_dir, "--replace", code=3)
    assert text.startswith("clips: 1 replaced, 1 as they were, 1 refused\n")


def test_many_refusals_are_shortened(model_dir: Path, tmp_path: Path) -> None:
    for number in range(25):
        (tmp_path / f"{number:02}.wav").write_text("no sound")
    text = done("add", model_dir, *sorted(tmp_path.glob("*.wav")), code=3)
    assert text.count("expected sound") == 20
    assert "... and 5 more: --json has all" in text
    assert len(parsed("add", model_dir, *sorted(tmp_path.glob("*.wav")), code=3)["refused"]) == 25


def test_add_and_remove_as_json(model_dir: Path, new_dir: Path) -> None:
    (new_dir / "broken.wav").write_text("no sound")
    lists = ("added", "replaced", "removed", "unchanged", "refused", "unknown")
    nothing: dict[str, Any] = {name: [] for name in lists}
    nothing |= {"new": True, "current": True, "held_back": None}
    assert parsed("add", model_dir, new_dir, code=3) == nothing | {
        "release": "0002",
        "added": ["noises/white.wav", "tones/low.wav"],
        "refused": [{"clip_id": "broken.wav", "code": "text", "message": "got text, expected sound"}],
    }
    assert parsed("remove", model_dir, "tones/low.wav", "nope", code=3) == nothing | {
        "release": "0003",
        "removed": ["tones/low.wav"],
        "unknown": ["nope"],
    }


def test_remove_tells_what_came_of_it(model_dir: Path) -> None:
    text = done("remove", model_dir, "100%.wav", "nope", code=3)
    assert text.startswith("clips: 1 removed, 1 unknown\n")
    assert re.search(r"^nope +unknown_clip +got an id that the catalogue does not have$", text, re.MULTILINE)
    assert f"published release 0002: {N_CLIPS - 1} clips" in text
    again = done("remove", model_dir, "100%.wav")
    assert again == "clips: 1 as they were\nnothing new: release 0002 is current\n"


@pytest.mark.parametrize("from_stdin", [False, True])
def test_ids_come_from_a_file_as_metadata_tsv_has_them(model_dir: Path, tmp_path: Path, from_stdin: bool) -> None:
    lines = "100%.wav\n\ntab\\tand\\nnewline.wav\nquo\"te's\\\\back.wav"
    (tmp_path / "ids").write_text(lines)
    source = "-" if from_stdin else tmp_path / "ids"
    text = done("remove", model_dir, "what?.wav?k=3", "--from-file", source, stdin=lines)
    assert text.startswith("clips: 4 removed\n")


def test_a_list_of_ids_may_end_its_lines_as_windows_does(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "ids").write_bytes(b"100%.wav\r\n\r\nwhat?.wav?k=3\r\n")
    text = done("remove", model_dir, "--from-file", tmp_path / "ids")
    assert text.startswith("clips: 2 removed\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\n", "ids without an id in it"), (b"\xff\xfe", "codec"), (b"back\\slash", "escape"), (None, "No such file")],
)
def test_a_list_that_cannot_be_read(model_dir: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "ids").write_bytes(content)
    arguments = ["remove", str(model_dir), "--from-file", str(tmp_path / "ids")]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert message in result.stderr
    assert release_names(model_dir) == ["0001"]


def test_nothing_to_remove_is_wrong_usage(model_dir: Path) -> None:
    result = CliRunner().invoke(app, ["remove", str(model_dir)])
    assert result.exit_code == 2
    assert "got no ids, expected clip ids, or --from-file" in result.stderr


def test_a_release_that_is_worse_ends_with_8_and_the_way_to_use_it(
    model_dir: Path, new_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiorec.release.guard.Guard._compared", lambda *_: [("P@5", 0.2, 0.5, 0.1)])
    text = done("add", model_dir, new_dir, code=8)
    assert text.endswith(
        "\nrelease 0002 is not current: P@5 is 0.2000, expected at least 0.4000, as release 0001 has 0.5000\n"
        f"to serve it all the same: audiorec use {model_dir} 0002\n"
    )
    assert current_name(model_dir) == "0001"
    assert "nothing new: release 0002\n" in done("add", model_dir, new_dir, code=8)
    as_json = parsed("remove", model_dir, "100%.wav", code=8)
    assert (as_json["release"], as_json["current"], as_json["held_back"][:3]) == ("0003", False, "P@5")
    assert "0002 was held back: P@5 is 0.2000" in done("releases", model_dir)
    assert "held back when it was published: P@5" in done("inspect", model_dir / "versions" / "0002")
    assert done("use", model_dir, "0002") == "release 0002 is current\n"
    assert current_name(model_dir) == "0002"
    assert "was held back: P@5" in done("releases", model_dir)  # of the third
    assert done("remove", model_dir, "100%.wav", "--make-current").startswith("clips: 1 removed\n")
    assert current_name(model_dir) == "0004"


def test_a_build_that_is_worse_ends_with_8(
    catalogue: Catalogue, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiorec.release.guard.Guard._compared", lambda *_: [("P@5", 0.2, 0.5, 0.1)])
    options = ("--encoder", "MFCC", "--no-baselines")
    text = done("build", catalogue.audio_dir, model_dir, *options, code=8)
    assert "published release 0002" in text
    assert text.endswith(f"to serve it all the same: audiorec use {model_dir} 0002\n")
    again = done("index", model_dir, "--no-baselines", code=8)
    assert "nothing new: release 0002: MFCC" in again
    assert "nothing new: release 0002 is current" in done("index", model_dir, "--no-baselines", "--make-current")


def test_releases_are_listed(model_dir: Path, new_dir: Path) -> None:
    done("add", model_dir, new_dir)
    done("remove", model_dir, "100%.wav")
    with Hold(model_dir / "versions" / "0001"):
        header, *rows = done("releases", model_dir).splitlines()
    assert header.split() == [
        *("release", "created", "made", "by", "encoder", "clips"),
        *("MB", "own", "MB", "recall@10", "P@5", "mAP"),
    ]
    figures = r" +\d+\.\d +\d+\.\d  +1\.000  \d\.\d{3}  \d\.\d{3}"
    made = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.fullmatch(rf" +0001  {made}  build +MeanMel +40{figures}  held", rows[0])
    assert re.fullmatch(rf" +0002  {made}  0001 \+2 +MeanMel +42{figures}", rows[1])
    assert re.fullmatch(rf" +0003  {made}  0002 -1 +MeanMel +41{figures}  current", rows[2])
    assert "made from release 0002 -1" in done("inspect", model_dir)
    listed = parsed("releases", model_dir)
    assert [one["name"] for one in listed] == ["0001", "0002", "0003"]
    assert [one["n_clips"] for one in listed] == [40, 42, 41]


def test_a_release_that_cannot_be_read_is_listed_with_its_trouble(model_dir: Path) -> None:
    done("remove", model_dir, "100%.wav")
    (model_dir / "versions" / "0001" / "manifest.json").unlink()
    text = done("releases", model_dir)
    assert text.endswith("\n0001: got no manifest.json in 0001, expected a release of audiorec\n")


def test_back_and_forth(model_dir: Path) -> None:
    done("remove", model_dir, "100%.wav")
    assert done("rollback", model_dir) == "release 0001 is current\n"
    assert refused("rollback", model_dir, code=5).startswith("error: got no release before 0001, expected one to go")
    assert done("rollback", model_dir, "0002") == "release 0002 is current\n"
    assert done("use", model_dir, "0001") == "release 0001 is current\n"
    assert refused("use", model_dir, "0007", code=2).startswith(
        "error: got the release '0007', expected one of 0001, 00"
    )


def test_old_releases_are_deleted(model_dir: Path) -> None:
    for number in range(3):
        done("remove", model_dir, ("100%.wav", "what?.wav?k=3", "hash#tag.wav")[number])
    with Hold(model_dir / "versions" / "0002"):
        text = done("prune", model_dir, "--keep", "1")
    assert re.fullmatch(
        r"deleted 0001, 0003: \d+\.\d MB; kept 0002, 0004\nnot deleted, as a process holds them: 0002\n", text
    )
    assert done("prune", model_dir, "--keep", "5") == "deleted nothing: 0.0 MB; kept 0002, 0004\n"
    assert CliRunner().invoke(app, ["prune", str(model_dir)]).exit_code == 2
    assert CliRunner().invoke(app, ["prune", str(model_dir), "--keep", "0"]).exit_code == 2


def test_somebody_at_work_is_6_and_nothing_there_is_5(model_dir: Path, new_dir: Path, tmp_path: Path) -> None:
    calls = [("add", new_dir), ("remove", "100%.wav"), ("use", "0001"), ("rollback", "0001"), ("prune", "--keep", "1")]
    for name, *arguments in calls:
        with Workplace(model_dir).locked():
            assert "in use by another process" in refused(name, model_dir, *arguments, code=6)
        assert "expected a model directory" in refused(name, tmp_path / "none", *arguments, code=5)
    assert "expected a model directory" in refused("releases", tmp_path / "none", code=5)
