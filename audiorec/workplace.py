"""Where a model directory is worked on: its caches, its unfinished release, and the lock that one builder holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from audiorec.files import locked


class Workplace:
    """`MODEL_DIR/work/`. seconds: what each stage took, as `timed` found."""

    def __init__(self, model_dir: Path) -> None:
        self.model_dir = model_dir
        self.work_dir = model_dir / "work"
        self.wav_dir = self.work_dir / "wav"
        self.features_dir = self.work_dir / "features"
        self.encoder_dir = self.work_dir / "encoder"
        self.training_dir = self.work_dir / "training"
        self.checkpoint_path = self.work_dir / "checkpoint.pt"  # of an encoder that learnt
        self.staging_dir = self.work_dir / "release"
        self.seconds: dict[str, float] = {}

    @contextmanager
    def locked(self) -> Iterator["Workplace"]:
        """Raises Busy while another process works here."""
        with locked(self.work_dir / "lock", f"the model directory {self.model_dir}"):
            yield self

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self.seconds[stage] = perf_counter() - start
