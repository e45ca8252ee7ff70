"""Pretrained models from a directory to a service: built, chosen, kept, served, asked, edited, measured."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from sounds import encoded, noise, tone
from starlette.testclient import TestClient
from test_cli import done, refused
from tiny_models import save_ast, save_wave

from audiorec import export
from audiorec.api.app import create_app
from audiorec.audio import CLIP_SAMPLES
from audiorec.audio.decoder import DecoderPool
from audiorec.build import build
from audiorec.catalogue import convert
from audiorec.catalogue.convert import DEFAULT_LIMITS
from audiorec.encoders import PRETRAINED_ENCODERS
from audiorec.errors import BadSetting
from audiorec.fit import chosen_model
from audiorec.nearest import Nearest
from audiorec.release.manifest import EncoderFacts, read_manifest
from audiorec.settings import Settings

LABELS = ("low", "high", "noise")
N_CLIPS = 54
SMALL = {"num_hidden_layers": 2}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """One process that decodes for all builds, one thread that computes, a short proof that an export is right."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, DecoderPool(1, DEFAULT_LIMITS) as pool:
        patch.setattr(convert, "DecoderPool", lambda n_workers, limits: nullcontext(pool))
        patch.setattr(export, "PARITY_BATCHES", (1, 2))
        yield
    torch.set_num_threads(n_threads)


def write_clips(folder: Path, n: int) -> Path:
    for i in range(n):
        sound = (tone(0.2 + i / 100, 200 + 5 * i), tone(0.2 + i / 100, 3000 - 20 * i), noise(0.2, seed=i))[i % 3]
        path = folder / LABELS[i % 3] / f"{i:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(sound + 0.05 * noise(len(sound) / 16_000, seed=i)[: len(sound)]))
    return folder


