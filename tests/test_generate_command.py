"""`audiorec generate`: a file, what is said of it, the clips nearest to it; and never half a file."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from api_fixtures import Catalogue
from children import audiorec_command
from sounds import noise, tone
from typer.testing import CliRunner, Result

from audiorec.cli import app
from audiorec.commands import generate
from audiorec.generate import Prompt, Sound, encode_sound, load_generator
from audiorec.nearest import Nearest
from audiorec.recommend import embed_sound, recommend
from audiorec.release import Release

Directory = Callable[[str], Path]

KIND = "AudioLDMPipeline"
FEW = ("--steps", 2, "--seed", 7)


@pytest.fixture(scope="module")
def model(tiny_generator: Directory) -> Path:
    return tiny_generator(KIND)


def run(out: Path, model: Path | str, *options: object, prompt: str = "rain on a roof", **environment: str) -> Result:
    arguments = ["generate", prompt, "-o", str(out), "--model", str(model), *map(str, options)]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200", **environment})


def done(out: Path, model: Path | str, *options: object, **named: Any) -> str:
    result = run(out, model, *options, **named)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(out: Path, model: Path | str, *options: object, code: int, **named: Any) -> str:
    """What it said, after a look at the exit code, and that there is no file, nor a part of one."""
    before = sorted(out.parent.iterdir()) if out.parent.is_dir() else []
    result = run(out, model, *options, **named)
    assert result.exit_code == code, result.output
    assert (sorted(out.parent.iterdir()) if out.parent.is_dir() else []) == before
    return result.stderr


def test_a_sound_and_what_it_is(model: Path, tmp_path: Path) -> None:
    text = done(tmp_path / "out.wav", model, *FEW)
    assert text.splitlines() == [
        f"{tmp_path}/out.wav: 0.64 s at 16,000 Hz, guidance 2.5, seed 7, 2 steps",
        f"made by tiny-{KIND} ({KIND}); licence of its weights: CC-BY-NC-SA-4.0, as the family's published weights: "
        "this model has no card that says",
    ]
    expected = load_generator(str(model)).generate(Prompt(prompt="rain on a roof", steps=2, seed=7), lambda *_: None)
    assert (tmp_path / "out.wav").read_bytes() == encode_sound(expected)


@pytest.mark.parametrize(
    ("name", "container", "subtype"),
    [
        ("a.wav", "WAV", "PCM_24"),
        ("a.FLAC", "FLAC", "PCM_24"),
        ("a.mp3", "MP3", "MPEG_LAYER_III"),
        ("a.ogg", "OGG", "OPUS"),
        ("a.opus", "OGG", "OPUS"),
    ],
)
def test_formats(name: str, container: str, subtype: str, model: Path, tmp_path: Path) -> None:
    done(tmp_path / name, model, *FEW)
    found = soundfile.info(tmp_path / name)
    assert (found.format, found.subtype) == (container, subtype)
    assert found.duration == pytest.approx(0.64, abs=0.1)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_seed_that_was_drawn_can_be_asked_for(model: Path, tmp_path: Path) -> None:
    text = done(tmp_path / "first.wav", model, "--steps", 2)
    (seed,) = re.findall(r"seed (\d+)", text)
    done(tmp_path / "again.wav", model, "--steps", 2, "--seed", seed)
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "first.wav").read_bytes()


def test_options_reach_the_model(model: Path, tmp_path: Path) -> None:
    told = json.loads(
        done(
            *(tmp_path / "out.wav", model, *FEW, "--seconds", 1.5, "--guidance", 4, "--negative-prompt", "wind"),
            *("--preset", "fast", "--threads", 1, "--json"),
        )
    )
    assert told["sound"] == {"path": f"{tmp_path}/out.wav", "duration_s": 1.5, "sample_rate_hz": 16_000}
    assert told["request"] == {
        "prompt": "rain on a roof",
        "negative_prompt": "wind",
        "seconds": 1.5,
        "steps": 2,
        "guidance": 4.0,
        "seed": 7,
        "adapter": None,
        "preset": "fast",
    }
    assert told["model"].keys() == {"name", "kind", "licence", "fingerprint"}


def test_the_bar_shows_the_steps(model: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "out.wav", model, *FEW, AUDIOREC_PROGRESS="1")
    assert re.search(r"generate: 100%\|.*\| 2/2 ", result.stderr)
    assert run(tmp_path / "other.wav", model, *FEW).stderr == ""


def test_neighbours(model: Path, catalogue: Catalogue, nearest: Nearest, tmp_path: Path) -> None:
    """Those that `nearest` finds for the file."""
    out = tmp_path / "out.wav"
    options = ("--neighbours", catalogue.model_dir, "-k", 4, "--max-per-artist", 1, "--filter", '{"mood": "calm"}')
    text = done(out, model, *FEW, *options)
    found = nearest.search_file(out, 4, max_per_artist=1, filter={"mood": "calm"})
    assert len(found) == 4
    table = text.split("nearest to the sound:\n")[1].splitlines()
    assert [float(line.split()[1]) for line in table[1:5]] == [round(s, 3) for s in found.similarities]
    assert "nearest to the words" not in text
    told = json.loads(done(out, model, *FEW, *options, "--json", "--force"))
    assert told["results"] == found.to_dicts()
    assert (told["release"], told["by_prompt"], told["agreed"]) == ("0001", None, None)


def test_the_vector_is_that_of_the_file_through_any_door(nearest: Nearest, tmp_path: Path) -> None:
    sound = Sound(noise(3.0, 1, 32_000, peak=0.01), 32_000)
    (tmp_path / "sound.wav").write_bytes(encode_sound(sound))
    vector = embed_sound(sound, nearest.release).vector
    assert np.array_equal(vector, embed_sound(encode_sound(sound), nearest.release).vector)
    assert np.array_equal(vector, nearest.embed_file(tmp_path / "sound.wav").vector)
    (tmp_path / "sound.flac").write_bytes(encode_sound(sound, "flac"))
    assert vector @ nearest.embed_file(tmp_path / "sound.flac").vector > 1 - 1e-4
    (tmp_path / "sound.ogg").write_bytes(encode_sound(sound, "opus"))
    assert vector @ nearest.embed_file(tmp_path / "sound.ogg").vector > 0.9


def test_neighbours_of_the_words(nearest: Nearest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the release has a text encoder: this one's vector of any words is that of the sound's third neighbour."""
    sound = Sound(tone(1.0, 110 * 1.12**9), 16_000)
    row = recommend(sound, nearest, 5).by_sound.rows[2]
    monkeypatch.setattr(Release, "has_text", True)
    monkeypatch.setattr(Nearest, "embed_texts", lambda self, texts: self.release.embeddings[[row]])
    found = recommend(sound, nearest, 5, prompt="a tone")
    assert found.by_prompt is not None
    assert found.by_prompt.rows[0] == row
    both = set(found.by_sound.rows) & set(found.by_prompt.rows)
    assert row in both
    ids = [nearest.release.metadata.rows([row])[0]["clip_id"] for row in found.by_sound.rows if row in both]
    assert found.agreed == ids == found.to_json()["agreed"]
    assert [clip["rank"] for clip in found.to_json()["by_prompt"]] == [1, 2, 3, 4, 5]
    assert recommend(sound, nearest, 5).by_prompt is None


