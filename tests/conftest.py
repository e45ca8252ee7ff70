"""What several test files share: real sounds where they are, one decoder, a small folder of clips."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sounds import make_clips

from audiorec.audio.decoder import DecodeLimits, Decoder

pytest_plugins = ["api_fixtures", "databases"]

NOBODY = 65534
SHARED_VARIABLE = "AUDIOREC_SHARED"
SHARED_DEFAULT = Path(__file__).parents[2] / "shared" / "data"
LONG = (  # files of tests that take longest, first: when they came last, most cores would wait for one
    "test_proofs",
    "test_generate_models",
    "test_demo",
    "test_readme",
    "test_generator_process",
    "test_bench_swap",
    "test_frozen_encoders",
    "test_corpus_patches",
    "test_api_swap",
    "test_serve",
    "test_generator_tuning",
    "test_serve_release",
    "test_bench_robustness",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """A program that sets its log up does so for good; the next test wants to read it."""
    yield
    log = logging.getLogger("audiorec")
    log.handlers.clear()
    log.propagate = True
    log.disabled = False
    log.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings, which is no part of the repository."""
    folder = Path(os.environ.get(SHARED_VARIABLE, SHARED_DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"no folder of real sounds at {folder}; {SHARED_VARIABLE} can name another")
    return folder


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    path = shutil.which("ffmpeg")
    if path is None:
        pytest.skip("no ffmpeg is installed: apt-get install ffmpeg")
    return path


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    """Less memory and time than it would ever need, so that a file that wants more is noticed."""
    decoder = Decoder(DecodeLimits(max_s=600, wall_s=60, cpu_s=20, memory_bytes=2**30))
    yield decoder
    decoder.close()


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a tiny generator, by the name of its class: made once, not to be written to."""
    from tiny_generators import SAVERS  # and torch, which most test files do without

    folder = tmp_path_factory.mktemp("generators")
    made: dict[str, Path] = {}

    def directory(kind: str) -> Path:
        if kind not in made:
            made[kind] = SAVERS[kind](folder / f"tiny-{kind}")
        return made[kind]

    return directory


@pytest.fixture
def clips_dir(tmp_path: Path) -> Path:
    """Six clips, and a file that is none."""
    return make_clips(tmp_path / "clips")


@pytest.fixture
def unprivileged_dir() -> Iterator[Path]:
    """A folder of someone without the rights of root, who this process is until the test ends."""
    folder = Path(tempfile.mkdtemp(prefix="audiorec-test-"))
    was_root = os.geteuid() == 0
    if was_root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield folder
    if was_root:
        os.seteuid(0)
    for locked in [folder, *folder.rglob("*")]:
        if locked.is_dir():
            locked.chmod(0o700)
    shutil.rmtree(folder)
