"""A job as JSON has it."""

from datetime import datetime, timezone
from typing import Any

from audiorec.jobs.estimate import Paces
from audiorec.jobs.job import Job, Outcome

SHOWN_FACTS = ("name", "kind", "licence", "fingerprint")


def job_answer(job: Job, paces: Paces | None, prefix: str) -> dict[str, Any]:
    """paces: needed while it has not ended. prefix: what a proxy serves us under."""
    outcome, queued = job.outcome, job.state == "queued"
    left_s = paces.left_s(job) if paces is not None and not job.has_ended else None
    return {
        "id": job.id,
        "state": job.state,
        "is_cancelling": job.is_cancelled and not job.has_ended,
        "request": {**job.prompt.model_dump(), **job.wishes.model_dump()},
        "asked_at": _time(job.asked_s),
        "begun_at": _time(job.begun_s),
        "ended_at": _time(job.ended_s),
        "progress": {"stage": job.stage or None, "step": job.step, "n_steps": job.n_steps or None},
        "place_in_queue": paces.place(job) if paces is not None and queued else None,
        "time_left_s": None if left_s is None else round(left_s, 1),
        "attempt": job.attempt,
        "error": {"code": job.error_code, "message": job.error_message} if job.error_code else None,
        "sound": _sound(job, outcome, prefix) if outcome else None,
        "generator": {name: outcome.generator[name] for name in SHOWN_FACTS} if outcome else None,
        "recommendations": outcome.recommendations if outcome else None,
        "recommendations_error": outcome.trouble if outcome else None,
        "took_s": outcome.took_s if outcome else {},
    }


def _sound(job: Job, outcome: Outcome, prefix: str) -> dict[str, Any]:
    facts = outcome.model_dump(include={"duration_s", "sample_rate_hz", "n_channels", "seed", "is_shared"})
    return {"url": f"{prefix}/jobs/{job.id}/audio", **facts}


def _time(unix_s: float | None) -> str | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, timezone.utc).isoformat(timespec="milliseconds")
