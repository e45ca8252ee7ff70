"""The process that makes sounds: loads a model, then takes jobs until it is told to stop."""

import json
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from audiorec.errors import AudiorecError
from audiorec.generate.generator import load_generator
from audiorec.jobs.heart import Heart
from audiorec.jobs.keeper import set_up_log
from audiorec.jobs.leases import Leases
from audiorec.jobs.places import Places, open_places
from audiorec.jobs.recommender import Recommender
from audiorec.jobs.runner import Runner
from audiorec.settings import Settings

LOG = logging.getLogger("audiorec")
OOM_SCORE = 500  # when memory runs out, the system is to end this process and not those that answer


def main(told: str) -> None:
    """told: JSON of its own name as a maker, and of the name of one that has died before it."""
    names = json.loads(told)
    settings = Settings.load()
    _set_up(settings)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_stop_with_parent, args=[stop], daemon=True).start()
    try:
        places = open_places(settings)
    except AudiorecError as error:
        LOG.error("cannot make sounds: %s", error.message)
        sys.exit(error.exit_code)
    try:
        _work(settings, places, names["name"], names["before"], stop)
    except AudiorecError as error:
        LOG.error("cannot make sounds: %s", error.message)
        with suppress(AudiorecError):
            places.makers.tell(names["name"], "broken", trouble=error.message)
        sys.exit(error.exit_code)
    else:
        with suppress(AudiorecError):
            places.makers.tell(names["name"], "gone")
    finally:
        places.close()


def _work(settings: Settings, places: Places, name: str, before: str, stop: threading.Event) -> None:
    leases = Leases(places.database, name, settings.generator_lease_s)
    if before:
        leases.inherit(before)
        places.makers.tell(before, "gone")
    places.makers.tell(name, "loading")
    recommender = Recommender(settings.model_dir)
    generator = load_generator(
        settings.generator_model,
        device=settings.generator_device,
        dtype=settings.generator_dtype,
        compile=settings.generator_compile,
        adapters_dir=settings.generator_adapters_dir,
        n_threads=settings.generator_threads,
    )
    LOG.info("%s is loaded, from now on it makes sounds", generator.facts.name)
    heart = Heart(
        leases, places.makers, name, lease_s=settings.generator_lease_s, max_job_s=settings.generator_max_job_s
    )
    heart.stop = stop
    heart.start(lambda: generator.facts)
    try:
        Runner(settings, places, leases, heart, generator, recommender).run()
    finally:
        heart.close()


def _set_up(settings: Settings) -> None:
    set_up_log(settings)
    with suppress(OSError):
        os.nice(settings.generator_niceness)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


def _stop_with_parent(stop: threading.Event) -> None:
    """The other end of our standard input is the keeper's: it closes when the keeper ends, however it does."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    stop.set()
