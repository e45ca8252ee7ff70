"""Why something could not be fetched: one exception, whose `code` is the reason that is written down."""

from audiorec.errors import AudiorecError


class CrawlFailure(AudiorecError):
    """A page, clip or source that could not be had.

    transient: the same request may succeed in a moment, so the same run tries again, after `retry_after_s` where the
    server named a time. free: nothing was asked of the other side, so it does not count as one of a clip's tries.
    """

    status = 502
    exit_code = 3
    code = "crawl_failed"

    def __init__(
        self,
        message: str,
        *,
        code: str,
        transient: bool = False,
        free: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.transient = transient
        self.free = free
        self.retry_after_s = retry_after_s
