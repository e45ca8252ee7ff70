"""torchaudio can be imported beside a torch with CUDA and beside one without."""

import subprocess
import sys
from pathlib import Path

import pytest

EXTENSION = "torchaudio._extension"


def run(program: str, *search: Path) -> list[str]:
    """Runs a program in a new interpreter that looks in `search` first. Returns the lines it prints."""
    program = f"import sys; sys.path[:0] = {[str(folder) for folder in search]!r}\n{program}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(params=[True, False], ids=["with CUDA", "without CUDA"])
def pretended(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, bool]:
    """A torch with or without CUDA libraries, and a torchaudio that asks for its extension. (folder, with)"""
    with_cuda: bool = request.param
    (tmp_path / "torch/lib").mkdir(parents=True)
    (tmp_path / "torch/__init__.py").write_text("")
    (tmp_path / "torch/lib/libc10.so").write_bytes(b"")
    if with_cuda:
        (tmp_path / "torch/lib/libc10_cuda.so").write_bytes(b"")
    (tmp_path / "torchaudio/_extension").mkdir(parents=True)
    (tmp_path / "torchaudio/__init__.py").write_text("from torchaudio import _extension\n")
    (tmp_path / "torchaudio/_extension/__init__.py").write_text("import pathlib; print('the real extension')\n")
    return tmp_path, with_cuda


LOOK = f"""
from audiorec import torchaudio_cpu
from audiorec.torchaudio_cpu import torchaudio
print(torchaudio_cpu.torch_has_cuda_libraries(), type(sys.modules[{EXTENSION!r}].__spec__).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is for the wheel of Linux")
def test_the_stand_in_takes_its_place_only_where_torch_has_no_cuda(pretended: tuple[Path, bool]) -> None:
    folder, with_cuda = pretended
    real, stand_in = ["the real extension", "True ModuleSpec"], ["False NoneType"]
    assert run(LOOK, folder) == (real if with_cuda else stand_in)


def test_an_extension_that_is_loaded_already_stays(pretended: tuple[Path, bool]) -> None:
    folder, with_cuda = pretended
    lines = run("import torchaudio" + LOOK, folder)
    assert lines == ["the real extension", f"{with_cuda} ModuleSpec"]


def test_the_real_torchaudio_works_beside_the_torch_that_is_installed() -> None:
    program = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
import torch
from audiorec.torchaudio_cpu import torchaudio
mel = torchaudio.transforms.MelSpectrogram(16_000, n_fft=512, n_mels=40)
eager, scripted = mel(torch.ones(2, 16_000)), torch.jit.script(mel)(torch.ones(2, 16_000))
print(tuple(eager.shape), bool(torch.equal(eager, scripted)))
print(tuple(torchaudio.functional.compute_deltas(eager).shape))
"""
    assert run(program) == ["(2, 40, 63) True", "(2, 40, 63)"]


def test_what_needs_the_extension_says_so() -> None:
    program = """
from audiorec.torchaudio_cpu import stand_in
extension = stand_in()
print(extension._IS_TORCHAUDIO_EXT_AVAILABLE, extension._IS_ALIGN_AVAILABLE, extension._check_cuda_version())
def forced_align(): ...
try:
    extension.fail_if_no_align(forced_align)(1, two=3)
except RuntimeError as error:
    print(error)
"""
    facts, error = run(program)
    assert facts == "False False None"
    assert error == "forced_align needs torchaudio's compiled extension, which this torch cannot load"
