"""Prometheus metrics, right with several workers when PROMETHEUS_MULTIPROC_DIR is set before this is imported."""

import os
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from audiorec.release.manifest import Manifest

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_REQUESTS = Counter("audiorec_requests", "Requests answered.", ["route", "status"])
_LATENCY_S = Histogram(
    "audiorec_request_seconds", "From the request's first byte to the answer.", ["route"], buckets=LATENCY_BUCKETS_S
)
REQUESTS_IN_PROGRESS = Gauge(
    "audiorec_requests_in_progress", "Requests that have come and are not answered yet.", multiprocess_mode="livesum"
)
_STAGE_S = Histogram("audiorec_stage_seconds", "Seconds in a stage.", ["stage"], buckets=LATENCY_BUCKETS_S)
STAGE_S = {stage: _STAGE_S.labels(stage) for stage in ("read", "decode", "encode", "search")}
REFUSALS = Counter("audiorec_refusals", "Errors by code.", ["code"])
UPLOADS = Gauge(
    "audiorec_uploads_in_progress", "Uploads and texts waiting, decoding or encoding.", multiprocess_mode="livesum"
)
UPLOADS_QUEUED = Gauge(
    "audiorec_uploads_queued", "Uploads and texts that wait for a decoder or the encoder.", multiprocess_mode="livesum"
)
_UPLOAD_CACHE = Counter(
    "audiorec_upload_cache",
    "Uploads by whether their vector was known (hit), was just being computed (shared), or neither (miss).",
    ["result"],
)
UPLOAD_CACHE = {result: _UPLOAD_CACHE.labels(result) for result in ("hit", "shared", "miss")}
_TEXT_CACHE = Counter(
    "audiorec_text_cache",
    "Requests with texts by whether their vectors were known (hit), were just being computed (shared), or neither "
    "(miss).",
    ["result"],
)
TEXT_CACHE = {result: _TEXT_CACHE.labels(result) for result in ("hit", "shared", "miss")}
ENCODED_WINDOWS = Histogram(
    "audiorec_encoded_windows", "Windows in one call of the encoder.", buckets=(1, 2, 4, 8, 16, 32, 64)
)
# Of the release, what was said last: a worker that has only just started has said nothing, and 0 would be a lie.
CLIPS = Gauge("audiorec_release_clips", "Clips in the served release.", multiprocess_mode="livemostrecent")
CREATED_NAME = "audiorec_release_created_timestamp_seconds"
CREATED_S = Gauge(
    CREATED_NAME,
    "When the served release was made, Unix time.",
    multiprocess_mode="livemostrecent",
)
RECALL = Gauge(
    "audiorec_index_recall_at_10", "Recall of the served release's index.", multiprocess_mode="livemostrecent"
)
SWAPS = Counter("audiorec_release_swaps", "Times that a worker went on to another release.")
RELEASE_REFUSALS = Counter("audiorec_release_refusals", "Times that a worker refused to go on to another release.")
REFUSED = Gauge(
    "audiorec_release_refused",
    "1 while the current release is refused and one before it served.",
    multiprocess_mode="livemax",
)
KEYS_FILE_BROKEN = Gauge(
    "audiorec_keys_file_broken",
    "1 while the keys file cannot be read and the keys read before are good.",
    multiprocess_mode="livemax",
)


@lru_cache(1024)
def requests(route: str, status: int) -> Counter:
    return _REQUESTS.labels(route, status)


@lru_cache(256)
def latency_s(route: str) -> Histogram:
    return _LATENCY_S.labels(route)


def describe(manifest: Manifest) -> None:
    """The release that is served from now on."""
    CLIPS.set(manifest.catalogue.n_clips)
    CREATED_S.set(datetime.fromisoformat(manifest.created_at).timestamp())
    RECALL.set(manifest.index.recall_at_10)


def shared_dir() -> Path | None:
    """The folder that all workers of the service share, where there is one."""
    name = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(name) if name else None
