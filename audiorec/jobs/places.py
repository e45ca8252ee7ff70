"""Where jobs and their sounds are kept, by the settings."""

from dataclasses import dataclass

from audiorec.errors import BadSetting
from audiorec.jobs.database import Database
from audiorec.jobs.queue import JobQueue, QueueLimits
from audiorec.jobs.roster import Makers
from audiorec.jobs.sounds import Sounds, StoreLimits
from audiorec.release.manifest import MANIFEST_FILE
from audiorec.settings import Settings

FOLDER = "generated"  # in the model directory, beside its releases


@dataclass(frozen=True)
class Places:
    """What all processes that have to do with jobs open. For any thread."""

    database: Database
    queue: JobQueue
    sounds: Sounds
    makers: Makers

    def close(self) -> None:
        self.database.close()


def open_places(settings: Settings) -> Places:
    """Raises BadSetting, NoSpace, JobsUnavailable."""
    jobs_url, sounds_url = urls(settings)
    database = Database(jobs_url)
    sounds = Sounds(
        database, sounds_url, StoreLimits(settings.generator_sounds_max_bytes, settings.generator_sounds_max_age_s)
    )
    limits = QueueLimits(settings.generator_max_queued, settings.generator_max_per_caller)
    return Places(database, JobQueue(database, limits), sounds, Makers(database))


def urls(settings: Settings) -> tuple[str, str]:
    """(of the table, of the sounds). Raises BadSetting where there is no folder to keep them in unless said."""
    folder = settings.model_dir.absolute() / FOLDER
    missing = [
        f"AUDIOREC_{name.upper()}"
        for name in ("generator_jobs_url", "generator_sounds_url")
        if not getattr(settings, name)
    ]
    if missing and (settings.model_dir / MANIFEST_FILE).exists():
        raise BadSetting(
            f"got a release, which never changes, and nothing for {' and '.join(missing)}, expected places for jobs "
            "and sounds: name them, or serve the model directory that the release is in"
        )
    return settings.generator_jobs_url or f"sqlite:///{folder / 'jobs.db'}", settings.generator_sounds_url or str(
        folder / "sounds"
    )
