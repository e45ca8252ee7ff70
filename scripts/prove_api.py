"""Requests of all kinds, made by schemathesis from the OpenAPI document: right ones, nearly right ones, and nonsense.

The service has all its routes at work: sounds of its clips, and a generator, random and small unless another is named.
Fails unless none is answered 5xx, every answer is as the document says, and what the document forbids is refused. The
first round is schemathesis's boundary values and examples as well; further rounds are random, each with another seed.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from http.client import HTTPConnection
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.engine import events, from_schema

from audiorec.benchmark import rendered
from audiorec.proving import PATIENCE_S, Service, make_releases, must, noise, query, wait_until
from audiorec.random_audioldm import SIZES, random_audioldm
from audiorec.release import open_release

N_CLIPS = 300
MAX_PER_ROUND = 250  # of each operation: hypothesis keeps them all to the end of the round
CHECKS = {
    # That a clip is not there, or bytes are no sound, the document cannot say: what it allows may be refused.
    "positive_data_acceptance": {"enabled": False},
    # To delete a job is to cancel it: what became of it is still told.
    "use_after_free": {"enabled": False},
}
GENERATOR = {  # sounds so short, and so many at once, that few requests are refused for what others have asked
    "AUDIOREC_GENERATOR_MAX_S": "1",
    "AUDIOREC_GENERATOR_MAX_STEPS": "2",
    "AUDIOREC_GENERATOR_MAX_QUEUED": "1000",
    "AUDIOREC_GENERATOR_MAX_PER_CALLER": "1000",
}
SOUND_TYPES = ("audio/*", "video/*", "application/octet-stream")


@dataclass
class Found:
    """n_cases: by phase and operation. statuses: by operation. failures: one of each kind, by what it is."""

    n_cases: Counter[tuple[str, str]] = field(default_factory=Counter)
    statuses: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    failures: dict[str, str] = field(default_factory=dict)

    def note(self, event: events.ScenarioFinished) -> None:
        recorder = event.recorder
        for interaction in recorder.interactions.values():
            self.n_cases[event.phase.value, recorder.label] += 1
            if interaction.response is not None:
                self.statuses[recorder.label][interaction.response.status_code] += 1
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


def make_ids_known(ids: Mapping[str, Sequence[str]]) -> None:
    """Half of the ids in paths are such that something is there. ids: by the parameter's name."""

    @schemathesis.hook
    def flatmap_path_parameters(
        context: schemathesis.HookContext, parameters: dict[str, Any] | None
    ) -> st.SearchStrategy[dict[str, Any] | None]:
        [*names] = (name for name in ids if name in (parameters or {}))
        known = [st.sampled_from(ids[name]).map(lambda found, name=name: {**parameters, name: found}) for name in names]
        return st.one_of(st.just(parameters), *known)


def write_clips(folder: Path, clip_ids: Sequence[str]) -> None:
    """A sound for each, as if the catalogue had been built of them."""
    for clip_id in clip_ids:
        path = folder / clip_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(0, "WAV", 0.2))


def save_generator(directory: Path) -> None:
    """One that makes a second of sound in some hundredths of one."""
    with redirect_stderr(StringIO()):  # diffusers draws progress bars of its own
        random_audioldm(SIZES["small"]).save_pretrained(directory)


def generator_state(service: Service) -> str:
    state: str = json.loads(service.get("/model")[2])["generator"]["state"]
    return state


def make_jobs(service: Service) -> list[str]:
    """The ids of a job that has finished, and of one that was cancelled."""
    wait_until(lambda: generator_state(service) == "ready", "a generator that is ready")
    connection = HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_S)
    ids = []
    for seed, state in enumerate(("finished", "finished", "cancelled")):
        path = "/generate?wait=60" if state == "finished" else "/generate"
        asked = query("generate", {"prompt": "rain on a tin roof", "seed": seed, "seconds": 0.5, "steps": 2}, path)
        job = json.loads(asked.ask(connection)[2])
        if state == "cancelled":
            connection.request("DELETE", f"/jobs/{job['id']}")
            job = json.loads(connection.getresponse().read())
        must("id" in job and (job["state"] == state or job["is_cancelling"]), f"got {job}, expected a job {state}")
        ids.append(job["id"])
    connection.close()
    return ids


def run_round(url: str, seed: int, max_examples: int, phases: Mapping[str, Any]) -> Iterator[events.EngineEvent]:
    generation = {"max-examples": max_examples, "database": "none"}
    config = schemathesis.Config.from_dict(
        {
            "seed": seed,
            "generation": generation,
            "checks": CHECKS,
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
    statuses = sorted(set(chain.from_iterable(found.statuses.values())))
    must(statuses[-1] < 500, f"got answers {statuses}, expected none of 500 or more")
    must("Traceback" not in service.log, f"got a traceback in the log, expected none: {service.log[-3000:]}")
    return found


def tables(found: Found) -> dict[str, list[dict[str, Any]]]:
    phases = sorted({phase for phase, _ in found.n_cases})
    statuses = sorted(set(chain.from_iterable(found.statuses.values())))
    rows = [
        {
            "operation": operation,
            **{phase: found.n_cases[phase, operation] for phase in phases},
            **{str(status): found.statuses[operation][status] for status in statuses},
        }
        for operation in sorted(found.statuses)
    ]
    return {f"{found.n_cases.total():,} requests, none failed, and what was answered": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench")
    parser.add_argument("--cases", type=int, default=10_000, help="requests, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--generator", help="what makes sounds, a directory or a hub id; a small random one unless said"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model_dir, _ = make_releases(options.work_dir, N_CLIPS, 1)
    metadata = open_release(model_dir).metadata
    clip_ids = [metadata.clip_id(row) for row in range(len(metadata))]
    make_sounds_known()
    with tempfile.TemporaryDirectory(prefix="audiorec-api-") as name:
        folder = Path(name)
        write_clips(folder / "clips", clip_ids)
        if options.generator is None:
            save_generator(folder / "generator")
        environment = {
            **GENERATOR,
            "AUDIOREC_WARM": "true",
            "AUDIOREC_CLIPS_DIR": str(folder / "clips"),
            "AUDIOREC_GENERATOR_MODEL": options.generator or str(folder / "generator"),
            "AUDIOREC_GENERATOR_JOBS_URL": f"sqlite:///{folder}/jobs.db",
            "AUDIOREC_GENERATOR_SOUNDS_URL": str(folder / "sounds"),
        }
        with Service(model_dir, folder / "service", **environment) as service:
            make_ids_known({"clip_id": clip_ids, "job_id": make_jobs(service)})
            found = prove(service, options)
    if found.failures:
        sys.exit("\n\n".join(f"{what}\n{how}" for what, how in found.failures.items()))
    print(rendered(tables(found), as_json=options.json))


if __name__ == "__main__":
    main()