@pytest.fixture(scope="module")
def audio_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), N_CLIPS)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Too few to choose a layer by."""
    return write_clips(tmp_path_factory.mktemp("few"), 6)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec2, with a card."""
    path = save_wave(tmp_path_factory.mktemp("models") / "tiny-wav2vec2", "wav2vec2", **SMALL)
    (path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Tiny\n")
    return path


@pytest.fixture(scope="module")
def printed(audio_dir: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A model directory, and what its build said."""
    model_dir = tmp_path_factory.mktemp("built") / "model"
    return model_dir, done("build", audio_dir, model_dir, "--encoder", "wav2vec2", "--model", source, "--workers", 1)


@pytest.fixture
def model_dir(printed: tuple[Path, str]) -> Path:
    return printed[0]


def facts_of(model_dir: Path) -> EncoderFacts:
    return read_manifest(model_dir / "current").encoder


def quickly(audio_dir: Path, model_dir: Path, **options: Any) -> EncoderFacts:
    return build(audio_dir, model_dir, n_workers=1, baselines=False, **options).manifest.encoder


def test_the_manifest_says_what_it_is_made_of(model_dir: Path, source: Path) -> None:
    facts = facts_of(model_dir)
    assert (facts.name, facts.licence, facts.origin, facts.dim) == ("wav2vec2", "cc-by-nc-4.0", "tiny-wav2vec2", 32)
    assert facts.layer is not None
    assert facts.layer.n_layers == 2
    assert facts.layer.index == int(np.argmax(np.add(facts.layer.p5, facts.layer.mean_average_precision)))
    assert facts.layer.why.startswith(f"the best by retrieval on {N_CLIPS} clips: P@5 ")
    assert re.fullmatch("[0-9a-f]{64}", facts.checkpoint or "")
    assert str(source.parent) not in (model_dir / "current/manifest.json").read_text()


def test_the_build_says_which_layer_and_whose_weights(printed: tuple[Path, str]) -> None:
    model_dir, text = printed
    layer = facts_of(model_dir).layer
    assert layer is not None
    assert text.startswith("note: the weights of tiny-wav2vec2 are cc-by-nc-4.0: not for commercial use\n")
    assert f"layer {layer.index} of 2 of tiny-wav2vec2: {layer.why}" in text
    assert "choose the layer" in text
    assert f"layer {layer.index} of 2 of tiny-wav2vec2" in done("inspect", model_dir, "--verify")


def test_it_is_asked_and_measured_like_any_other(model_dir: Path, audio_dir: Path) -> None:
    clip_id = "noise/05.wav"
    by_id = json.loads(done("nearest", model_dir, "--id", clip_id, "-k", 5, "--json"))["results"]
    by_sound = json.loads(done("nearest", model_dir, audio_dir / clip_id, "-k", 6, "--json"))["results"]
    assert by_sound[0]["clip_id"] == clip_id
    assert by_sound[0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert [found["clip_id"] for found in by_sound[1:]] == [found["clip_id"] for found in by_id]
    measured = json.loads(done("evaluate", model_dir, "--json"))["encoder"]
    assert measured["name"] == "wav2vec2"
    assert measured["precision"]["5"] > measured["chance"] + 0.2


def test_it_is_served_like_any_other(model_dir: Path, audio_dir: Path) -> None:
    with TestClient(create_app(Settings.load(model_dir=model_dir))) as client:
        sound = (audio_dir / "low/03.wav").read_bytes()
        answer = client.post("/nearest?k=3", content=sound, headers={"Content-Type": "audio/wav"})
        assert answer.json()["results"][0]["clip_id"] == "low/03.wav"
        assert client.get("/model").json()["encoder"]["layer"]["n_layers"] == 2


def test_its_file_needs_torch_and_nothing_else(model_dir: Path) -> None:
    program = (
        "import sys, torch\n"
        f"print(float(torch.jit.load(sys.argv[1])(torch.randn(2, 1, {CLIP_SAMPLES})).norm(dim=1).min()))\n"
        "print([name for name in ('transformers', 'torchaudio', 'audiorec') if name in sys.modules])"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, str(model_dir / "current/encoder.pt")]
    norm, modules = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert float(norm) == pytest.approx(1, abs=1e-4)
    assert modules == "[]"


def test_the_next_build_uses_it_and_finds_nothing_new(
    model_dir: Path, audio_dir: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen_model, "choose_layer", None)
    assert "nothing new: release 0001" in done("build", audio_dir, model_dir, "--encoder", "wav2vec2", "--workers", 1)
    assert "nothing new: release 0001" in done("index", model_dir)
    again = ("build", audio_dir, model_dir, "--encoder", "wav2vec2", "--model", source, "--workers", 1)
    assert "nothing new: release 0001" in done(*again)


def test_clips_are_added_and_removed_by_its_file_alone(few: Path, source: Path, tmp_path: Path) -> None:
    model_dir, new = tmp_path / "model", tmp_path / "new" / "low" / "new.wav"
    before = quickly(few, model_dir, encoder="wav2vec2", model=str(source), layer=1)
    new.parent.mkdir(parents=True)
    new.write_bytes(encoded(tone(0.5, 320)))
    for path in (model_dir / "work").rglob("*.json"):
        path.unlink()
    assert "1 added" in done("add", model_dir, new.parent.parent, "--workers", 1)
    assert Nearest(model_dir).search_file(new, k=1).to_dicts()[0]["clip_id"] == "low/new.wav"
    assert "1 removed" in done("remove", model_dir, "low/new.wav")
    assert facts_of(model_dir) == before


@pytest.mark.parametrize("name", ["ast", "data2vec", "hubert", "wavlm"])
def test_every_family_makes_a_release(name: str, few: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    if name == "ast":
        save_ast(source, **SMALL)
    else:
        save_wave(source, name, **SMALL)
    facts = quickly(few, tmp_path / "model", encoder=name, model=str(source))
    assert facts.layer is not None
    assert (facts.name, facts.layer.index) == (name, 1)
    assert (
        facts.layer.why == "the one in the middle: 6 clips that share a label with some others are too few to choose by"
    )
    (found,) = Nearest(tmp_path / "model").search_file(few / "high/01.wav", k=1).to_dicts()
    assert (found["clip_id"], found["similarity"]) == ("high/01.wav", pytest.approx(1, abs=1e-4))


def test_a_layer_that_was_named_is_kept_until_another_is(few: Path, source: Path, tmp_path: Path) -> None:
    def layer(**options: Any) -> tuple[int, str]:
        facts = quickly(few, tmp_path / "model", encoder="wav2vec2", **options)
        assert facts.layer is not None
        return facts.layer.index, facts.layer.why.split(":")[0]

    middle, named = "the one in the middle", "the one that was named"
    assert layer(model=str(source)) == (1, middle)
    assert layer(layer=2) == (2, named)
    assert layer() == (2, named)
    assert layer(refit=True) == (2, named)
    assert layer(model=str(source)) == (2, named)
    other = save_wave(tmp_path / "other", "wav2vec2", num_hidden_layers=3)
    assert layer(model=str(other)) == (1, middle)
    save_wave(other, "wav2vec2", num_hidden_layers=4)
    assert layer() == (2, middle)


def test_a_refit_chooses_the_layer_anew(few: Path, source: Path, tmp_path: Path) -> None:
    facts = quickly(few, tmp_path / "model", encoder="wav2vec2", model=str(source))
    write_clips(few.parent / "more", N_CLIPS)
    kept = quickly(few.parent / "more", tmp_path / "model", encoder="wav2vec2")
    assert kept.layer == facts.layer
    anew = quickly(few.parent / "more", tmp_path / "model", encoder="wav2vec2", refit=True)
    assert anew.layer is not None
    assert len(anew.layer.p5) == 3


def test_a_model_that_went_away(few: Path, tmp_path: Path) -> None:
    source = save_wave(tmp_path / "source", "wav2vec2", **SMALL)
    quickly(few, tmp_path / "model", encoder="wav2vec2", model=str(source))
    source.rename(tmp_path / "elsewhere")
    command = ("build", few, tmp_path / "model", "--encoder", "wav2vec2", "--workers", 1)
    assert "expected a wav2vec2 model: name one that is there" in refused(*command, code=5)
    assert "nothing new" in done(*command, "--model", tmp_path / "elsewhere", "--no-baselines")


@pytest.fixture
def offline(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub cannot be reached; owner/tiny was downloaded before."""
    kept, sha = tmp_path / "cache" / "models--owner--tiny", 40 * "a"
    shutil.copytree(source, kept / "snapshots" / sha)
    (kept / "refs").mkdir()
    (kept / "refs/main").write_text(sha)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(kept.parent))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
def test_a_hub_id_names_the_model(few: Path, tmp_path: Path) -> None:
    facts = quickly(few, tmp_path / "model", encoder="wav2vec2", model="owner/tiny", layer=1)
    assert (facts.origin, facts.licence) == ("owner/tiny", "cc-by-nc-4.0")
    assert quickly(few, tmp_path / "model", encoder="wav2vec2") == facts


@pytest.mark.usefixtures("offline")
def test_a_hub_that_cannot_be_reached(few: Path, tmp_path: Path) -> None:
    command = ("build", few, tmp_path / "model", "--encoder", "wav2vec2", "--model", "owner/other")
    assert "`hf download owner/other --local-dir DIR`" in refused(*command, code=5)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--encoder", "wav2vec2"], 2, "got encoder 'wav2vec2' without a model, expected --model .* facebook/wav2vec2"),
        (["--encoder", "wav2vec2", "--model", "./nowhere"], 5, "got no directory './nowhere', expected a wav2vec2"),
        (["--encoder", "MeanMel", "--model", "./nowhere"], 2, "got a model for MeanMel, which is made of no model"),
        (["--layer", "3"], 2, "got a layer for base, which is made of no model, expected it for one of ast"),
        (["--encoder", "wav2vec2", "--checkpoint", "x.pt"], 2, "got a checkpoint for wav2vec2, which learns nothing"),
    ],
)
def test_what_cannot_be_built_is_said_before_anything_is_converted(
    options: list[str], code: int, message: str, few: Path, tmp_path: Path
) -> None:
    assert re.search(message, refused("build", few, tmp_path / "model", *options, code=code))
    assert not (tmp_path / "model").exists()


def test_a_layer_that_is_not_there_is_said_first_too(few: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="got layer 3, expected 0 to 2"):
        quickly(few, tmp_path / "model", encoder="wav2vec2", model=str(source), layer=3)
    assert not (tmp_path / "model").exists()


def test_what_has_no_layers_takes_none(
    few: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PRETRAINED_ENCODERS["ast"], "has_layers", False)
    with pytest.raises(BadSetting, match="got layer 1 for ast, expected none"):
        quickly(few, tmp_path / "model", encoder="ast", model=str(source), layer=1)
