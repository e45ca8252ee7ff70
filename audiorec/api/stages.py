"""The stages of a request: each is timed in the metrics and, where traces are on, a span of the request's trace."""

from contextlib import AbstractContextManager
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from audiorec.api import metrics

if TYPE_CHECKING:  # nothing of OpenTelemetry is imported where traces are off
    from opentelemetry.trace import Span, Tracer

StageName = Literal["read", "decode", "encode", "search"]
Attribute = str | bool | int | float

_tracer: "Tracer | None" = None


def trace_stages(tracer: "Tracer | None") -> None:
    """From now on every stage of this process is a span of this tracer; None: none is any more."""
    global _tracer
    _tracer = tracer


def stage(name: StageName, **attributes: Attribute) -> "Stage":
    """`with stage("decode", bytes=len(sound)) as decoding: ...; decoding.set(seconds=8.2)`.

    Counts in audiorec_stage_seconds{stage=name}, whether it ends well or not. The span's parent is that of the running
    context: enter it in the request's coroutine, around the `await`, or in a thread that was given the context
    (`run_in_threadpool` and `asyncio.to_thread` do, `loop.run_in_executor` does not). May be entered once.
    """
    return Stage(name, attributes)


class Stage:
    """What `stage` gives."""

    __slots__ = ("_attributes", "_name", "_span", "_span_ending", "_start_s")

    def __init__(self, name: StageName, attributes: dict[str, Attribute]) -> None:
        self._name = name
        self._attributes = attributes
        self._span: Span | None = None
        self._span_ending: AbstractContextManager[Span] | None = None

    def __enter__(self) -> "Stage":
        if _tracer is not None:
            self._span_ending = _tracer.start_as_current_span(f"audiorec.{self._name}")
            self._span = self._span_ending.__enter__()
            self.set(**self._attributes)
        self._start_s = perf_counter()
        return self

    def set(self, **attributes: Attribute) -> None:
        """What is known only inside of the stage; it stands in the span as audiorec.NAME."""
        if self._span is not None:
            self._span.set_attributes({f"audiorec.{name}": value for name, value in attributes.items()})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        metrics.STAGE_S[self._name].observe(perf_counter() - self._start_s)
        if self._span_ending is not None:
            self._span_ending.__exit__(kind, error, traceback)
