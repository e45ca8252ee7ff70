"""Trains a VQ-VAE-2 on converted clips: on one core, on one GPU, or on several under torchrun.

Its log has losses, learning rate, usage and perplexity of the code books; TensorBoard also reconstructions.
"""

from dataclasses import dataclass
from pathlib import Path

from audiorec.encoders.vqvae.weights import load_weights, read_checkpoint
from audiorec.training.checkpoint import LAST_FILE, restore
from audiorec.training.data import Array, Crops, read_clips, split
from audiorec.training.learner import Learner, Validation
from audiorec.training.loop import Ended, Measured, Say, learn, run_folder, unsaid
from audiorec.training.settings import TrainingSettings

COLLAPSED = ": COLLAPSED, its bags say little; train anew with another seed or a lower learning rate"


@dataclass(frozen=True)
class Trained(Ended):
    """collapsed: the levels whose code book fell out of use."""

    collapsed: tuple[str, ...]


def train(
    wav_dir: Path,
    out_dir: Path,
    settings: TrainingSettings,
    *,
    start_from: Path | None = None,
    resume: bool = False,
    say: Say = unsaid,
) -> Trained:
    """Trains from nothing, from another run's weights (start_from), or on from where the run in out_dir is (resume).

    say: is told where the run is, a line at a time. Ends and is stopped as `loop.learn` says. Raises BadSetting,
    BadCatalogue, BadCheckpoint, Busy, NoSpace, TrainingFailed.
    """
    with run_folder(out_dir, resume=resume) as process:
        tell = say if process.is_first else unsaid
        to_learn, to_validate = split(read_clips(wav_dir), settings.validation_share, seed=settings.seed)
        crops = Crops(to_learn, settings.crop_samples, seed=settings.seed)
        validation_crops = Crops(to_validate, settings.crop_samples, seed=settings.seed)
        tell(f"{len(to_learn)} clips to learn from, {len(to_validate)} to validate on; {len(crops)} crops an epoch")

        learner = Learner(settings, process)
        if resume:
            restore(learner.state, read_checkpoint(out_dir / LAST_FILE))
            tell(f"resumed at step {learner.state.step}")
        elif start_from is not None:
            load_weights(learner.model, read_checkpoint(start_from))
        else:
            learner.start_books(crops)

        program = _Program(learner, crops, validation_crops)
        ended = learn(program, out_dir, resume=resume, say=say)
        return Trained(**vars(ended), collapsed=program.collapsed)


class _Program:
    """A learner and its crops, for the loop."""

    def __init__(self, learner: Learner, crops: Crops, validation_crops: Crops) -> None:
        self.state, self.process = learner.state, learner.process
        self.collapsed: tuple[str, ...] = ()  # at the last validation
        self._learner = learner
        self._crops = crops
        self._validation_crops = validation_crops

    def epoch_items(self) -> int:
        return len(self._crops)

    def batch(self, step: int) -> Array:
        process = self.process
        batch_size = self.state.settings.batch_size
        return self._crops.batch(step, batch_size, process=process.number, n_processes=process.n_processes)

    def step(self, batch: Array, learning_rate: float) -> dict[str, float]:
        return self._learner.step(batch, learning_rate)

    def validate(self) -> Measured:
        validation, step = self._learner.validate(self._validation_crops), self.state.step
        self.collapsed = validation.collapsed
        return Measured(
            validation.figures,
            self._said(validation),
            lambda logs: logs.reconstructions(step, validation.before, validation.after),
        )

    def _said(self, validation: Validation) -> str:
        figures, model = validation.figures, self._learner.settings.model
        sizes = {"top": model.n_top_codes, "bottom": model.n_bottom_codes}
        books = [
            f"{level} codes {figures[f'{level}_usage']:.0%} of {n_codes} in use, "
            f"perplexity {figures[f'{level}_perplexity']:.0f}{COLLAPSED if level in validation.collapsed else ''}"
            for level, n_codes in sizes.items()
        ]
        return f"loss {figures['loss']:.4f}; {'; '.join(books)}"
