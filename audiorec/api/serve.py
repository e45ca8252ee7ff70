"""`audiorec serve`: verifies the release once, then lets uvicorn run the workers."""

import copy
import os
import tempfile
from pathlib import Path
from typing import Any

import uvicorn

from audiorec.release import open_release
from audiorec.settings import ENVIRONMENT_PREFIX, Settings


def run(model_dir: Path, *, host: str, port: int, workers: int, access_log: bool) -> None:
    """Returns when the service has stopped. Raises BadModelDir and BadSetting before anything listens."""
    settings = Settings.load(model_dir=model_dir.absolute())
    release = open_release(settings.model_dir, verify=True)
    print(f"release {release.name} verified: {release.manifest.catalogue.n_clips:,} clips", flush=True)
    del release
    os.environ[f"{ENVIRONMENT_PREFIX}MODEL_DIR"] = str(settings.model_dir)  # workers read the environment
    with tempfile.TemporaryDirectory(prefix="audiorec-metrics-") as metrics_dir:
        # new and empty, counts of an earlier run are not ours; before anything imports prometheus_client
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_dir
        uvicorn.run(
            "audiorec.api.app:create_app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            access_log=access_log,
            log_level=settings.log_level,
            log_config=_log_config(settings.log_level),
            timeout_graceful_shutdown=settings.stop_grace_s,
        )


def _log_config(level: str) -> dict[str, Any]:
    """uvicorn's, with our own logger beside its own."""
    config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    config["loggers"]["audiorec"] = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    return config
