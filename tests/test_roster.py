"""The list of encoders: all of them, with what can be known of each, measured or not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cli import done, refused
from tiny_models import SIZE, WAVE, edit_json, save_wave

from audiorec.audio import CLIP_SAMPLES
from audiorec.encoders import PRETRAINED_ENCODERS, kind_of, make_encoder, names
from audiorec.encoders import roster as module
from audiorec.encoders.frozen import FrozenEncoder
from audiorec.encoders.roster import measured_ms, roster
from audiorec.errors import BadModel

FROZEN = sorted(name for name, kind in PRETRAINED_ENCODERS.items() if issubclass(kind, FrozenEncoder))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = save_wave(tmp_path / "tiny-hubert", "hubert")
    (path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published architectures, but tiny."""
    import transformers

    sizes = {"audio-spectrogram-transformer": {**SIZE, "time_stride": 16, "frequency_stride": 16}}
    made = transformers.AutoConfig.for_model
    tiny: Any = lambda model_type: made(model_type, **sizes.get(model_type, WAVE))  # noqa: E731
    monkeypatch.setattr(transformers.AutoConfig, "for_model", tiny)
    monkeypatch.setitem(PRETRAINED_ENCODERS, "clap", PRETRAINED_ENCODERS["hubert"])
    monkeypatch.setattr(module, "N_MEASURED", 1)


def test_every_encoder_is_listed_with_what_it_needs() -> None:
    listed = {entry.name: entry for entry in roster(measures=False)}
    assert list(listed) == names()
    assert all(entry.ms is None for entry in listed.values())
    assert (listed["MeanMel"].dim, listed["MeanMel"].params, listed["MeanMel"].needs) == (160, 0, "nothing")
    assert listed["base"].params == make_encoder("base").count_parameters()
    assert listed["base"].licence == make_encoder("base").licence
    assert listed["BagTopVQVAE"].dim == 128
    assert "audiorec train vqvae" in listed["BagTopVQVAE"].needs
    assert "audiorec train classifier" in listed["classifier"].needs
    for name, kind in PRETRAINED_ENCODERS.items():
        assert listed[name].needs == f"--model, a directory or a hub id such as {kind.example}"
        assert listed[name].dim is None


@pytest.mark.usefixtures("small")
def test_what_it_costs_is_measured() -> None:
    listed = {entry.name: entry for entry in roster()}
    assert all(entry.ms is not None and entry.ms > 0 for name, entry in listed.items() if name != "classifier")
    assert listed["wav2vec2"].dim == SIZE["hidden_size"]
    assert listed["wav2vec2"].note == "the size of facebook/wav2vec2-base, random weights, layer 2 of 4"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", FROZEN)
def test_a_published_architecture_encodes(name: str) -> None:
    encoder = PRETRAINED_ENCODERS[name].published(1)
    with torch.no_grad():
        vectors = encoder(torch.rand(2, 1, CLIP_SAMPLES))
    assert vectors.shape == (2, encoder.dim)
    assert encoder.layer is not None
    assert encoder.layer.index == 1


def test_measuring_leaves_the_threads_alone() -> None:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert measured_ms(make_encoder("MeanMel")) > 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(n_threads)


def test_a_model_takes_the_place_of_the_published_one(directory: Path) -> None:
    arguments = ("encoders", "--model", directory, "--no-measure")
    (entry,) = (entry for entry in json.loads(done(*arguments, "--json")) if entry["name"] == "hubert")
    assert (entry["dim"], entry["licence"], entry["note"]) == (32, "cc-by-nc-4.0", "tiny-hubert, layer 2 of 4")
    assert entry["params"] == make_encoder("hubert", directory).count_parameters()
    text = done(*arguments)
    assert "note: the weights of hubert are cc-by-nc-4.0: not for commercial use" in text
    assert "weights of MERT, MuQ, Essentia are not for commercial use" in text
    assert str(directory.parent) not in text


def test_the_encoder_of_a_directory_is_known_by_its_type(directory: Path) -> None:
    assert kind_of(directory).name == "hubert"
    edit_json(directory / "config.json", model_type="bert")
    with pytest.raises(BadModel, match=r"of type 'bert', expected a pretrained model, of type .*clap or .*wavlm"):
        kind_of(directory)
    assert "of type 'bert'" in refused("encoders", "--model", directory, code=5)
