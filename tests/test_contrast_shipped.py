"""The encoder that comes with audiorec: its file, and what it computes once it is a model directory's."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sounds import RATE_HZ, bursts, noise, tone
from torch import Tensor
from trainings import TINY_CONV, one_thread

from audiorec.audio import CLIP_SAMPLES, to_clip, windows
from audiorec.build import build
from audiorec.encoders import make_encoder, shipped
from audiorec.encoders.pretrained import Base
from audiorec.encoders.shipped import BASE_PATH, load_base, read_facts, write_base
from audiorec.errors import BadCheckpoint
from audiorec.export import PARITY_TOLERANCE, LoadedEncoder, export_encoder
from audiorec.files import sha256_of

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "tiny.safetensors"
    write_base(Base(TINY_CONV), path, {"licence": "CC0-1.0", "origin": "a test"})
    return path


def sounding() -> Tensor:
    """(4, 1, CLIP_SAMPLES) windows of tones, noise and bursts."""
    sounds = [tone(1.0, 220), noise(3.0, 2, peak=0.01), bursts(2.0, 3), tone(0.02, 3_000)]
    return torch.from_numpy(np.stack([windows(to_clip([sound[:, None]], RATE_HZ, max_s=9)) for sound in sounds]))


def test_it_keeps_to_its_limits() -> None:
    base = make_encoder("base")
    assert BASE_PATH.stat().st_size <= 10e6
    assert base.count_parameters() <= 5_000_000
    assert 64 <= base.dim <= 512
    facts = read_facts()
    assert (base.licence, base.comes_fitted) == (facts["licence"], True)


def test_a_wheel_has_it() -> None:
    dist = pytest.importorskip("setuptools.dist")
    distribution = dist.Distribution({"src_root": str(ROOT)})
    distribution.parse_config_files([str(ROOT / "pyproject.toml")])
    assert BASE_PATH.relative_to(ROOT / "audiorec").as_posix() in distribution.package_data["audiorec"]


def test_folding_and_the_order_in_memory_change_nothing() -> None:
    with torch.no_grad():
        torch.testing.assert_close(make_encoder("base")(sounding()), load_base()(sounding()), atol=1e-4, rtol=0)


def test_torchscript_computes_the_same_and_keeps_the_order_in_memory(tmp_path: Path) -> None:
    base = make_encoder("base")
    assert export_encoder(base, tmp_path / "encoder.pt") <= PARITY_TOLERANCE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        kernels = [weight for weight in torch.jit.load(tmp_path / "encoder.pt").parameters() if weight.ndim == 4]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    with torch.no_grad():
        expected = base(sounding()).numpy()
    np.testing.assert_allclose(
        LoadedEncoder(tmp_path / "encoder.pt").encode(sounding()[:, 0].numpy()), expected, atol=1e-4
    )


@pytest.mark.parametrize("level", [0.0, 1e-30, 1.0])
def test_silence_and_an_offset_have_a_vector(level: float) -> None:
    with torch.no_grad():
        vector = make_encoder("base")(torch.full((1, 1, CLIP_SAMPLES), level))
    assert bool(torch.isfinite(vector).all())
    assert vector.norm().item() == pytest.approx(1, abs=1e-5)


def test_keys_are_those_of_the_weights(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "a copy").write_bytes(tiny.read_bytes())
    one, copy, other = make_encoder("base", tiny), make_encoder("base", tmp_path / "a copy"), make_encoder("base")
    assert one.key() == copy.key()
    assert one.features_key() not in (one.key(), other.features_key())
    fitted = make_encoder("base", tiny)
    fitted.fit(torch.randn(50, sum(load_base(tiny).block_sizes), generator=torch.Generator().manual_seed(0)))
    assert fitted.features_key() == one.features_key()
    assert fitted.key() != one.key()


def test_licence_and_origin_are_those_of_the_file(tiny: Path) -> None:
    base = make_encoder("base", tiny)
    assert (base.licence, base.origin) == ("CC0-1.0", "a test")


def test_a_missing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "base.safetensors"
    with pytest.raises(BadCheckpoint, match=r"got no file base\.safetensors"):
        make_encoder("base", path)
    monkeypatch.setattr(shipped, "BASE_PATH", path)
    with pytest.raises(BadCheckpoint, match="install audiorec again"):
        load_base(path)


@pytest.mark.parametrize("kept", [0, 4, 9, 2_000, -1])
def test_one_that_was_cut(kept: int, tiny: Path) -> None:
    tiny.write_bytes(tiny.read_bytes()[:kept])
    with pytest.raises(BadCheckpoint, match=r"got a file tiny\.safetensors that is no whole"):
        load_base(tiny)


def rewritten(path: Path, tensors: dict[str, Tensor], **described: str) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), **described}
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    save_file({**weights, **tensors}, path, metadata)


@pytest.mark.parametrize(
    ("tensors", "described", "message"),
    [
        ({}, {"config": "{}{"}, "without a whole config"),
        ({}, {"config": '{"widths": [1]}'}, "without a whole config"),
        ({}, {"config": TINY_CONV.model_copy(update={"dim": 9}).model_dump_json()}, "weights are not of its config"),
        ({"extra": torch.zeros(3)}, {}, "weights are not of its config"),
        ({"network.out.bias": torch.zeros(3)}, {}, "weights are not of its config"),
        ({}, {"facts": "["}, "facts are not JSON"),
        ({}, {"facts": "3"}, "facts are not JSON"),
    ],
)
def test_one_that_is_not_ours(tensors: dict[str, Tensor], described: dict[str, str], message: str, tiny: Path) -> None:
    rewritten(tiny, tensors, **described)
    with pytest.raises(BadCheckpoint, match=message):
        load_base(tiny)


def test_a_safetensors_file_of_others(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(BadCheckpoint, match=r"got model\.safetensors whose weights are not of its config"):
        make_encoder("base", tmp_path / "model.safetensors")


def test_what_is_written_is_read_again(tiny: Path) -> None:
    torch.manual_seed(1)
    made = Base(TINY_CONV)
    for name, value in load_base(tiny).state_dict().items():
        torch.testing.assert_close(value, made.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_a_build_with_weights_of_its_own_keeps_them_until_it_gets_others(
    clips_dir: Path, tiny: Path, tmp_path: Path
) -> None:
    model_dir = tmp_path / "model"
    first = build(clips_dir, model_dir, checkpoint_path=tiny, n_workers=1, baselines=False)
    facts = first.manifest.encoder
    assert (facts.name, facts.licence, facts.checkpoint) == ("base", "CC0-1.0", sha256_of(tiny))
    assert facts.fitted_windows == 0
    assert facts.last_step is not None
    assert not facts.last_step.is_fitted
    assert "too few to fit it on" in facts.last_step.why
    tiny.unlink()
    again = build(clips_dir, model_dir, n_workers=1, baselines=False)
    assert not again.published
    back = build(clips_dir, model_dir, checkpoint_path=Path("base"), n_workers=1, baselines=False)
    assert back.manifest.encoder.checkpoint is None
    assert back.manifest.encoder.features_key == make_encoder("base").features_key()


def test_weights_of_another_last_step_alone_take_their_place(clips_dir: Path, tiny: Path, tmp_path: Path) -> None:
    other = load_base(tiny)
    other.whiten.mean += 1
    write_base(other, tmp_path / "other.safetensors", {"licence": "CC-BY-4.0"})
    first, second, third = (
        build(clips_dir, tmp_path / "model", checkpoint_path=path, n_workers=1, baselines=False)
        for path in (tiny, tmp_path / "other.safetensors", tmp_path / "other.safetensors")
    )
    facts = second.manifest.encoder
    assert facts.features_key == first.manifest.encoder.features_key
    assert facts.key == make_encoder("base", tmp_path / "other.safetensors").key() != first.manifest.encoder.key
    assert facts.licence == "CC-BY-4.0"
    assert not third.published


def test_a_manifest_from_before_still_opens() -> None:
    from audiorec.release.manifest import EncoderFacts

    facts = {"name": "MFCC", "dim": 80, "sample_rate_hz": 16_000, "clip_samples": 2**17, "params": 0, "licence": "x"}
    facts |= {"origin": "x", "key": "k", "features_key": "f", "fitted_windows": 3}
    assert EncoderFacts.model_validate(json.loads(json.dumps(facts))).last_step is None
