"""Where a model directory is worked on: its caches, its unfinished release, and the lock that one builder holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from audiorec.files import locked
from audiorec.release import finish_swap


class Workplace:
    """`MODEL_DIR/work/`. seconds: what each stage took, as `timed` found."""

    def __init__(self, model_dir: Path) -> None:
        self.model_dir = model_dir
        self.work_dir = model_dir / "work"
        self.wav_dir = self.work_dir / "wav"
        self.features_dir = self.work_dir / "features"
        self.encoder_dir = self.work_dir / "encoder"
        self.training_dir = self.work_dir / "training"
        self.checkpoint_path = self.work_dir / "checkpoint.pt"  # of an encoder of a VQ-VAE
        self.base_path = self.work_dir / "base.pt"  # of `base`, in place of its own weights
        self.classifier_path = self.work_dir / "classifier.pt"  # of `classifier`
        self.models_dir = self.work_dir / "models"  # what encoders of pretrained models are made of
        self.added_dir = self.work_dir / "added"  # of clips that are on their way into the catalogue
        self.staging_dir = self.work_dir / "release"
        self.seconds: dict[str, float] = {}

    def model_path(self, encoder: str) -> Path:
        """Where the name of an encoder's pretrained model is kept."""
        return self.models_dir / f"{encoder}.json"

    @contextmanager
    def locked(self) -> Iterator["Workplace"]:
        """Raises Busy while another process works here, NoSpace. A swap that was killed half-way is ended first."""
        with locked(self.work_dir / "lock", f"the model directory {self.model_dir}"):
            finish_swap(self.model_dir)
            yield self

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self.seconds[stage] = perf_counter() - start
