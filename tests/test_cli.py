"""The command line: what each command prints, the exit code of each error, and that --help is quick."""

import json
import os
import re
import shlex
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from api_fixtures import N_CLIPS, Catalogue
from model_dirs import change_metadata, copied, vouch_for
from toy import Slopes
from typer.main import get_command
from typer.testing import CliRunner, Result

import audiorec
from audiorec import export
from audiorec.cli import app
from audiorec.encoders import ENCODERS
from audiorec.files.tsv import read_tsv
from audiorec.nearest import Nearest
from audiorec.publishing.workplace import Workplace
from audiorec.release.manifest import read_manifest

COMMANDS = ("build", "convert", "export", "index", "serve", "nearest", "inspect", "evaluate", "samples", "generate")
EXECUTABLE = Path(sys.executable).parent / "audiorec"
TOY = ("--encoder", "Slopes")


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy among the encoders, and a short proof that its export is it."""
    monkeypatch.setitem(ENCODERS, "Slopes", Slopes)
    monkeypatch.setattr(export, "PARITY_BATCHES", (1,))


def run(*arguments: object, stdin: str | None = None, **environment: str) -> Result:
    """A command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, env=environment)


def done(*arguments: object, code: int = 0, stdin: str | None = None) -> str:
    """What it printed, after a look at the exit code."""
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == code, result.output
    return result.stdout


def refused(*arguments: object, code: int, stdin: str | None = None) -> str:
    """The one line that it said before it ended with this code."""
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    line, rest = result.stderr.split("\n", 1)
    assert line.startswith("error: ")
    assert rest == ""
    return line.removeprefix("error: ")


def misused(*arguments: object, stdin: str | None = None) -> str:
    """What click says about wrong usage, its box and line breaks taken away."""
    result = run(*arguments, stdin=stdin, COLUMNS="200")
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    return re.sub(r"[^\S ]|[│╭╮╰╯─]", "", result.stderr)


def test_help_lists_every_command() -> None:
    text = done("--help")
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", text)
        assert "Usage" in done(name, "--help")


def test_help_and_version_load_nothing_heavy() -> None:
    script = """
import contextlib, sys
from audiorec.cli import app
for arguments in (["--help"], ["--version"], *([name, "--help"] for name in sys.argv[1:])):
    with contextlib.suppress(SystemExit):
        app(arguments)
loaded = {"torch", "numpy", "annoy", "pyarrow", "fastapi"} & set(sys.modules)
assert not loaded, loaded
"""
    command = [sys.executable, "-c", script, *COMMANDS]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert f"audiorec {audiorec.__version__}\n" in finished.stdout


def test_every_option_says_what_it_does() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert set(COMMANDS) <= commands.keys()
    for name in COMMANDS:
        assert commands[name].help
        for parameter in commands[name].params:
            assert parameter.help or parameter.name == "help", f"{name} {parameter.name}"


def test_build_tells_what_came_of_it(clips_dir: Path, tmp_path: Path) -> None:
    model_dir = tmp_path / "model"
    text = done("build", clips_dir, model_dir, *TOY, code=3)
    assert "6 clips (0.01 hours), 7 of the files new; 1 refused, 0 other files passed over" in text
    assert re.search(r"^\S+ +1  noises/broken\.wav$", text, re.MULTILINE)  # reason, count, the first
    assert re.search(r"^8 - 16 s +2  #+$", text, re.MULTILINE)
    assert re.search(r"published release 0001: Slopes, 4 dimensions, 7 windows \(convert \d+\.\d s, encode ", text)
    assert re.search(r"recall@10 1\.0000, \d+ microseconds a query", text)
    for name in ("Slopes", "MeanMel (baseline)", "MFCC (baseline)", "random order"):
        assert re.search(rf"^{re.escape(name)}( +\d\.\d+){{3}}", text, re.MULTILINE)
    refusals = re.search(r"refused clips, with reasons: (\S+)", text)
    assert refusals
    assert [row["clip_id"] for row in read_tsv(Path(refusals[1]))] == ["noises/broken.wav"]
    assert text.endswith(f"next: audiorec serve {model_dir}\n      audiorec nearest {model_dir} SOUND_FILE\n")
    again = done("build", clips_dir, model_dir, *TOY, code=3)
    assert "0 of the files new" in again
    assert "nothing new: release 0001 is current" in again


