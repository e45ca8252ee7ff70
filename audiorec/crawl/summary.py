"""What a person sees at the end of a crawl, or before one."""

from pathlib import Path

from audiorec.crawl.status import Crawled, Plan, Status


def crawl_summary(crawled: Crawled, out_dir: Path) -> str:
    """What came, what did not and why, and what to do next."""
    status, totals = crawled.status, crawled.totals
    lines = [
        f"{status.n_new:,} new clips in {status.elapsed_s:.1f} s ({_rate(status)}); {status.n_known:,} known before, "
        f"{status.n_passed_over:,} passed over, {status.n_failed:,} failed",
        f"{out_dir} holds {totals.n_clips:,} clips, {totals.seconds / 3600:.2f} hours, {megabytes(totals.n_bytes)}",
    ]
    if crawled.stopped:
        lines.append(f"stopped: {crawled.stopped} is reached")
    if crawled.listing_failure is not None:
        lines.append(f"the listing broke off: {crawled.listing_failure.message}; the same command takes it up again")
    if status.failures:
        lines += ["", *(f"{n:>7,} {code}, as {first}" for code, (n, first) in sorted(status.failures.items()))]
        lines += ["", f"all of them, with reasons: {out_dir / 'refused.tsv'}; the next runs try again, not for ever"]
    if totals.n_clips:
        lines += ["", f"next: audiorec build {out_dir} MODEL_DIR"]
    return "\n".join(lines)


def plan_summary(plan: Plan) -> str:
    """What a crawl would fetch."""
    lines = [f"{item.readable_id}  {item.fields.get('title', '')}  {item.url}".rstrip() for item in plan.first]
    if plan.n_wanted > len(plan.first):
        lines.append(f"... and {plan.n_wanted - len(plan.first):,} more")
    length = f", {plan.expected_s / 3600:.2f} hours by what the source says" if plan.expected_s else ""
    known = f"{plan.status.n_known:,} known before, {plan.status.n_passed_over:,} passed over"
    return "\n".join([*lines, f"{plan.n_wanted:,} clips to fetch{length}; {known}; nothing was fetched"])


def megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"


def _rate(status: Status) -> str:
    per_s = status.n_new / status.elapsed_s if status.elapsed_s else 0.0
    return f"{per_s:.1f} clips/s, {megabytes(status.n_bytes)} received"
