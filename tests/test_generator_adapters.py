"""Adapters: put on and taken off without a trace, and refused where they do not belong or are not whole."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_generators
import torch
from safetensors.torch import load_file, save_file
from trainings import disk_of, one_thread

from audiorec.errors import BadModel, NoSpace
from audiorec.generate.adapters import (
    AdapterFacts,
    adapter_weights,
    attach,
    linear_layers,
    list_adapters,
    load_adapter,
    probe,
    read_facts,
    save_adapter,
    unload_adapter,
)
from audiorec.generate.pipelines import open_pipeline

FACTS = AdapterFacts(kind="AudioLDMPipeline", base="tiny", rank=2, caption="a {label}", figures={"loss_after": 0.5})


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_generators.save_audioldm(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def pipe(base_dir: Path) -> Any:
    return open_pipeline(base_dir)


@pytest.fixture(autouse=True)
def _as_it_was(pipe: Any) -> Iterator[None]:
    yield
    unload_adapter(pipe)


@pytest.fixture(scope="module")
def adapters_dir(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two adapters, `loud` and `soft`."""
    folder = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("loud", "soft")):
        make(pipe, folder / f"{name}.safetensors", seed)
    return folder


def make(pipe: Any, path: Path, seed: int = 0, facts: AdapterFacts = FACTS) -> None:
    attach(pipe, linear_layers(pipe.unet), facts.rank)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in adapter_weights(pipe.unet).values():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    save_adapter(pipe, path, facts)
    unload_adapter(pipe)


def predicted(pipe: Any) -> torch.Tensor:
    """What the UNet makes of the same noise each time."""
    generator = torch.Generator().manual_seed(5)
    latents, text = torch.randn(1, 4, 8, 4, generator=generator), torch.randn(1, 16, generator=generator)
    dtype = next(pipe.unet.parameters()).dtype
    with torch.no_grad():
        made = pipe.unet(latents.to(dtype), 10, encoder_hidden_states=None, class_labels=text.to(dtype))
    out: torch.Tensor = made.sample.float()
    return out


def test_one_in_the_place_of_another_and_then_none(pipe: Any, adapters_dir: Path) -> None:
    plain = predicted(pipe)
    weights = {name: weight.clone() for name, weight in pipe.unet.state_dict().items()}
    heard = {}
    for name in ("loud", "soft", "loud"):
        facts = load_adapter(pipe, adapters_dir / f"{name}.safetensors")
        assert facts == FACTS
        assert torch.equal(heard.setdefault(name, predicted(pipe)), predicted(pipe))
    assert not torch.allclose(heard["loud"], heard["soft"], atol=1e-3)
    assert not torch.allclose(heard["loud"], plain, atol=1e-3)
    unload_adapter(pipe)
    assert torch.equal(predicted(pipe), plain)
    assert pipe.unet.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in pipe.unet.state_dict().items())
    unload_adapter(pipe)  # of which there is none
    assert torch.equal(predicted(pipe), plain)


def test_an_adapter_that_has_learnt_nothing_changes_nothing(pipe: Any) -> None:
    plain = predicted(pipe)
    attach(pipe, linear_layers(pipe.unet), 2)
    assert torch.equal(predicted(pipe), plain)


def test_it_computes_what_its_file_says(pipe: Any, adapters_dir: Path) -> None:
    name = next(layer for layer in linear_layers(pipe.unet) if layer.endswith("to_q"))
    tensors = load_file(adapters_dir / "loud.safetensors")
    layer = pipe.unet.get_submodule(name)
    x = torch.randn(3, layer.in_features)
    expected = layer(x) + x @ tensors[f"{name}.lora_A"].T @ tensors[f"{name}.lora_B"].T
    load_adapter(pipe, adapters_dir / "loud.safetensors")
    torch.testing.assert_close(pipe.unet.get_submodule(f"base_model.model.{name}")(x), expected)


def test_the_same_adapter_is_the_same_file(pipe: Any, adapters_dir: Path, tmp_path: Path) -> None:
    for _ in range(4):
        make(pipe, tmp_path / "loud.safetensors")
        assert (tmp_path / "loud.safetensors").read_bytes() == (adapters_dir / "loud.safetensors").read_bytes()


def test_loading_draws_no_random_numbers(pipe: Any, adapters_dir: Path) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    load_adapter(pipe, adapters_dir / "loud.safetensors")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_base_in_half_precision_is_the_same_base(dtype: torch.dtype, base_dir: Path, adapters_dir: Path) -> None:
    half = open_pipeline(base_dir, dtype=dtype)
    plain = predicted(half)
    load_adapter(half, adapters_dir / "loud.safetensors")
    assert torch.isfinite(predicted(half)).all()
    assert not torch.equal(predicted(half), plain)
    unload_adapter(half)
    assert torch.equal(predicted(half), plain)


def test_the_probe_is_the_same_with_an_adapter_on(pipe: Any) -> None:
    before = probe(pipe.unet)
    attach(pipe, linear_layers(pipe.unet), 2)
    assert torch.equal(probe(pipe.unet), before)