def test_the_steps_name_one_another(clips_dir: Path, tmp_path: Path) -> None:
    """Each ends with the command that comes next, and that command works as it stands."""
    (clips_dir / "noises" / "broken.wav").unlink()
    model_dir = tmp_path / "model"
    ran = ["convert"]
    text = done("convert", clips_dir, model_dir)
    for _ in range(2):
        program, command, *rest = shlex.split(text.splitlines()[-1].removeprefix("next: "))
        assert program == "audiorec"
        ran.append(command)
        text = done(command, *rest, *(TOY if command == "export" else ["--no-baselines"]))
    assert ran == ["convert", "export", "index"]
    assert "published release 0001" in text
    assert "nothing new: release 0001 is current" in done("index", model_dir, "--no-baselines")
    assert "nothing new: release 0001 is current" in done("build", clips_dir, model_dir, *TOY, "--no-baselines")


def test_unlabelled_clips_have_no_figures(clips_dir: Path, tmp_path: Path) -> None:
    text = done("build", clips_dir / "tones", tmp_path / "model", *TOY)
    assert "no retrieval figures: they need a label that two clips share" in text
    assert "no retrieval figures" in done("evaluate", tmp_path / "model")


def test_bars_tell_rate_and_time_left(clips_dir: Path, tmp_path: Path) -> None:
    silent = run("build", clips_dir, tmp_path / "silent", *TOY, "--no-baselines")
    assert silent.stderr == ""  # nobody looks
    shown = run("build", clips_dir, tmp_path / "shown", *TOY, "--no-baselines", AUDIOREC_PROGRESS="1")
    assert re.search(r"convert: 100%.* 7/7 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+(clip/s|s/clip)\]", shown.stderr)
    assert re.search(r"encode \(Slopes\): 100%.* 6/6 ", shown.stderr)
    assert "crawl" not in shown.stderr  # of a folder that is taken as it is