def test_words_that_the_release_cannot_read(nearest: Nearest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Release, "has_text", True)  # and still has no text encoder: BadQuery
    found = recommend(Sound(tone(1.0), 16_000), nearest, 3, prompt="a tone")
    assert (len(found.by_sound), found.by_prompt, found.agreed) == (3, None, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seconds", 0), "got seconds = 0, expected 0.5 to 30"),
        (("--seconds", -1), "got seconds = -1, expected 0.5 to 30"),
        (("--seconds", 3600), "got seconds = 3600, expected 0.5 to 30"),
        (("--seconds", "nan"), "got seconds = nan, expected 0.5 to 30"),
        (("--steps", 0), "got steps = 0, expected 1 to 999"),
        (("--steps", 10**6), "got steps = 1,000,000, expected 1 to 999"),
        (("--guidance", "nan"), "got guidance = nan, expected 0 to 100"),
        (("--guidance", "inf"), "got guidance = inf, expected 0 to 100"),
        (("--seed", -1), "got seed = -1, expected 0 to "),
        (("--adapter", "salsa"), "got adapter 'salsa', expected one of: none"),
    ],
)
def test_bad_requests(options: tuple[object, ...], message: str, model: Path, tmp_path: Path) -> None:
    assert message in refused(tmp_path / "out.wav", model, *options, code=4)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt: got a text with nothing in it"),
        ("x" * 10_000, "prompt: got a text of 10,000 characters"),
        ("rain\x1b[2J", "prompt: got a text with a control character in it (U+001B)"),
    ],
)
def test_bad_prompts(prompt: str, message: str, model: Path, tmp_path: Path) -> None:
    assert message in refused(tmp_path / "out.wav", model, prompt=prompt, code=4)