def test_what_a_folder_has(adapters_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(adapters_dir, tmp_path / "adapters")
    (folder / "broken.safetensors").write_bytes(b"\x00" * 100)
    (folder / "notes.txt").write_text("none")
    save_file({"x": torch.zeros(1)}, folder / "other.safetensors")
    (folder / "deeper").mkdir()
    shutil.copy(folder / "loud.safetensors", folder / "deeper/hidden.safetensors")
    shutil.copy(folder / "loud.safetensors", folder / "two words.safetensors")
    assert list_adapters(folder) == {name: folder / f"{name}.safetensors" for name in ("loud", "soft")}
    assert read_facts(folder / "loud.safetensors") == FACTS
    assert list_adapters(None) == list_adapters(tmp_path / "nowhere") == {}


def test_one_of_another_model_of_the_same_kind(pipe: Any, adapters_dir: Path, tmp_path: Path) -> None:
    stranger = open_pipeline(tiny_generators.save_audioldm(tmp_path / "other", seed=1))
    plain = predicted(stranger)
    with pytest.raises(BadModel, match="the adapter loud, which was made for tiny, expected one of the model that is"):
        load_adapter(stranger, adapters_dir / "loud.safetensors")
    assert torch.equal(predicted(stranger), plain)


def test_one_of_another_kind_takes_the_one_that_was_there_off(pipe: Any, adapters_dir: Path, tmp_path: Path) -> None:
    plain = predicted(pipe)
    make(pipe, tmp_path / "x.safetensors", facts=FACTS.model_copy(update={"kind": "MusicLDMPipeline"}))
    load_adapter(pipe, adapters_dir / "loud.safetensors")
    with pytest.raises(BadModel, match=r"for a MusicLDMPipeline .*expected one for this AudioLDMPipeline"):
        load_adapter(pipe, tmp_path / "x.safetensors")
    assert torch.equal(predicted(pipe), plain)


def flip(share: float) -> Callable[[bytearray], object]:
    def change(content: bytearray) -> None:
        content[int(share * (len(content) - 1))] ^= 1

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip(0.5), "its hash is not"),
        (flip(1.0), "its hash is not"),
        (flip(0.0), "cannot be read"),
        (lambda content: content.clear(), "cannot be read"),
        (lambda content: content.__delitem__(slice(len(content) // 2, None)), "cannot be read"),
        (lambda content: content.__delitem__(slice(20, None)), "cannot be read"),
        (lambda content: content.__setitem__(slice(None), b"\xff" * 200), "cannot be read"),
    ],
    ids=["a bit", "the last bit", "the first bit", "empty", "half", "cut off", "noise"],
)
def test_a_damaged_file(
    damage: Callable[[bytearray], object], message: str, pipe: Any, adapters_dir: Path, tmp_path: Path
) -> None:
    plain = predicted(pipe)
    content = bytearray((adapters_dir / "loud.safetensors").read_bytes())
    damage(content)
    (tmp_path / "loud.safetensors").write_bytes(content)
    with pytest.raises(BadModel, match=message):
        load_adapter(pipe, tmp_path / "loud.safetensors")
    assert torch.equal(predicted(pipe), plain)


def test_a_file_that_is_not_there_and_a_folder(pipe: Any, tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(BadModel, match="cannot be read"):
            load_adapter(pipe, path)


def test_safetensors_of_somebody_else(pipe: Any, tmp_path: Path) -> None:
    save_file({"unet.to_q.lora_A": torch.zeros(2, 2)}, tmp_path / "lora.safetensors", {"format": "pt"})
    with pytest.raises(BadModel, match=r"got lora\.safetensors, which is no adapter of audiorec"):
        load_adapter(pipe, tmp_path / "lora.safetensors")


@pytest.mark.parametrize("version", [0, 2])
def test_another_format(version: int, pipe: Any, tmp_path: Path) -> None:
    make(pipe, tmp_path / "x.safetensors", facts=FACTS.model_copy(update={"format_version": version}))
    with pytest.raises(BadModel, match=f"of format {version}, expected 1"):
        load_adapter(pipe, tmp_path / "x.safetensors")
    assert list_adapters(tmp_path) == {}


def test_facts_that_contradict_the_weights(pipe: Any, tmp_path: Path) -> None:
    attach(pipe, linear_layers(pipe.unet), 3)
    save_adapter(pipe, tmp_path / "x.safetensors", FACTS)  # of rank 2
    with pytest.raises(BadModel, match="expected one of the model that is loaded"):
        load_adapter(pipe, tmp_path / "x.safetensors")


def test_a_full_disk_leaves_the_previous_one(pipe: Any, adapters_dir: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(adapters_dir / "loud.safetensors", tmp_path / "loud.safetensors"))
    before = path.read_bytes()
    with disk_of(len(before) // 2), pytest.raises(NoSpace):
        make(pipe, path, seed=3)
    unload_adapter(pipe)
    assert path.read_bytes() == before
    assert [left.name for left in tmp_path.iterdir()] == ["loud.safetensors"]