def test_interrupted_it_says_how_to_go_on(clips_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("audiorec.build.convert", interrupt)
    result = run("build", clips_dir, tmp_path / "model", *TOY)
    assert (result.exit_code, result.stderr) == (130, "stopped; the same command goes on where it was\n")


def test_a_fault_of_ours_is_not_hidden(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("this should never happen")

    monkeypatch.setattr("audiorec.release.open_release", fail)
    result = run("inspect", catalogue.model_dir)
    assert result.exit_code == 1
    assert isinstance(result.exception, RuntimeError)


def test_samples_are_rendered_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiorec.samples.render", lambda out_dir, progress: 150)
    text = done("samples", tmp_path / "clips")
    assert text == f"150 clips in {tmp_path / 'clips'}\nnext: audiorec build {tmp_path / 'clips'} MODEL_DIR\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["nonsense"],
        ["build"],
        ["build", "only-one"],
        ["build", "a", "b", "--workers", "0"],
        ["build", "a", "b", "--workers", "many"],
        ["build", "a", "b", "--max-s", "0"],
        ["nearest", "m", "-k", "x", "--id", "a"],
        ["serve", "m", "--port", "70000"],
        ["serve", "m", "--workers", "0"],
        ["inspect"],
        ["inspect", "m", "--verify=maybe"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    assert "Error" in misused(*arguments)


@pytest.mark.parametrize(
    "queries",
    [[], ["--id", "a", "--embedding", "[1]"], ["sound.wav", "--id", "a"], ["s", "--id", "a", "--embedding", "1"]],
)
def test_not_one_query_is_2(catalogue: Catalogue, queries: list[str]) -> None:
    assert "expected exactly one of a sound file, --id, --text and --embedding" in misused(
        "nearest", catalogue.model_dir, *queries
    )


@pytest.mark.parametrize(
    "arguments",
    [
        *(["build", "CLIPS", ""], ["build", "", "MODEL"], ["convert", "CLIPS", ""], ["export", ""], ["index", ""]),
        *(["samples", ""], ["crawl", "", "OUT"], ["crawl", "CLIPS", ""], ["add", "MODEL", "CLIPS", ""]),
        *(["remove", "", "ID"], ["use", "", "0001"], ["prune", "", "--keep", "1"], ["serve", ""], ["nearest", ""]),
        *(["train", "vqvae", "CLIPS", "--out", ""], ["train", "generator", "", "--out", "RUN"]),
    ],
    ids=" ".join,
)
def test_an_empty_path_is_not_the_current_folder(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "got an empty path, expected one with a name" in misused(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[1,", "1.5.", "{'a': 1}", "nan", "[" * 100_000, "@missing.json", "@.", "@-"])
@pytest.mark.parametrize("option", ["--embedding", "--filter"])
def test_what_is_no_json_is_2(catalogue: Catalogue, option: str, text: str) -> None:
    query = ["--id", "100%.wav"] if option == "--filter" else []
    message = misused("nearest", catalogue.model_dir, *query, option, text, stdin="[1, 2")
    assert "expected JSON" in message
    assert "\x1b" not in message


def test_an_unknown_encoder_is_2(clips_dir: Path, tmp_path: Path) -> None:
    for command in (["build", clips_dir], ["export"]):
        assert "got encoder 'wav2vec', expected one of" in refused(
            *command, tmp_path / "model", "--encoder", "wav2vec", code=2
        )


def test_a_folder_without_a_sound_is_3(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    assert "got a folder without a clip" in refused("build", tmp_path / "clips", tmp_path / "model", *TOY, code=3)
    (tmp_path / "clips" / "text.wav").write_text("no sound")
    assert "got 1 files, none of them usable" in refused("convert", tmp_path / "clips", tmp_path / "model", code=3)
    assert "expected" in refused("export", tmp_path / "model", code=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--id", "nowhere"], "got the clip id 'nowhere', expected one of the"),
        (["--id", ""], "got the clip id '', expected one of the"),
        (["--embedding", "[1, 2, 3]"], "got an embedding of 3 numbers, expected 160"),
        (["--embedding", '"text"'], "not a list of numbers"),
        (["--embedding", "[NaN]"], "expected 160"),
        (["--embedding", json.dumps([0] * 160)], "got an embedding of zeros"),
        (["--embedding", json.dumps(["1"] * 160)], "not a list of numbers, expected 160"),
        (["--id", "100%.wav", "-k", "0"], "got k = 0, expected 1 or more"),
        (["--id", "100%.wav", "-k", "-5"], "got k = -5, expected 1 or more"),
        (["--id", "100%.wav", "--max-per-artist", "0"], "got max_per_artist = 0, expected 1 or more"),
        (["--id", "100%.wav", "--filter", '{"colour": "red"}'], "'colour'"),
        (["--id", "100%.wav", "--filter", "[]"], "as filter, expected an object"),
    ],
)
def test_a_query_that_cannot_be_answered_is_4(catalogue: Catalogue, arguments: list[str], message: str) -> None:
    assert message in refused("nearest", catalogue.model_dir, *arguments, code=4)


def test_a_sound_that_is_none_is_3(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("no sound")
    for name, reason in (("text.mp3", "expected"), ("missing.mp3", "got a file that cannot be read")):
        assert reason in refused("nearest", catalogue.model_dir, tmp_path / name, code=3)


def test_the_limit_of_a_sound_can_be_raised(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "two.wav").write_bytes(catalogue.sound("100%.wav"))
    asked = ("nearest", catalogue.model_dir, tmp_path / "two.wav", "-k", 1, "--max-s")
    assert "expected at most 0.1 s of sound: cut the clip, or raise the limit" in refused(*asked, 0.1, code=3)
    assert "100%.wav" in done(*asked, 60)


@pytest.mark.parametrize("command", ["nearest", "inspect", "evaluate", "serve"])
def test_no_model_directory_is_5(tmp_path: Path, command: str) -> None:
    query = ["--id", "a"] if command == "nearest" else []
    for path, reason in ((tmp_path / "nothing", "which does not exist"), (tmp_path, "without a published release")):
        message = refused(command, path, *query, code=5)
        assert message.startswith(f"got {path}")
        assert reason in message
        assert "make one by `audiorec build`" in message or "publish one by `audiorec build`" in message


def test_an_index_without_an_encoder_is_5(clips_dir: Path, tmp_path: Path) -> None:
    done("convert", clips_dir, tmp_path / "model", code=3)
    assert "run `audiorec export` first" in refused("index", tmp_path / "model", code=5)


def test_somebody_at_work_is_6(clips_dir: Path, tmp_path: Path) -> None:
    model_dir = tmp_path / "model"
    done("build", clips_dir, model_dir, *TOY, "--no-baselines", code=3)
    with Workplace(model_dir).locked():
        for command in (["build", clips_dir], ["convert", clips_dir], ["export"], ["index"]):
            message = refused(*command, model_dir, code=6)
            assert f"got the model directory {model_dir} in use by another process (process {os.getpid()}" in message
        assert "release 0001" in done("inspect", model_dir)  # reading needs no lock


def test_no_place_to_write_is_7(clips_dir: Path) -> None:
    """Nobody makes a folder there, root neither."""
    for command in ("build", "convert"):
        message = refused(command, clips_dir, "/sys/audiorec", code=7)
        assert re.search(r"got '.*' while writing .*, expected room and permission", message)


def test_nearest_by_id_is_the_librarys_answer(catalogue: Catalogue, nearest: Nearest) -> None:
    options = {"k": 4, "filter": {"label": "dog"}, "exclude": ["100%.wav"], "max_per_artist": 2}
    arguments = ["-k", 4, "--filter", '{"label": "dog"}', "--exclude", "100%.wav", "--max-per-artist", 2]
    answer = json.loads(done("nearest", catalogue.model_dir, "--id", "what?.wav?k=3", *arguments, "--json"))
    expected = nearest.search_id("what?.wav?k=3", **options)  # type: ignore[arg-type]
    assert answer == {"results": expected.to_dicts(), "release": "0001"}
    assert len(answer["results"]) == 4


def test_nothing_found_is_said(catalogue: Catalogue) -> None:
    asked = ("nearest", catalogue.model_dir, "--id", "what?.wav?k=3", "--filter", '{"label": "unicorn"}')
    assert done(*asked).startswith("no clip passes the conditions")
    assert json.loads(done(*asked, "--json"))["results"] == []


@pytest.mark.parametrize("way", ["inline", "file", "stdin"])
def test_nearest_by_embedding(catalogue: Catalogue, nearest: Nearest, tmp_path: Path, way: str) -> None:
    text = json.dumps(nearest.release.embeddings[7].tolist())
    (tmp_path / "vector.json").write_text(text)
    argument = {"inline": text, "file": f"@{tmp_path / 'vector.json'}", "stdin": "@-"}[way]
    stdin = text if way == "stdin" else None
    printed = done("nearest", catalogue.model_dir, "--embedding", argument, "--k", 3, "--json", stdin=stdin)
    assert json.loads(printed)["results"] == nearest.search(nearest.release.embeddings[7], 3).to_dicts()


def test_nearest_by_sound(catalogue: Catalogue, nearest: Nearest, tmp_path: Path) -> None:
    path = tmp_path / "query.wav"
    path.write_bytes(catalogue.sound("100%.wav"))
    answer = json.loads(done("nearest", catalogue.model_dir, path, "-k", 2, "--json"))
    assert answer["results"] == nearest.search_file(path, 2).to_dicts()
    assert answer["results"][0]["clip_id"] == "100%.wav"


def test_nearest_is_a_table(catalogue: Catalogue, nearest: Nearest) -> None:
    header, *lines = done("nearest", catalogue.model_dir, "--id", "100%.wav", "-k", 5).splitlines()
    assert header.split() == ["rank", "similarity", "clip", "label", "artist", "title"]
    for line, clip in zip(lines, nearest.search_id("100%.wav", 5), strict=True):
        assert line.split()[:2] == [str(clip.rank), f"{clip.similarity:.3f}"]
    nobody = done("nearest", catalogue.model_dir, "--id", "100%.wav", "--filter", '{"label": "unicorn"}')
    assert "unicorn" not in nobody


def test_inspect_shows_the_manifest(catalogue: Catalogue) -> None:
    manifest = read_manifest(catalogue.model_dir / "current")
    text = done("inspect", catalogue.model_dir)
    assert f"release 0001 of {manifest.created_at}: opened and checked; --verify compares every hash" in text
    assert f"catalogue: {N_CLIPS} clips, {N_CLIPS} windows, " in text
    assert "MeanMel, 160 dimensions" in text
    for name, facts in manifest.files.items():
        assert re.search(rf"^{re.escape(name)} +{facts.bytes:,} +{facts.sha256[:12]}$", text, re.MULTILINE)
    assert "every byte verified" in done("inspect", catalogue.model_dir, "--verify")
    assert json.loads(done("inspect", catalogue.model_dir, "--json")) == manifest.model_dump()


def test_evaluate_measures(catalogue: Catalogue) -> None:
    text = done("evaluate", catalogue.model_dir)
    assert re.search(r"^MeanMel( +\d\.\d{3}){4} +-?\d+\.\d{3}$", text, re.MULTILINE)
    for label in ("dog", "cat"):  # the hotdogs are all by one artist
        assert re.search(rf"^{label} +\d+( +\d\.\d{{3}}){{2}}$", text, re.MULTILINE)
    assert f"{N_CLIPS} queries" in text.splitlines()[-1]
    figures = json.loads(done("evaluate", catalogue.model_dir, "--json"))
    manifest = read_manifest(catalogue.model_dir / "current")
    assert figures["encoder"] == manifest.evaluation.encoder.model_dump()
    assert figures["index"]["n_queries"] == N_CLIPS


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\b\x7f\x9b31m\u202egnp.exe\u2028"


@pytest.fixture
def hostile_dir(catalogue: Catalogue, tmp_path: Path) -> Path:
    """The small release with names that would steer a terminal wherever there is a name."""
    release_dir = copied((catalogue.model_dir / "current").resolve(), tmp_path / "release")
    cells = dict.fromkeys(("title", "artist", "label", "url", "album"), HOSTILE)
    changes = {row: {**cells, "clip_id": f"{HOSTILE}{row}"} for row in range(N_CLIPS)}
    change_metadata(release_dir, changes, own={HOSTILE: HOSTILE})
    vouch_for(release_dir)
    return release_dir


def steering(text: str) -> set[str]:
    """What a terminal would obey, or what hides the order of characters."""
    return {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") and char != "\n"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["nearest", "--id", f"{HOSTILE}3"],
        ["nearest", "--id", f"{HOSTILE}3", "--json"],
        ["inspect"],
        ["inspect", "--json"],
        ["inspect", "--verify"],
        ["evaluate"],
        ["evaluate", "--json"],
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[-1:]).replace(HOSTILE, ""),
)
def test_names_never_steer_the_terminal(hostile_dir: Path, arguments: list[str]) -> None:
    command, *rest = arguments
    text = done(command, hostile_dir, *rest)
    assert steering(HOSTILE)
    assert steering(text) == set()


def test_in_json_names_are_whole(hostile_dir: Path) -> None:
    answer: dict[str, Any] = json.loads(done("nearest", hostile_dir, "--id", f"{HOSTILE}3", "--json"))
    assert {result["title"] for result in answer["results"]} == {HOSTILE}
    assert {result["metadata"][HOSTILE] for result in answer["results"]} == {HOSTILE}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--id", HOSTILE],
        ["--id", "100%.wav", "--filter", json.dumps({HOSTILE: 1})],
        ["--id", "100%.wav", "--filter", HOSTILE],
        ["--embedding", HOSTILE],
    ],
)
def test_errors_never_steer_the_terminal(catalogue: Catalogue, arguments: list[str]) -> None:
    result = run("nearest", catalogue.model_dir, *arguments)
    assert result.exit_code in (2, 4)
    assert steering(result.output) == set()


def test_what_can_be_read_is_left_as_it_is(catalogue: Catalogue) -> None:
    emoji = "emoji 🎧👩‍🚀.wav"
    assert "クリップ.wav" in done("nearest", catalogue.model_dir, "--id", emoji, "-k", N_CLIPS)
    assert "クリップ.wav" in done("nearest", catalogue.model_dir, "--id", emoji, "-k", N_CLIPS, "--json")


def test_the_program_answers(catalogue: Catalogue, nearest: Nearest) -> None:
    command = [str(EXECUTABLE), "nearest", str(catalogue.model_dir), "--id", "100%.wav", "-k", "2", "--json"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert json.loads(finished.stdout)["results"] == nearest.search_id("100%.wav", 2).to_dicts()


def test_the_program_refuses_in_a_line(tmp_path: Path) -> None:
    finished = subprocess.run([EXECUTABLE, "inspect", tmp_path], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (5, "")
    assert re.fullmatch(r"error: got .* without a published release, expected a model directory: .*\n", finished.stderr)


def test_a_reader_that_leaves_is_no_fault(catalogue: Catalogue) -> None:
    script = f"{shlex.quote(str(EXECUTABLE))} inspect {shlex.quote(str(catalogue.model_dir))} --json | head -c 1"
    finished = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (finished.stdout, finished.stderr) == ("{", "")


def test_an_answer_needs_no_torch(catalogue: Catalogue) -> None:
    script = """
import contextlib, sys
from audiorec.cli import app
for arguments in (["nearest", "--id", "100%.wav"], ["inspect", "--verify"], ["evaluate"]):
    with contextlib.suppress(SystemExit):
        app([arguments[0], sys.argv[1], *arguments[1:]])
assert "torch" not in sys.modules
"""
    finished = subprocess.run([sys.executable, "-c", script, catalogue.model_dir], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert len(finished.stdout.splitlines()) > 30


def test_equal_vectors_from_every_door(catalogue: Catalogue, nearest: Nearest, tmp_path: Path) -> None:
    """The file, its vector and its id find the same neighbours."""
    path = tmp_path / "query.wav"
    path.write_bytes(catalogue.sound("100%.wav"))
    vector = json.dumps(np.asarray(nearest.embed_file(path).vector, float).tolist())
    found = []
    for query in (
        [path, "--exclude", "100%.wav"],
        ["--embedding", vector, "--exclude", "100%.wav"],
        ["--id", "100%.wav"],
    ):
        answer = json.loads(done("nearest", catalogue.model_dir, *query, "--json"))
        found.append([result["clip_id"] for result in answer["results"]])
    assert found[0] == found[1] == found[2]
