"""Requests of all kinds, made by schemathesis from the OpenAPI document: right ones, nearly right ones, and nonsense.

Fails unless none is answered 5xx, every answer is as the document says, and what the document forbids is refused. The
first round is schemathesis's boundary values and examples as well; further rounds are random, each with another seed.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.engine import events, from_schema

from audiorec.benchmark import rendered
from audiorec.proving import PATIENCE_S, Service, make_releases, must, noise

N_CLIPS = 300
MAX_PER_ROUND = 250  # of each operation: hypothesis keeps them all to the end of the round
CHECKS = {  # that a clip is not there, or bytes are no sound, the document cannot say: what it allows may be refused
    "positive_data_acceptance": {"enabled": False}
}
NOT_CONFIGURED = b"generator_not_configured"  # what is to be said of sounds, for this service makes none
OPERATIONS = [{"include-path-regex": "^/(generate|jobs)", "checks": {"not_a_server_error": {"enabled": False}}}]
SOUND_TYPES = ("audio/*", "video/*", "application/octet-stream")


@dataclass
class Found:
    """n_cases: by phase and operation. failures: one of each kind, by what it is."""

    n_cases: Counter[tuple[str, str]] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    def note(self, event: events.ScenarioFinished) -> None:
        recorder = event.recorder
        for interaction in recorder.interactions.values():
            self.n_cases[event.phase.value, recorder.label] += 1
            if interaction.response is not None and NOT_CONFIGURED not in interaction.response.content:
                self.statuses[interaction.response.status_code] += 1
        for check in (check for checks in recorder.checks.values() for check in checks):
            if check.failure_info is not None:
                what = f"{recorder.label}: {check.failure_info.failure.title}"
                self.failures[what] = f"{check.failure_info.failure.message}\n{check.failure_info.code_sample}"


def make_sounds_known() -> None:
    """A third of what is sent as a sound is one, whole or cut."""
    files = [noise(seed, container, 0.2) for seed, container in enumerate(("WAV", "FLAC", "OGG", "MP3"))]
    whole = st.sampled_from(files)
    cut = st.tuples(whole, st.integers(0, 2_000)).map(lambda pair: pair[0][: pair[1]])
    for name in SOUND_TYPES:
        schemathesis.openapi.media_type(name, st.binary() | st.binary() | cut | whole)


def run_round(url: str, seed: int, max_examples: int, phases: Mapping[str, Any]) -> Iterator[events.EngineEvent]:
    generation = {"max-examples": max_examples, "database": "none"}
    config = schemathesis.Config.from_dict(
        {
            "seed": seed,
            "generation": generation,
            "checks": CHECKS,
            "operations": OPERATIONS,
            "phases": phases,
            "continue-on-failure": True,
            "request-timeout": PATIENCE_S,
        }
    )
    yield from from_schema(schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)).execute()


def prove(service: Service, options: argparse.Namespace) -> Found:
    found, phases, seed = Found(), {}, options.seed
    while found.n_cases.total() < options.cases:
        n_left = options.cases - found.n_cases.total()
        for event in run_round(f"http://127.0.0.1:{service.port}", seed, min(MAX_PER_ROUND, 1 + n_left // 5), phases):
            if isinstance(event, events.ScenarioFinished):
                found.note(event)
            elif isinstance(event, events.NonFatalError | events.FatalError):
                raise RuntimeError(f"got an error of schemathesis, expected none: {event}")
        seed, phases = seed + 1, {name: {"enabled": False} for name in ("examples", "coverage")}
        print(f"{found.n_cases.total():,} requests, {len(found.failures)} kinds of failures", file=sys.stderr)
    must(service.get("/health")[0] == 200, "got a service that is not well afterwards, expected /health to answer 200")
    must(max(found.statuses) < 500, f"got answers {sorted(found.statuses)}, expected none of 500 or more")
    must("Traceback" not in service.log, f"got a traceback in the log, expected none: {service.log[-3000:]}")
    return found


def tables(found: Found) -> dict[str, list[dict[str, Any]]]:
    phases = sorted({phase for phase, _ in found.n_cases})
    operations = sorted({operation for _, operation in found.n_cases})
    rows = [
        {"operation": operation, **{phase: found.n_cases[phase, operation] for phase in phases}}
        for operation in operations
    ]
    return {
        f"{found.n_cases.total():,} requests, none failed": rows,
        "Answers": [{str(status): count for status, count in sorted(found.statuses.items())}],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--cases", type=int, default=10_000, help="requests, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model_dir, _ = make_releases(options.work_dir, N_CLIPS, 1)
    make_sounds_known()
    with (
        tempfile.TemporaryDirectory(prefix="audiorec-api-") as folder,
        Service(model_dir, Path(folder), AUDIOREC_WARM="true") as service,
    ):
        found = prove(service, options)
    if found.failures:
        sys.exit("\n\n".join(f"{what}\n{how}" for what, how in found.failures.items()))
    print(rendered(tables(found), as_json=options.json))


if __name__ == "__main__":
    main()
