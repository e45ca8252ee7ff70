"""What a maker does all day: takes a job, makes its sound or finds it made, recommends clips, and takes the next."""

import logging
import time

from audiorec.errors import AudiorecError, BadQuery, NoSpace, SoundGone
from audiorec.generate.generator import Cancelled, Generator
from audiorec.generate.prompt import Prompt, result_key, with_seed
from audiorec.generate.sound import encode_sound
from audiorec.jobs.heart import Heart
from audiorec.jobs.job import Job, Lease, Outcome, Stage
from audiorec.jobs.leases import Leases
from audiorec.jobs.limits import granted, limits_of
from audiorec.jobs.places import Places
from audiorec.jobs.recommender import Recommender
from audiorec.settings import Settings

LOG = logging.getLogger("audiorec")
POLL_S = 0.1  # how soon a job is taken by a maker that has nothing to do
TROUBLE_S = 2.0  # before the table is asked again when it did not answer
TIDY_S = 60.0
FULL = "got no room on the disk for the sound, expected some: tell the operator, or ask again later"
INTERNAL = "something went wrong while the sound was made, not with the request: tell the operator the id of the job"
NO_MEMORY = "got a sound that takes more memory than there is, expected a smaller one: ask for fewer seconds"


class Runner:
    """Until `heart.stop` is set."""

    def __init__(
        self,
        settings: Settings,
        places: Places,
        leases: Leases,
        heart: Heart,
        generator: Generator,
        recommender: Recommender,
    ) -> None:
        self._settings = settings
        self._places = places
        self._leases = leases
        self._heart = heart
        self._generator = generator
        self._recommender = recommender
        self._limits = limits_of(settings)
        self._tidied_s = 0.0

    def run(self) -> None:
        while not self._heart.stop.is_set():
            self._heart.stop.wait(self.take_turn())

    def take_turn(self) -> float:
        """Works on a job, if there is one. Returns when to come again, in seconds."""
        try:
            self._tidy()
            self._leases.reap()
            taken = self._leases.take(self._key_of)
            if taken is None:
                return POLL_S
            self.work_on(*taken)
        except AudiorecError as error:  # of the table or the store: jobs have theirs handled
            LOG.warning("cannot take jobs: %s", error.message)
            return TROUBLE_S
        return 0.0

    def work_on(self, job: Job, lease: Lease) -> None:
        """Whatever becomes of it is written into the table, unless the lease is lost. Raises JobsUnavailable."""
        with self._heart.beating_for(lease):
            try:
                outcome = self._made(job, lease)
            except Cancelled:
                self._end_cancelled(lease)
            except NoSpace as error:
                LOG.error("job failed: %s", error.message)
                self._leases.fail(lease, error.code, FULL)
            except AudiorecError as error:
                self._leases.fail(lease, error.code, error.message)
            except MemoryError:
                self._leases.fail(lease, "out_of_memory", NO_MEMORY)
            except Exception as error:  # whatever it is, the next job may be well
                LOG.exception("job %d failed: %s", job.number, type(error).__name__)
                self._leases.fail(lease, "internal", INTERNAL)
            else:
                self._leases.finish(lease, outcome, self._heart.n_steps)

    def _end_cancelled(self, lease: Lease) -> None:
        if self._heart.is_cancelled:
            self._leases.cancel(lease)
        elif not self._heart.is_lost:  # it is the process that is to stop
            self._leases.put_back(lease)

    def _made(self, job: Job, lease: Lease) -> Outcome:
        """Raises Cancelled, BadQuery, GenerationFailed, BadAudio, NoSpace, JobsUnavailable."""
        clock = _Clock(self._heart)
        prompt = granted(job.prompt, self._generator.facts, self._limits)
        assert job.sound is not None
        wav = self._kept(job.sound)
        is_shared, seed = wav is not None, prompt.seed
        if wav is None:
            self._leases.describe(lease, prompt)
            clock.enter("generate")
            seeded = with_seed(prompt)
            seed = seeded.seed
            sound = self._generator.generate(seeded, self._heart.on_step)
            clock.enter("store")
            wav = encode_sound(sound)
            self._places.sounds.put(job.sound, wav)
        clock.enter("recommend")
        recommended = self._recommender.recommend(wav, prompt, job.wishes)
        return Outcome(
            generator=self._generator.facts.model_dump(),
            is_shared=is_shared,
            seed=seed,
            took_s=clock.ended(),
            **recommended,
        )

    def _kept(self, key: str) -> bytes | None:
        file = self._places.sounds.find(key)
        if file is None:
            return None
        try:
            return self._places.sounds.read(file)
        except SoundGone:  # somebody has tidied up by hand
            return None

    def _key_of(self, prompt: Prompt) -> str | None:
        try:
            return result_key(granted(prompt, self._generator.facts, self._limits), self._generator.facts)
        except BadQuery:  # said to whoever asked when the job is taken
            return None

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied_s >= TIDY_S:
            self._tidied_s = time.monotonic()
            self._places.queue.forget(self._settings.generator_jobs_max_age_s)
            self._places.sounds.sweep()


class _Clock:
    """Seconds by stage, told to the heart as they begin."""

    def __init__(self, heart: Heart) -> None:
        self._heart = heart
        self._took_s: dict[str, float] = {}
        self._stage: Stage = ""
        self._since_s = 0.0

    def enter(self, stage: Stage) -> None:
        self._end()
        self._stage, self._since_s = stage, time.monotonic()
        self._heart.on_stage(stage)

    def ended(self) -> dict[str, float]:
        self._end()
        self._stage = ""
        return self._took_s

    def _end(self) -> None:
        if self._stage:
            self._took_s[self._stage] = round(time.monotonic() - self._since_s, 4)
