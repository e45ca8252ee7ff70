"""An encoder as a file: it computes the same, and a file that is none is refused in a sentence."""

import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import RATE_HZ, bursts, noise, tone
from torch import Tensor, nn

from audiorec.audio import CLIP_SAMPLES, Waveform, to_clip, windows
from audiorec.audio.decoder import Decoder
from audiorec.embed import embed
from audiorec.encoders import ENCODERS, make_encoder
from audiorec.encoders.base import Encoder
from audiorec.errors import AudiorecError, BadModelDir, NoSpace
from audiorec.export import PARITY_TOLERANCE, LoadedEncoder, export_encoder, parity


def synthetic() -> Waveform:
    """(8, CLIP_SAMPLES) windows of tones, noise and bursts."""
    sounds = [tone(1.0, 220), tone(2.0, 3_000), noise(1.0, 1), bursts(2.0, 3), bursts(25.0, 4)]
    return np.concatenate([windows(to_clip([sound[:, None]], RATE_HZ, max_s=60)) for sound in sounds])[:8]


@pytest.fixture(scope="module", params=sorted(ENCODERS))
def fitted(request: pytest.FixtureRequest) -> Encoder:
    encoder = make_encoder(request.param)
    with torch.no_grad():
        encoder.fit(encoder.features(torch.from_numpy(synthetic())[:, None]))
    return encoder


@pytest.fixture(scope="module")
def exported(fitted: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "encoder.pt"
    assert 0 <= abs(export_encoder(fitted, path)) <= PARITY_TOLERANCE
    return path


def save(module: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), path)


def cosines(eager: Encoder, loaded: LoadedEncoder, cut: Waveform) -> Waveform:
    with torch.no_grad():
        expected = eager(torch.from_numpy(cut)[:, None]).numpy()
    products: Waveform = np.einsum("nd,nd->n", expected, loaded.encode(cut))
    return products