@pytest.mark.parametrize("options", [("--preset", "slow"), ("--seconds", "long"), ("--filter", "{")])
def test_wrong_usage(options: tuple[object, ...], model: Path, tmp_path: Path) -> None:
    refused(tmp_path / "out.wav", model, *options, code=2)


def test_what_is_wrong_is_said_before_the_model_is_loaded(catalogue: Catalogue, tmp_path: Path) -> None:
    """The model is none: whatever is named instead was looked at first."""
    none = tmp_path / "none"
    assert "expected one of .wav, .flac" in refused(tmp_path / "out.m4a", none, code=2)
    assert "a folder that is there" in refused(tmp_path / "elsewhere" / "out.wav", none, code=2)
    (tmp_path / "old.wav").write_bytes(b"old")
    assert "--force" in refused(tmp_path / "old.wav", none, code=2)
    assert (tmp_path / "old.wav").read_bytes() == b"old"
    refused(tmp_path / "out.wav", none, "--neighbours", tmp_path, code=5)
    with_neighbours = (none, "--neighbours", catalogue.model_dir)
    assert "k = 0" in refused(tmp_path / "out.wav", *with_neighbours, "-k", 0, code=4)
    assert "speed" in refused(tmp_path / "out.wav", *with_neighbours, "--filter", '{"speed": 1}', code=4)
    assert "got no directory" in refused(tmp_path / "out.wav", *with_neighbours, code=5)


def test_an_old_file_is_replaced_when_told(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out.wav").write_bytes(b"old")
    done(tmp_path / "out.wav", model, *FEW, "--force")
    assert soundfile.info(tmp_path / "out.wav").duration == 0.64


def test_stopped_by_ctrl_c(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def interrupted() -> Iterator[Callable[[int, int], None]]:
        def on_step(done: int, _: int) -> None:
            if done == 1:
                raise KeyboardInterrupt

        yield on_step

    monkeypatch.setattr(generate, "step_bar", interrupted)
    assert refused(tmp_path / "out.wav", model, *FEW, code=130) == "stopped; nothing was written\n"


def test_what_is_no_sound_is_no_file(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audiorec.generate.engines import Denoiser

    monkeypatch.setattr(Denoiser, "run", lambda *_: np.zeros(8000, np.float32))
    assert "error: got silence from the model" in refused(tmp_path / "out.wav", model, *FEW, code=3)


def test_a_full_disk(model: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "out"
    out_dir.mkdir()
    command = ["generate", "rain", "-o", str(out_dir / "out.wav"), "--model", str(model), *map(str, FEW)]
    ended = audiorec_command(command, out_dir, tmp_path / "scratch", max_file_bytes=10_000)
    assert ended.code == 7
    assert "expected room and permission" in ended.output
    assert list(out_dir.iterdir()) == []
