"""Metrics of jobs, read from their table when somebody asks: they are of all workers, makers and hosts together."""

from collections.abc import Iterator
from contextlib import suppress

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from audiorec.errors import JobsUnavailable
from audiorec.jobs.places import Places
from audiorec.jobs.tallies import ENDED, FAILED, SECONDS, read_tallies


def job_metrics(places: Places) -> Iterator[Metric]:
    """None while the table does not answer. For threads."""
    with suppress(JobsUnavailable):
        yield from [*_moment(places), *_counted(places)]


def _moment(places: Places) -> Iterator[Metric]:
    n_by_state = places.queue.n_by_state()
    yield GaugeMetricFamily("audiorec_jobs_queued", "Jobs that wait.", n_by_state.get("queued", 0))
    yield GaugeMetricFamily("audiorec_jobs_running", "Jobs whose sound is being made.", n_by_state.get("running", 0))
    yield GaugeMetricFamily("audiorec_generators_ready", "Processes that make sounds.", places.makers.read().n_ready)
    yield GaugeMetricFamily("audiorec_sounds_bytes", "Of the sounds that are kept.", places.sounds.n_bytes())


def _counted(places: Places) -> Iterator[Metric]:
    tallies = read_tallies(places.database)
    for name, help_text, label in (
        (ENDED, "Jobs that have ended.", "state"),
        (FAILED, "Jobs that have failed, by reason.", "reason"),
        (SECONDS, "Seconds that finished jobs have taken, by stage.", "stage"),
    ):
        family = CounterMetricFamily(f"audiorec_jobs_{name}", help_text, labels=[label])
        for value, n in sorted(tallies[name].items()):
            family.add_metric([value], n)
        yield family
