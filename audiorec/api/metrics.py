"""Prometheus metrics, right with several workers when PROMETHEUS_MULTIPROC_DIR is set before this is imported."""

import os
from functools import lru_cache
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_REQUESTS = Counter("audiorec_requests", "Requests answered.", ["route", "status"])
_LATENCY_S = Histogram(
    "audiorec_request_seconds", "From the request's first byte to the answer.", ["route"], buckets=LATENCY_BUCKETS_S
)
_STAGE_S = Histogram("audiorec_stage_seconds", "Seconds in a stage.", ["stage"], buckets=LATENCY_BUCKETS_S)
DECODE_S, ENCODE_S, SEARCH_S = (_STAGE_S.labels(stage) for stage in ("decode", "encode", "search"))
REFUSALS = Counter("audiorec_refusals", "Errors by code.", ["code"])
UPLOADS = Gauge("audiorec_uploads_in_progress", "Uploads waiting, decoding or encoding.", multiprocess_mode="livesum")
CLIPS = Gauge("audiorec_release_clips", "Clips in the open release.", multiprocess_mode="max")
CREATED_S = Gauge("audiorec_release_created_seconds", "Unix time of the open release.", multiprocess_mode="max")
RECALL = Gauge("audiorec_index_recall_at_10", "Recall of the open release's index.", multiprocess_mode="min")


@lru_cache(1024)
def requests(route: str, status: int) -> Counter:
    return _REQUESTS.labels(route, status)


@lru_cache(256)
def latency_s(route: str) -> Histogram:
    return _LATENCY_S.labels(route)


def exposition() -> tuple[bytes, str]:
    """(text, content type) of all workers' metrics together."""
    registry = REGISTRY
    if shared_dir := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        _forget_uploads_of_the_dead(Path(shared_dir))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _forget_uploads_of_the_dead(shared_dir: Path) -> None:
    """What a worker that was killed had in progress is no more; its counts stay."""
    for path in shared_dir.glob("gauge_live*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not _is_alive(pid):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, and somebody else's
        pass
    return True
