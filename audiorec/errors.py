"""Every error a caller or a file can cause: one root class, one HTTP status, exit code and stable `code` each.

A message says what was got, what was expected and what to do. It never holds a path of the server.
"""

from typing import ClassVar


class AudiorecError(Exception):
    """The root: whatever a person or a file got wrong. Anything else that is raised is a fault of ours."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    code: str = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class BadAudio(AudiorecError):
    """A sound that cannot become a clip. `code` is its reason, the one written to `refused.tsv`."""

    status = 422
    exit_code = 3
    code = "bad_audio"


class BadVector(AudiorecError):
    """An embedding of the wrong length, with a number that is not finite, or without direction."""

    status = 422
    exit_code = 4
    code = "bad_vector"


class BadQuery(AudiorecError):
    """A query that makes no sense: k out of range, an unknown filter column, two questions at once."""

    status = 422
    exit_code = 4
    code = "bad_query"


class UnknownClip(AudiorecError):
    """A clip id that is not in the catalogue."""

    status = 404
    exit_code = 4
    code = "unknown_clip"


class MissingSound(AudiorecError):
    """A clip whose own sound cannot be had: its file is not there, or nobody has said where such files are."""

    status = 404
    exit_code = 4
    code = "missing_sound"


class BadModelDir(AudiorecError):
    """A model directory or release that is missing, broken, foreign, or of another format version."""

    status = 503
    exit_code = 5
    code = "bad_model_dir"


class BadCatalogue(AudiorecError):
    """A folder of clips, or its `labels.csv`, from which no catalogue can be made."""

    status = 422
    exit_code = 3
    code = "bad_catalogue"


class BadCheckpoint(AudiorecError):
    """A training checkpoint that is missing, broken, foreign, or of another config."""

    status = 422
    exit_code = 5
    code = "bad_checkpoint"


class BadModel(AudiorecError):
    """A pretrained model that is missing, broken, of another kind, or on a hub that cannot be reached."""

    status = 422
    exit_code = 5
    code = "bad_model"


class TrainingFailed(AudiorecError):
    """A training that cannot go on: a loss that is not a number, or not enough memory."""

    code = "training_failed"


class GenerationFailed(AudiorecError):
    """A model that gave no usable sound: NaN, silence, noise, no memory left. `code` is the reason."""

    exit_code = 3
    code = "generation_failed"


class BadSetting(AudiorecError):
    """A setting, encoder name or option that is unknown or out of range."""

    status = 422
    exit_code = 2
    code = "bad_setting"


class Busy(AudiorecError):
    """Another process is writing the same model directory."""

    status = 409
    exit_code = 6
    code = "busy"


class NoSpace(AudiorecError):
    """The output disk is full or read-only."""

    status = 507
    exit_code = 7
    code = "no_space"


class NotReady(AudiorecError):
    """The service has no open release yet, or is stopping."""

    status = 503
    code = "not_ready"


class Overloaded(AudiorecError):
    """The encode queue is full: the same request can succeed in a moment (`retry_after_s`)."""

    status = 503
    code = "overloaded"
    retry_after_s = 1


class NoGenerator(AudiorecError):
    """A sound was asked for where no model makes any: none is configured, or it cannot be loaded."""

    status = 503
    code = "generator_not_configured"


class JobsUnavailable(AudiorecError):
    """The table of jobs, or the store of their sounds, does not answer: it may in a moment."""

    status = 503
    code = "jobs_unavailable"
    retry_after_s = 5


class QueueFull(AudiorecError):
    """More jobs wait than may, of all callers or of this one: the same request can succeed later."""

    status = 429
    exit_code = 4
    code = "queue_full"

    def __init__(self, message: str, *, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class UnknownJob(AudiorecError):
    """A job id that nobody was given, or somebody else, or so long ago that the job is forgotten."""

    status = 404
    exit_code = 4
    code = "unknown_job"


class WrongState(AudiorecError):
    """Something was asked of a job that it cannot do any more, or not yet."""

    status = 409
    exit_code = 4
    code = "not_finished"


class NoSuchPart(AudiorecError):
    """A part of a file that begins after its end. n_bytes: of the file."""

    status = 416
    exit_code = 4
    code = "no_such_part"

    def __init__(self, message: str, *, n_bytes: int) -> None:
        super().__init__(message)
        self.n_bytes = n_bytes


class SoundGone(AudiorecError):
    """The sound of a job was deleted: it was not used for long, or its place was needed."""

    status = 410
    exit_code = 4
    code = "sound_gone"


class Unauthorized(AudiorecError):
    """A request without an API key where one is needed, or with one that is unknown, expired or revoked."""

    status = 401
    exit_code = 4
    code = "missing_key"


class Forbidden(AudiorecError):
    """A request that is understood and not allowed: its key has not the scope, its origin is not listed."""

    status = 403
    exit_code = 4
    code = "missing_scope"


class TooManyRequests(AudiorecError):
    """A client that asks more often than it may."""

    status = 429
    exit_code = 4
    code = "rate_limited"


class BodyTooLarge(AudiorecError):
    """A request body over the limit."""

    status = 413
    code = "body_too_large"


class UnsupportedBody(AudiorecError):
    """A request body of a content type that the route does not read."""

    status = 415
    code = "unsupported_body"