def test_the_file_computes_what_the_encoder_does(fitted: Encoder, exported: Path) -> None:
    loaded = LoadedEncoder(exported)
    assert loaded.dim == fitted.dim
    for n in (1, 3, 8):
        assert 1 - cosines(fitted, loaded, synthetic()[:n]).min() < 1e-5
    features = np.random.default_rng(0).standard_normal((5, fitted.dim), np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(loaded.post(features), fitted.post(torch.from_numpy(features)).numpy(), atol=1e-6)


def test_on_real_sounds_too(fitted: Encoder, exported: Path, shared: Path, decoder: Decoder) -> None:
    loaded = LoadedEncoder(exported)
    for name in ("stereo_24bit_44k.wav", "tabla.opus", "mono_8bit_8k.wav"):
        pcm = decoder.decode(shared / "formats/good" / name)
        assert 1 - cosines(fitted, loaded, windows(pcm)).min() < 1e-5, name
        assert np.linalg.norm(embed(pcm, loaded).vector) == pytest.approx(1, abs=1e-5)


def test_vectors_are_the_same_in_any_batch_and_thread(exported: Path) -> None:
    loaded, cut = LoadedEncoder(exported), synthetic()
    alone = np.concatenate([loaded.encode(window[None]) for window in cut])
    np.testing.assert_allclose(loaded.encode(cut), alone, atol=1e-5)
    results: list[Waveform] = []
    threads = [threading.Thread(target=lambda: results.append(loaded.encode(cut))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_allclose(result, alone, atol=1e-5)


def test_a_file_needs_torch_and_nothing_else(tmp_path: Path) -> None:
    program = (
        "import sys, torch\n"
        "for path in sys.argv[1:]:\n"
        f"    print(float(torch.jit.load(path)(torch.randn(2, 1, {CLIP_SAMPLES})).norm(dim=1).min()))\n"
        "print([name for name in sys.modules if name.startswith(('torchaudio', 'audiorec'))])"
    )
    paths = [str(tmp_path / name) for name in ENCODERS]
    for name, path in zip(ENCODERS, paths, strict=True):
        save(make_encoder(name), Path(path))
    command = [sys.executable, "-W", "ignore", "-c", program, *paths]
    *norms, modules = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [float(norm) for norm in norms] == pytest.approx([1] * len(ENCODERS), abs=1e-5)
    assert modules == "[]"


class Toy(Encoder):
    """Mean of the first and the second half of a window, as a direction."""

    name = "Toy"
    dim = 2

    def pre(self, waveform: Tensor) -> Tensor:
        return waveform.view(waveform.shape[0], 2, -1)  # (N, 2, CLIP_SAMPLES / 2)

    def core(self, x: Tensor) -> Tensor:
        return x.abs().mean(dim=2)

    def post(self, features: Tensor) -> Tensor:
        return torch.nn.functional.normalize(features + 1e-9, dim=1)


class OtherWhenScripted(Toy):
    def post(self, features: Tensor) -> Tensor:
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            features = features.flip(1) * torch.tensor([1.0, 2.0])
        return torch.nn.functional.normalize(features, dim=1)


class NotANumberInThrees(Toy):
    """Wrong in the second of the batches that are compared, right in the others."""

    def post(self, features: Tensor) -> Tensor:
        if features.shape[0] == 3:
            features = features * float("nan")
        return torch.nn.functional.normalize(features, dim=1)


def test_an_encoder_worked_out_by_hand(tmp_path: Path) -> None:
    export_encoder(Toy(), tmp_path / "toy.pt")
    cut = np.ones((1, CLIP_SAMPLES), np.float32)
    cut[0, : CLIP_SAMPLES // 2] = -0.75
    np.testing.assert_allclose(LoadedEncoder(tmp_path / "toy.pt").encode(cut), [[0.6, 0.8]], atol=1e-6)


@pytest.mark.parametrize("encoder", [OtherWhenScripted(), NotANumberInThrees()], ids=lambda e: type(e).__name__)
def test_what_differs_is_not_exported(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    path.write_bytes(b"the one before")
    with pytest.raises(
        AudiorecError, match=r"differs from eager by (0\.\d+|nan) in cosine, expected at most 0.0001"
    ) as no:
        export_encoder(encoder, path)
    assert no.value.code == "export_parity"
    assert path.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_parity_measures_the_difference(tmp_path: Path) -> None:
    export_encoder(Toy(), tmp_path / "toy.pt")
    assert abs(parity(Toy(), LoadedEncoder(tmp_path / "toy.pt"))) < 1e-6
    assert parity(OtherWhenScripted(), LoadedEncoder(tmp_path / "toy.pt")) < 1e-6, "eager, it is the same"


def test_an_export_into_a_folder_that_may_not_be_written(unprivileged_dir: Path) -> None:
    unprivileged_dir.chmod(0o500)
    with pytest.raises(NoSpace, match=r"'Permission denied' while writing encoder\.pt"):
        export_encoder(Toy(), unprivileged_dir / "encoder.pt")


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, 0, :2], x[:, 0, :2]


class Doubles(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.normalize(x[:, 0, :4].double() + 1, dim=1)


class Zeros(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, :4] * 0.0


class OneForAll(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.normalize(x[:1, 0, :4] + 1, dim=1)


LOAD = """
import sys
from pathlib import Path
from audiorec.errors import BadModelDir
from audiorec.export import LoadedEncoder
for path in map(Path, sys.argv[1:]):
    try:
        LoadedEncoder(path)
        print("opened", flush=True)
    except BadModelDir as error:
        print(error.message, flush=True)
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What loading says of each file that is no encoder. In a process of its own: it might have crashed."""
    folder = tmp_path_factory.mktemp("foreign")
    export_encoder(Toy(), folder / "whole")
    whole = (folder / "whole").read_bytes()
    rng = np.random.default_rng(0)
    files = {
        "empty": b"",
        "text": b"an encoder, honestly",
        "random": rng.bytes(50_000),
        "first half": whole[: len(whole) // 2],
        "second half": whole[len(whole) // 2 :],
        "all but a byte": whole[:-1],
        "empty archive": b"PK\x05\x06" + bytes(18),
    }
    for i in range(4):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(len(damaged), size=50)] = rng.integers(256, size=50)
        files[f"damaged {i}"] = damaged.tobytes()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    modules = {"identity": nn.Identity(), "other input": nn.Linear(3, 4), "pair": Pair(), "doubles": Doubles()}
    modules |= {"zeros": Zeros(), "one for all": OneForAll()}
    for name, module in modules.items():
        save(module, folder / name)
    torch.save({"weights": torch.zeros(3)}, folder / "a checkpoint")
    names = [*files, *modules, "a checkpoint", "missing", "."]
    command = [sys.executable, "-c", LOAD, *(str(folder / name) for name in names)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert str(folder) not in "".join(said)
    return dict(zip(names, said, strict=True))


def test_what_is_no_encoder_is_refused_in_a_sentence(refusals: dict[str, str]) -> None:
    assert len(refusals) == 20
    for name, message in refusals.items():
        assert message.startswith("got an encoder file "), f"{name}: {message}"
        assert "expected one written by audiorec: export the encoder again" in message, name


def test_a_refusal_says_what_was_wrong(refusals: dict[str, str]) -> None:
    assert f"float32 (2, 1, {CLIP_SAMPLES})" in refusals["identity"]
    assert "float64 (2, 4) of norm 1 from 2 windows" in refusals["doubles"]
    assert "(2, 4) of norm 0 from 2 windows" in refusals["zeros"]
    assert "(1, 4) of norm 1 from 2 windows" in refusals["one for all"]
    assert "missing does not exist" in refusals["missing"]


def test_loading_raises_what_it_says(tmp_path: Path) -> None:
    with pytest.raises(BadModelDir, match=r"got an encoder file encoder\.pt that TorchScript cannot run"):
        LoadedEncoder(tmp_path / "encoder.pt")
