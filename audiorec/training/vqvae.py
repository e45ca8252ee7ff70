"""Trains a VQ-VAE-2 on converted clips: the whole program, from top to bottom.

    OUT/config.toml    the settings
    OUT/last.pt        where the run is; `resume` goes on from it
    OUT/best.pt        the model of the least validation loss so far
    OUT/log.jsonl      losses, learning rate, usage and perplexity of the code books; TensorBoard's in OUT/tensorboard/

On one core, on one GPU, or on several under torchrun.
"""

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import current_thread, main_thread
from time import perf_counter, process_time

from audiorec.encoders.vqvae.weights import load_weights, read_checkpoint
from audiorec.errors import BadSetting, TrainingFailed
from audiorec.files import locked, replacing
from audiorec.training.checkpoint import BEST_FILE, LAST_FILE, restore, save_best, save_last
from audiorec.training.data import Array, Crops, ahead, read_clips, split
from audiorec.training.learner import Learner
from audiorec.training.logs import Logs
from audiorec.training.processes import Process, joined
from audiorec.training.schedule import one_cycle
from audiorec.training.settings import TrainingSettings, to_toml
from audiorec.training.state import TrainingState

CONFIG_FILE = "config.toml"
LOG_STEPS = 10
STATUS_S = 30.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Say = Callable[[str], None]


def unsaid(line: str) -> None:
    """A Say that nobody hears."""


