"""How a long job tells where it is, without knowing who listens."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Passes items on, and counts them as they go: `total` of them, in a named stage, each one `unit`."""

    def __call__(self, items: Iterable[T], *, total: int, stage: str, unit: str) -> Iterable[T]: ...


def silent(items: Iterable[T], *, total: int, stage: str, unit: str) -> Iterable[T]:
    """A Progress that nobody sees."""
    return items
