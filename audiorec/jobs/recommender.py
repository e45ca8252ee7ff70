"""The clips nearest to a finished sound, by the release that is current when the sound is done.

It is the process that makes sounds that asks, and not a worker of the service: that one would have to import torch to
embed the sound, and would lose it all with a restart. The process looks at `current` before each answer and keeps to
what it found until the answer is whole, so that an answer is of one release, which it names; it stays right for as long
as the job is known, whatever is current then.
"""

import io
import logging
from pathlib import Path
from typing import Any

import soundfile

from audiorec.errors import AudiorecError, BadModelDir
from audiorec.generate.prompt import Prompt
from audiorec.jobs.job import Wishes, release_id
from audiorec.nearest import Nearest
from audiorec.recommend import recommend
from audiorec.release import Release, open_release, resolve

LOG = logging.getLogger("audiorec")


class Recommender:
    """For one thread."""

    def __init__(self, model_dir: Path) -> None:
        """Raises BadModelDir."""
        self._model_dir = model_dir
        self._nearest = Nearest(open_release(model_dir, verify=True))
        self._refused: Path | None = None

    def recommend(self, wav: bytes, prompt: Prompt, wishes: Wishes) -> dict[str, Any]:
        """wav: a finished sound. Returns what an `Outcome` says of it and of the clips nearest to it.

        Clips that cannot be had, as by a filter on a column that the release does not have, do not spoil the sound.
        """
        nearest = self._current()
        with soundfile.SoundFile(io.BytesIO(wav)) as file:
            facts: dict[str, Any] = {
                "sample_rate_hz": file.samplerate,
                "n_channels": file.channels,
                "duration_s": round(file.frames / file.samplerate, 4),
                "release": nearest.release.name,
                "release_id": release_id(nearest.release),
            }
        try:
            found = recommend(wav, nearest, prompt=prompt.prompt, **wishes.model_dump())
            return {**facts, "recommendations": found.to_json()}
        except AudiorecError as error:
            return {**facts, "recommendations": None, "trouble": {"code": error.code, "message": error.message}}

    def _current(self) -> Nearest:
        """Of the current release; of the one before while that one is refused, as by the workers of a service."""
        before, directory = self._nearest.release, None
        try:
            directory = resolve(self._model_dir)
            if directory not in (before.directory, self._refused):
                self._nearest = Nearest(_opened_after(before, directory))
                self._refused = None
                LOG.info("sounds are compared with release %s now, after %s", directory.name, before.name)
        except (BadModelDir, OSError) as error:
            if directory is None or directory != self._refused:
                LOG.warning("release %s stays the one that sounds are compared with: %s", before.name, error)
            self._refused = directory
        return self._nearest


def _opened_after(before: Release, directory: Path) -> Release:
    """What both have in common is not loaded twice. Raises BadModelDir."""
    release = open_release(directory, verify=True)
    for name, key in (("encoder", Release.encoder_key), ("text_encoder", Release.text_key)):
        if name in before.__dict__ and key(before) == key(release):
            setattr(release, name, before.__dict__[name])
    return release
