"""The loop that every training program runs in: step after step, validations, checkpoints, a clock, and signals.

OUT/config.toml    the settings
OUT/last.pt        where the run is; `resume` goes on from it
OUT/best.pt        the model of the least validation loss so far
OUT/log.jsonl      figures; TensorBoard's in OUT/tensorboard/
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
from typing import Any, Protocol

from audiorec.errors import BadSetting, TrainingFailed
from audiorec.files import locked, replacing
from audiorec.training.checkpoint import BEST_FILE, LAST_FILE, save_best, save_last
from audiorec.training.data import ahead
from audiorec.training.logs import Logs
from audiorec.training.processes import Process, joined
from audiorec.training.run_settings import RunSettings, to_toml
from audiorec.training.schedule import one_cycle
from audiorec.training.state import TrainingState

CONFIG_FILE = "config.toml"
LOG_STEPS = 10
STATUS_S = 30.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Say = Callable[[str], None]


def unsaid(line: str) -> None:
    """A Say that nobody hears."""


@dataclass(frozen=True)
class Measured:
    """A validation. figures: "loss" is among them, the least is the best. said: for a person. show: puts into the
    logs what is no figure.
    """

    figures: dict[str, float]
    said: str
    show: Callable[[Logs], None] = lambda logs: None


class Program(Protocol):
    """What is trained, and on what. `step` and `validate` may raise TrainingFailed."""

    state: TrainingState
    process: Process

    def epoch_items(self) -> int:
        """How many items, of which batch_size are learnt in a step, an epoch has."""

    def batch(self, step: int) -> Any:
        """A function of the seed and the step alone; called in another thread, ahead of time."""

    def step(self, batch: Any, learning_rate: float) -> dict[str, float]:
        """One step of learning. Returns its figures, "loss" among them."""

    def validate(self) -> Measured: ...


@dataclass(frozen=True)
class Ended:
    """How a run ended. figures: of its last validation, in the first process. has_board: TensorBoard was told."""

    best_path: Path
    n_steps: int
    seconds: float
    figures: dict[str, float]
    has_board: bool


@contextmanager
def run_folder(out_dir: Path, *, resume: bool) -> Iterator[Process]:
    """Joins the other processes, the first of which holds the folder for all. Raises Busy, BadSetting."""
    with joined() as process:
        held = locked(out_dir / "lock", f"the run in {out_dir}") if process.is_first else nullcontext()
        with held:
            if (out_dir / LAST_FILE).exists() and not resume:
                raise BadSetting(
                    f"got {out_dir}, which has a run in it, expected a new folder: name another, or --resume"
                )
            yield process


def learn(program: Program, out_dir: Path, *, resume: bool, say: Say) -> Ended:
    """Runs a program to its end. Stopped by SIGINT or SIGTERM it saves first, and raises KeyboardInterrupt.

    A resumed run equals an unbroken one; the schedule of one by minutes follows the clock, so that one only nearly.
    """
    process = program.process
    process.wait()
    last_step = program.state.step if resume else None
    with Logs(out_dir, last_step) if process.is_first else nullcontext() as logs:
        run = _Run(out_dir, program, logs, say if process.is_first else unsaid)
        if not resume:
            run.begin()
        run.learn()
        state = program.state
        has_board = logs is not None and logs.has_board
        return Ended(out_dir / BEST_FILE, state.step, state.seconds, state.figures, has_board)


@dataclass
class _Run:
    out_dir: Path
    program: Program
    logs: Logs | None  # of the first process
    say: Say
    clock: "Clock" = field(init=False)  # from where the run begins or goes on
    saved_step: int = 0

    def begin(self) -> None:
        if self.logs is not None:
            with replacing(self.out_dir / CONFIG_FILE) as file:
                file.write(to_toml(self.program.state.settings).encode())
            save_last(self.out_dir / LAST_FILE, self.program.state)

    def learn(self) -> None:
        """Step after step until the epochs, minutes or steps are over."""
        program, state, process = self.program, self.program.state, self.program.process
        self.saved_step = state.step
        self.clock, said = Clock(state), perf_counter()
        with stop_signals() as asked_to_stop, closing(ahead(program.batch, count(state.step))) as batches:
            for batch in batches:
                fraction = process.of_first(self.fraction)
                if fraction >= 1:
                    break
                learning_rate = state.settings.learning_rate * one_cycle(fraction)
                with self._naming_the_last_checkpoint():
                    figures = program.step(batch, learning_rate)
                self.clock.tell()
                if self.logs is not None and state.step % LOG_STEPS == 0:
                    self.logs.figures(state.step, {"learning_rate": learning_rate, **_named("train", figures)})
                if perf_counter() - said > STATUS_S:
                    self.say(self._status(figures))
                    said = perf_counter()
                if state.step % state.settings.validate_steps == 0:
                    self.validate()
                if process.any_of_us(asked_to_stop()):
                    self._save()
                    raise KeyboardInterrupt
        if state.validated_step < state.step:
            self.validate()

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
        state = self.program.state
        return fraction_of(state.settings, state, self.program.epoch_items())

    def validate(self) -> None:
        """Measures, tells, and saves: the last checkpoint, and the best one if this is it."""
        program, state = self.program, self.program.state
        state.validated_step = state.step
        if self.logs is not None:
            with self._naming_the_last_checkpoint():
                measured = program.validate()
            state.figures = measured.figures
            self.logs.figures(state.step, _named("validation", state.figures))
            measured.show(self.logs)
            self.say(f"step {state.step}, validation: {measured.said}")
            if state.figures["loss"] < state.best_loss:
                state.best_loss = state.figures["loss"]
                save_best(self.out_dir / BEST_FILE, state)
            self._save()
        self.clock.tell()
        program.process.wait()

    def _save(self) -> None:
        self.clock.tell()
        if self.logs is not None:
            save_last(self.out_dir / LAST_FILE, self.program.state)
        self.saved_step = self.program.state.step

    def _status(self, figures: dict[str, float]) -> str:
        state = self.program.state
        left_s = state.seconds * (1 / max(self.fraction, 1e-3) - 1)
        return (
            f"step {state.step}, {self.fraction:.0%}: loss {figures['loss']:.4f}, "
            f"{state.step / state.seconds:.1f} steps/s, {left_s / 60:.1f} min left"
        )


class Timed(Protocol):
    """step: how many are done. seconds, cpu_seconds: how long they took, by the clock and on all cores."""

    step: int
    seconds: float
    cpu_seconds: float


def fraction_of(settings: RunSettings, timed: Timed, epoch_items: int) -> float:
    """How much of a run is over, in [0, 1]. epoch_items: how many items, batch_size a step, an epoch has."""
    if settings.minutes is not None:
        return min(1.0, timed.seconds / (60 * settings.minutes))
    if settings.cpu_minutes is not None:
        return min(1.0, timed.cpu_seconds / (60 * settings.cpu_minutes))
    return min(1.0, timed.step / n_steps_of(settings, epoch_items))


def n_steps_of(settings: RunSettings, epoch_items: int) -> int:
    """How many steps a run by epochs or steps has."""
    if settings.steps is not None:
        return settings.steps
    assert settings.epochs is not None
    return math.ceil(settings.epochs * epoch_items / settings.batch_size)


class Clock:
    """Tells a state how long it has taken, what it took before it was resumed included."""

    def __init__(self, state: Timed) -> None:
        self._state = state
        self._began = perf_counter() - state.seconds
        self._began_cpu = process_time() - state.cpu_seconds

    def tell(self) -> None:
        self._state.seconds = perf_counter() - self._began
        self._state.cpu_seconds = process_time() - self._began_cpu


def _named(part: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{part}/{name}": value for name, value in figures.items()}


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
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
