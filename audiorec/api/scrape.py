"""What /metrics answers: the metrics of all workers, and what is computed only when somebody asks."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

import audiorec
from audiorec.api import metrics

_THREAD = ThreadPoolExecutor(1, "metrics")  # as in health.py
KINDS_OF_MEMORY = {"RssAnon": "anonymous", "RssFile": "file", "RssShmem": "shared"}


More = Callable[[], Iterable[Metric]]


def nothing_more() -> Iterable[Metric]:
    return ()


async def scrape(more: More | None = None) -> tuple[bytes, str]:
    """(text, content type) of all workers' metrics together, whatever the worker is busy with.

    more: what else there is to tell, computed when it is asked for, in a thread.
    """
    return await asyncio.get_running_loop().run_in_executor(_THREAD, exposition, more or nothing_more)


def exposition(more: More = nothing_more) -> tuple[bytes, str]:
    """What `scrape` awaits."""
    registry, pids = REGISTRY, {os.getpid()}
    if directory := metrics.shared_dir():
        pids |= _workers(directory)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(_WithMoment(registry, pids, more)), CONTENT_TYPE_LATEST


class _WithMoment(Collector):
    """A registry's metrics, and those of this moment."""

    def __init__(self, registry: Collector, pids: set[int], more: More) -> None:
        self._more = more
        self._registry = registry
        self._pids = pids

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            yield metric
            if metric.name == metrics.CREATED_NAME and metric.samples:
                age_s = max(0.0, time.time() - metric.samples[0].value)
                yield GaugeMetricFamily("audiorec_release_age_seconds", "Since the served release was made.", age_s)
        memory = GaugeMetricFamily(
            "audiorec_worker_resident_memory_bytes",
            "A worker's memory: anonymous is its own, file is mapped from the release and shared by all workers.",
            labels=["pid", "kind"],
        )
        for pid in sorted(self._pids):
            for kind, n_bytes in _memory_of(pid):
                memory.add_metric([str(pid), kind], n_bytes)
        yield memory
        yield from self._more()
        yield InfoMetricFamily("audiorec_build", "What is running.", {"version": audiorec.__version__})


def _memory_of(pid: int) -> Iterator[tuple[str, int]]:
    """(kind, bytes), where the system tells."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in KINDS_OF_MEMORY:
                yield KINDS_OF_MEMORY[name], int(value.split()[0]) * 1024


def _workers(directory: Path) -> set[int]:
    """The workers that are alive. What a killed one had in progress, and served, is forgotten; its counts stay."""
    alive = set()
    for path in directory.glob("gauge_live*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if _is_worker(pid):
            alive.add(pid)
        else:
            path.unlink(missing_ok=True)
    return alive


def _is_worker(pid: int) -> bool:
    """Whether it is this process or one beside it: the number of a dead one may be somebody else's by now."""
    if pid == os.getpid():
        return True
    try:
        parent_pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return False
    return parent_pid == os.getppid()
