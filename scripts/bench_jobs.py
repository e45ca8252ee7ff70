"""What a job costs beside calling the model itself, and what those who search notice of a sound that is being made.

Two tables. The first runs the same requests by the model alone and as jobs, in turns, in this process: its bar is 5 %
of overhead, the search for neighbours, which the model alone does not do, left out. The second asks a service of two
workers for neighbours while it has nothing else to do and while it makes a sound: its bar is twice the p99 of idle.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median

from audiorec.benchmark import descendants, in_turns, rendered
from audiorec.generate.generator import load_generator
from audiorec.generate.prompt import Prompt, with_seed
from audiorec.jobs.heart import Heart
from audiorec.jobs.job import Caller, Wishes
from audiorec.jobs.leases import Leases
from audiorec.jobs.places import open_places
from audiorec.jobs.recommender import Recommender
from audiorec.jobs.runner import Runner
from audiorec.proving import MB, Question, Resources, Service, asking, percentile, sources, wait_until
from audiorec.settings import Settings
from audiorec.testing import make_release

MAX_OVERHEAD, MAX_SLOWDOWN = 0.05, 2.0
ME = Caller("", "bench")
Row = dict[str, object]
Side = Callable[[Prompt], tuple[float, float]]  # wall s, CPU s


@contextmanager
def jobs_of(settings: Settings, source: str) -> Iterator[tuple[Side, Side]]:
    """(a sound by the model alone, the same as a job): both without the neighbours' search."""
    places, generator = open_places(settings), load_generator(source, n_threads=settings.generator_threads)
    leases = Leases(places.database, "bench", settings.generator_lease_s)
    heart = Heart(leases, places.makers, "bench", lease_s=settings.generator_lease_s, max_job_s=3_600.0)
    runner = Runner(settings, places, leases, heart, generator, Recommender(settings.model_dir))
    heart.start(lambda: generator.facts)

    def alone(prompt: Prompt) -> tuple[float, float]:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        generator.generate(with_seed(prompt), lambda step, n_steps: None)
        return time.perf_counter() - wall_s, time.process_time() - cpu_s

    def as_job(prompt: Prompt) -> tuple[float, float]:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        job = places.queue.submit(prompt, Wishes(k=10), ME)
        runner.take_turn()
        took = time.perf_counter() - wall_s, time.process_time() - cpu_s
        outcome = places.queue.find(job.id, ME).outcome
        if outcome is None:
            raise RuntimeError(f"got {places.queue.find(job.id, ME)}, expected a job that has finished")
        return took[0] - outcome.took_s["recommend"], took[1] - outcome.took_s["recommend"]

    try:
        yield alone, as_job
    finally:
        heart.close()
        places.close()


def overhead(settings: Settings, source: str, prompt: Prompt, n_rounds: int) -> list[Row]:
    """A row for each side: medians; the overhead of the job in CPU time, which other work on the machine spares."""
    with jobs_of(settings, source) as (alone, as_job):
        alone(prompt)  # both are warm
        as_job(prompt)
        times = in_turns({"alone": lambda: alone(prompt), "job": lambda: as_job(prompt)}, n_rounds)
    medians = {side: [median(part) for part in zip(*took, strict=True)] for side, took in times.items()}
    least_s = medians["alone"][1]
    return [
        {"side": side, "wall_s": wall_s, "cpu_s": cpu_s, "overhead": f"{cpu_s / least_s - 1:+.1%}"}
        for side, (wall_s, cpu_s) in medians.items()
    ]


def beside(model_dir: Path, source: str, folder: Path, prompt: Prompt, length_s: float) -> list[Row]:
    """A row for each state of the service: what /nearest takes, and the memory of its workers."""
    places = {
        "AUDIOREC_GENERATOR_MODEL": source,
        "AUDIOREC_GENERATOR_JOBS_URL": f"sqlite:///{folder}/jobs.db",
        "AUDIOREC_GENERATOR_SOUNDS_URL": str(folder / "sounds"),
        "AUDIOREC_GENERATOR_MAX_STEPS": "1000",
    }
    rows: list[Row] = []
    with Service(model_dir, folder / "service", workers=2, **places) as service:
        wait_until(lambda: json.loads(service.get("/model")[2])["generator"]["state"] == "ready", "a generator")
        streams = [sources(model_dir)["embedding"]] * 2
        for state in ("idle", "a sound is made"):
            if state != "idle":
                _ask_for_sounds(service, prompt)
            with asking(service.port, streams, pause_s=0.01) as tally:
                time.sleep(length_s)
            tally.must_be_without_failures()
            workers = [Resources.of(pid).pss_bytes / MB for pid in service.worker_pids()]
            times_ms = tally.times_ms()
            figures = {"p50_ms": median(times_ms), "p99_ms": percentile(times_ms, 99), "asked": len(times_ms)}
            rows.append({"state": state, **figures, "mb_a_worker": max(workers)})
        if service.metric("audiorec_jobs_running") < 1:
            raise RuntimeError("got no sound that was still being made at the end, expected one: ask for more steps")
        makers = [
            pid for pid in descendants(service.pid) if b"jobs.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        rows.append(
            {
                **dict.fromkeys(rows[0], ""),
                "state": "the generator",
                "mb_a_worker": Resources.of(makers[0]).pss_bytes / MB,
            }
        )
    return rows


def _ask_for_sounds(service: Service, prompt: Prompt) -> None:
    """More than can be made in the time: one caller may have four."""
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", service.port, timeout=60)
    for seed, _ in zip(count(), range(4), strict=False):
        asked = {**prompt.model_dump(exclude_none=True), "steps": 900 if prompt.steps else None, "seed": seed}
        body = json.dumps({name: value for name, value in asked.items() if value is not None}).encode()
        Question("generate", "/generate", body).ask(connection)
    connection.close()
    wait_until(lambda: service.metric("audiorec_jobs_running") >= 1, "a sound that is being made")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="what makes the sounds: a directory or a hub id")
    parser.add_argument("--prompt", default="rain on a tin roof")
    parser.add_argument("--seconds", type=float, help="of sound; the model's own unless said")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clips", type=int, default=10_000, help="in the catalogue that is searched")
    parser.add_argument("--service-s", type=float, default=20.0, help="how long each state of the service is asked")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    prompt = Prompt(prompt=given.prompt, seconds=given.seconds, steps=given.steps)
    with tempfile.TemporaryDirectory(prefix="audiorec-bench-") as name:
        folder = Path(name)
        make_release(folder / "model", given.clips)
        settings = Settings.load(model_dir=folder / "model", generator_max_steps=1000)
        costs = overhead(settings, given.model, prompt, given.rounds)
        print(rendered({"a job beside the model alone": costs}, as_json=False), file=sys.stderr)
        noticed = beside(folder / "model", given.model, folder, prompt, given.service_s)
    tables = {"a job beside the model alone (medians)": costs, "/nearest of two workers": noticed}
    print(rendered(tables, as_json=given.json))
    job, alone = costs[1], costs[0]
    n_overhead = job["cpu_s"] / alone["cpu_s"] - 1  # type: ignore[operator]
    slowdown = noticed[1]["p99_ms"] / noticed[0]["p99_ms"]  # type: ignore[operator]
    print(
        f"\noverhead {n_overhead:.1%} of {MAX_OVERHEAD:.0%}, p99 {slowdown:.2f} of {MAX_SLOWDOWN:g} times",
        file=sys.stderr,
    )
    sys.exit(n_overhead > MAX_OVERHEAD or slowdown > MAX_SLOWDOWN)


if __name__ == "__main__":
    main()
