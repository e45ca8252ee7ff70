"""Directories that are no model, or a damaged one: a BadModel that says what is wrong, never a crash, never noise."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from audiorec.errors import BadModel
from audiorec.generate import load_generator
from audiorec.generate.pipelines import open_pipeline

Directory = Callable[[str], Path]

LDM, MUSICGEN = "AudioLDMPipeline", "MusicgenForConditionalGeneration"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def ldm(tiny_generator: Directory, tmp_path: Path) -> Path:
    """One to damage."""
    return shutil.copytree(tiny_generator(LDM), tmp_path / "damaged")


@pytest.fixture
def musicgen(tiny_generator: Directory, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_generator(MUSICGEN), tmp_path / "damaged")


def refusal(directory: Path) -> str:
    with pytest.raises(BadModel) as refused:
        load_generator(str(directory))
    assert refused.value.exit_code == 5
    assert str(directory.parent) not in refused.value.message
    assert "\n" not in refused.value.message
    return refused.value.message


def truncate(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("index", ["model_index.json", "config.json"])
def test_a_directory_of_something_else(index: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with pytest.raises(BadModel, match=r"got no directory .*, expected a model that makes sounds"):
        load_generator(str(folder))
    folder.mkdir()
    with pytest.raises(BadModel, match=r"with neither config\.json nor model_index\.json"):
        load_generator(str(folder))
    (folder / index).write_text("{}")
    assert refusal(folder).startswith("got a model of class 'None', expected one of AudioLDMPipeline, ")
    (folder / index).write_text("[1]")
    assert "expected an object" in refusal(folder)
    (folder / index).write_text("{")
    assert f"got a model whose folder/{index} cannot be read (JSONDecodeError)" in refusal(folder)
    (folder / index).write_bytes(b"\xff\xfe")
    assert "cannot be read (UnicodeDecodeError)" in refusal(folder)


@pytest.mark.parametrize("name", ["StableDiffusionPipeline", "os.system", "../x", 5, ["x"], {"y": 1}])
def test_an_unknown_class(name: object, ldm: Path) -> None:
    edit(ldm / "model_index.json", _class_name=name)
    assert refusal(ldm).startswith("got a model of class ")


def test_a_language_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "model_type": "bert"}))
    assert refusal(tmp_path).startswith("got a model of class 'BertModel', expected one of ")


@pytest.mark.parametrize(
    "name", ["unet/config.json", "vae/config.json", "vocoder/config.json", "scheduler/scheduler_config.json"]
)
def test_a_missing_configuration(name: str, ldm: Path) -> None:
    (ldm / name).unlink()
    assert f"got a model whose {name} cannot be read (FileNotFoundError)" in refusal(ldm)


@pytest.mark.parametrize("name", [UNET, "text_encoder/model.safetensors", "vocoder/model.safetensors"])
def test_missing_weights(name: str, ldm: Path) -> None:
    (ldm / name).unlink()
    assert refusal(ldm).startswith(f"got a {LDM} that cannot be loaded (")


@pytest.mark.parametrize("part", ["unet", "vocoder", "tokenizer", "scheduler"])
def test_a_missing_part(part: str, ldm: Path) -> None:
    shutil.rmtree(ldm / part)
    assert refusal(ldm).startswith(f"got a pipeline without its folder '{part}'")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("name", [UNET, "vocoder/model.safetensors"])
def test_truncated_weights(name: str, share: float, ldm: Path) -> None:
    truncate(ldm / name, share)
    assert refusal(ldm).startswith(f"got a {LDM} that cannot be loaded (")


def test_weights_of_another_size(ldm: Path) -> None:
    edit(ldm / "unet" / "config.json", block_out_channels=[8, 24])
    assert refusal(ldm).startswith(f"got a {LDM} that cannot be loaded (")


def test_weights_that_no_file_has(ldm: Path) -> None:
    """The library would fill them with random numbers, and say so in its log alone."""
    weights = load_file(ldm / UNET)
    del weights["conv_in.weight"]
    save_file(weights, ldm / UNET, metadata={"format": "pt"})
    message = refusal(ldm)
    assert message.startswith(f"got a {LDM} that lacks weights (")
    assert "conv_in.weight" in message


def test_weights_that_transformers_misses_are_logged(
    ldm: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the library was told before to keep for itself."""
    monkeypatch.setattr(logging.getLogger("transformers"), "level", logging.ERROR)
    path = ldm / "vocoder" / "model.safetensors"
    weights = load_file(path)
    del weights["conv_pre.bias"]
    save_file(weights, path, metadata={"format": "pt"})
    with caplog.at_level(logging.WARNING):
        load_generator(str(ldm))
    assert "AudioLDMPipeline may lack weights, and sound like noise" in caplog.text
    assert "conv_pre.bias" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize("value", ["many", None, [], 0])
def test_a_rate_that_cannot_be(value: object, ldm: Path) -> None:
    edit(ldm / "vocoder" / "config.json", sampling_rate=value)
    assert refusal(ldm).startswith(f"got a {LDM} whose configuration cannot be (")


def test_a_pickled_program_is_not_run(ldm: Path, tmp_path: Path) -> None:
    """Weights as a pickle are read without running what is in it."""
    import pickle

    class Program:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "was run",)  # type: ignore[return-value]

    (ldm / UNET).unlink()
    (ldm / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Program()))
    assert refusal(ldm).startswith(f"got a {LDM} that cannot be loaded (")
    assert not (tmp_path / "was run").exists()


def test_a_damaged_musicgen(musicgen: Path) -> None:
    truncate(musicgen / "model.safetensors", 0.5)
    assert refusal(musicgen).startswith(f"got a {MUSICGEN} that cannot be loaded (")
    (musicgen / "model.safetensors").unlink()
    assert refusal(musicgen).startswith(f"got a {MUSICGEN} that cannot be loaded (")
    edit(musicgen / "config.json", audio_encoder={})
    assert refusal(musicgen).startswith(f"got a {MUSICGEN} whose configuration cannot be (KeyError: 'sampling_rate')")


def test_a_model_that_is_no_pipeline(musicgen: Path) -> None:
    with pytest.raises(BadModel, match=f"got a {MUSICGEN} of transformers, expected a pipeline of diffusers"):
        open_pipeline(musicgen)


def test_loading_leaves_the_libraries_as_they_were(tiny_generator: Directory) -> None:
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    before = [(each.handlers, each.propagate) for each in loggers]
    bars = of_diffusers.is_progress_bar_enabled(), of_transformers.is_progress_bar_enabled()
    load_generator(str(tiny_generator(LDM)))
    assert [(each.handlers, each.propagate) for each in loggers] == before
    assert (of_diffusers.is_progress_bar_enabled(), of_transformers.is_progress_bar_enabled()) == bars