@dataclass(frozen=True)
class Trained:
    """How a run ended.

    figures: of its last validation, in the first process. collapsed: the levels whose code book fell out of use.
    """

    best_path: Path
    n_steps: int
    seconds: float
    figures: dict[str, float]
    collapsed: tuple[str, ...]
    has_board: bool  # whether TensorBoard was there to be told


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

    say: is told where the run is, a line at a time. Stopped by SIGINT or SIGTERM it saves first, and raises
    KeyboardInterrupt. A resumed run equals an unbroken one; the schedule of one by minutes follows the clock, so that
    one only nearly. Raises BadSetting, BadCatalogue, BadCheckpoint, Busy, NoSpace, TrainingFailed.
    """
    with joined() as process, _held(out_dir, process):
        tell = say if process.is_first else unsaid
        last_path = out_dir / LAST_FILE
        if last_path.exists() and not resume:
            raise BadSetting(f"got {out_dir}, which has a run in it, expected a new folder: name another, or --resume")
        learn, validate = split(read_clips(wav_dir), settings.validation_share, seed=settings.seed)
        crops = Crops(learn, settings.crop_samples, seed=settings.seed)
        validation_crops = Crops(validate, settings.crop_samples, seed=settings.seed)
        tell(f"{len(learn)} clips to learn from, {len(validate)} to validate on; {len(crops)} crops an epoch")

        learner = Learner(settings, process)
        state = learner.state
        if resume:
            restore(state, read_checkpoint(last_path))
            tell(f"resumed at step {state.step}")
        elif start_from is not None:
            load_weights(state.model, read_checkpoint(start_from))
        else:
            learner.start_books(crops)
        process.wait()

        with Logs(out_dir) if process.is_first else nullcontext() as logs:
            run = _Run(out_dir, learner, crops, validation_crops, logs, tell)
            if not resume:
                run.begin()
            run.learn()
            return run.end()


@contextmanager
def _held(out_dir: Path, process: Process) -> Iterator[None]:
    """The first process holds the folder for all."""
    if not process.is_first:
        yield
        return
    with locked(out_dir / "lock", f"the run in {out_dir}"):
        yield


@dataclass
class _Run:
    out_dir: Path
    learner: Learner
    crops: Crops
    validation_crops: Crops
    logs: Logs | None  # of the first process
    say: Say
    clock: "_Clock" = field(init=False)  # from where the run begins or goes on
    saved_step: int = 0
    collapsed: tuple[str, ...] = ()

    def begin(self) -> None:
        if self.logs is not None:
            with replacing(self.out_dir / CONFIG_FILE) as file:
                file.write(to_toml(self.learner.settings).encode())
            save_last(self.out_dir / LAST_FILE, self.learner.state)

    def learn(self) -> None:
        """Step after step until the epochs or minutes are over."""
        learner, state, process = self.learner, self.learner.state, self.learner.process
        self.saved_step = state.step
        self.clock, said = _Clock(state), perf_counter()
        with _asked_to_stop() as asked_to_stop, closing(ahead(self._batch, count(state.step))) as batches:
            for waveforms in batches:
                fraction = process.of_first(self.fraction)
                if fraction >= 1:
                    break
                learning_rate = learner.settings.learning_rate * one_cycle(fraction)
                with self._naming_the_last_checkpoint():
                    losses = learner.step(waveforms, learning_rate)
                self.clock.tell()
                if self.logs is not None and state.step % LOG_STEPS == 0:
                    self.logs.figures(state.step, {"learning_rate": learning_rate, **_named("train", losses)})
                if perf_counter() - said > STATUS_S:
                    self.say(self._status(losses))
                    said = perf_counter()
                if state.step % learner.settings.validate_steps == 0:
                    self.validate()
                if process.any_of_us(asked_to_stop()):
                    self._save()
                    raise KeyboardInterrupt
        if state.validated_step < state.step:
            self.validate()

    def _batch(self, step: int) -> Array:
        process = self.learner.process
        return self.crops.batch(
            step, self.learner.settings.batch_size, process=process.number, n_processes=process.n_processes
        )

    @contextmanager
    def _naming_the_last_checkpoint(self) -> Iterator[None]:
        try:
            yield
        except TrainingFailed as error:
            kept = f"the last good checkpoint is {LAST_FILE} of step {self.saved_step}"
            raise TrainingFailed(f"{error.message}; {kept}", code=error.code) from None

    @property
    def fraction(self) -> float:
        """How much of the run is over, in [0, 1]."""
        settings, state = self.learner.settings, self.learner.state
        if settings.minutes is not None:
            return min(1.0, state.seconds / (60 * settings.minutes))
        if settings.cpu_minutes is not None:
            return min(1.0, state.cpu_seconds / (60 * settings.cpu_minutes))
        assert settings.epochs is not None
        return min(1.0, state.step / math.ceil(settings.epochs * len(self.crops) / settings.batch_size))

    def validate(self) -> None:
        """Measures, tells, and saves: the last checkpoint, and the best one if this is it."""
        learner, state = self.learner, self.learner.state
        state.validated_step = state.step
        if self.logs is not None:
            with self._naming_the_last_checkpoint():
                validation = learner.validate(self.validation_crops)
            state.figures, self.collapsed = validation.figures, validation.collapsed
            self.logs.figures(state.step, _named("validation", state.figures))
            self.logs.reconstructions(state.step, validation.before, validation.after)
            self.say(self._validated())
            if state.figures["loss"] < state.best_loss:
                state.best_loss = state.figures["loss"]
                save_best(self.out_dir / BEST_FILE, state)
            self._save()
        self.clock.tell()
        learner.process.wait()

    def _save(self) -> None:
        self.clock.tell()
        if self.logs is not None:
            save_last(self.out_dir / LAST_FILE, self.learner.state)
        self.saved_step = self.learner.state.step

    def _status(self, losses: dict[str, float]) -> str:
        state = self.learner.state
        left_s = state.seconds * (1 / max(self.fraction, 1e-3) - 1)
        return (
            f"step {state.step}, {self.fraction:.0%}: loss {losses['loss']:.4f}, "
            f"{state.step / state.seconds:.1f} steps/s, {left_s / 60:.1f} min left"
        )

    def _validated(self) -> str:
        figures, model = self.learner.state.figures, self.learner.settings.model
        sizes = {"top": model.n_top_codes, "bottom": model.n_bottom_codes}
        books = [
            f"{level} codes {figures[f'{level}_usage']:.0%} of {n_codes} in use, "
            f"perplexity {figures[f'{level}_perplexity']:.0f}"
            + (
                ": COLLAPSED, its bags say little; train anew with another seed or a lower learning rate"
                if level in self.collapsed
                else ""
            )
            for level, n_codes in sizes.items()
        ]
        return f"step {self.learner.state.step}, validation: loss {figures['loss']:.4f}; {'; '.join(books)}"

    def end(self) -> Trained:
        state = self.learner.state
        has_board = self.logs is not None and self.logs.has_board
        return Trained(self.out_dir / BEST_FILE, state.step, state.seconds, state.figures, self.collapsed, has_board)


class _Clock:
    """Tells a state how long it has taken, what it took before it was resumed included."""

    def __init__(self, state: TrainingState) -> None:
        self._state = state
        self._began = perf_counter() - state.seconds
        self._began_cpu = process_time() - state.cpu_seconds

    def tell(self) -> None:
        self._state.seconds = perf_counter() - self._began
        self._state.cpu_seconds = process_time() - self._began_cpu


def _named(part: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{part}/{name}": value for name, value in figures.items()}


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Yields whether SIGINT or SIGTERM came; in a thread that cannot hear them, never."""
    heard: list[int] = []
    if current_thread() is not main_thread():
        yield lambda: False
        return
    kept = {number: signal.signal(number, lambda number, frame: heard.append(number)) for number in STOP_SIGNALS}
    try:
        yield lambda: bool(heard)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
