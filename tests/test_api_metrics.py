"""Metrics: their names, what is computed when they are asked for, dead workers, and the dashboard that shows them."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from api_fixtures import Catalogue, ask, refusal, serving
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from audiorec.api import metrics
from audiorec.api.generation.exposition import job_metrics
from audiorec.api.scrape import _is_worker
from audiorec.jobs.places import open_places
from audiorec.jobs.tallies import ENDED, FAILED, SECONDS, count
from audiorec.nearest import Nearest
from audiorec.settings import Settings

ID = "b/clip 21.wav"
DASHBOARD_PATH = Path(__file__).parents[1] / "scripts" / "deploy" / "grafana-dashboard.json"

Samples = dict[str, list[tuple[dict[str, str], float]]]


def samples_of(text: str) -> Samples:
    """Each series' labels and value, by its name."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@pytest.fixture(scope="module")
def client(catalogue: Catalogue) -> Iterator[TestClient]:
    """The metrics are of the process: what they say of a release, they say of the one that was opened last."""
    with serving(catalogue) as client:
        yield client


@pytest.fixture(scope="module")
def samples(client: TestClient, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """After one of everything, jobs included."""
    ask(client, {"clip_id": ID})
    client.post("/nearest", files={"file": catalogue.sound(ID)})
    refusal(client.get("/clips/nobody"), 404, "unknown_clip")
    places = open_places(Settings.load(model_dir=tmp_path_factory.mktemp("jobs")))
    with places.database.writing() as connection:
        for name, value in ((ENDED, "failed"), (FAILED, "died"), (SECONDS, "generate")):
            count(connection, name, {value: 1})
    of_jobs = {
        sample.name: [(sample.labels, sample.value)] for family in job_metrics(places) for sample in family.samples
    }
    places.close()
    return {**samples_of(client.get("/metrics").text), **of_jobs}


class TestNames:
    def test_are_those_that_prometheus_recommends(self, client: TestClient) -> None:
        families = [
            family for family in text_string_to_metric_families(client.get("/metrics").text)
            if family.name.startswith("audiorec_")
        ]  # fmt: skip
        assert len(families) > 12
        for family in families:
            assert re.fullmatch(r"audiorec(_[a-z0-9]+)+", family.name)
            assert family.documentation.endswith(".")
            assert family.type not in family.name.split("_")
            for unit in ("ms", "milliseconds", "minutes", "kb", "mb", "percent"):
                assert unit not in family.name.split("_")
            if family.type == "counter":
                assert all(sample.name.endswith("_total") for sample in family.samples)

    def test_every_gauge_of_a_dead_worker_vanishes(self) -> None:
        """As far as workers are concerned, by its mode: a file of another mode would stay."""
        gauges = [one for one in vars(metrics).values() if isinstance(one, metrics.Gauge)]
        assert len(gauges) >= 6
        assert {one._multiprocess_mode for one in gauges} <= {"livesum", "livemax", "livemin", "livemostrecent"}


class TestMoment:
    def test_the_age_of_the_release_is_computed_when_asked(self, client: TestClient, nearest: Nearest) -> None:
        created_s = datetime.fromisoformat(nearest.release.manifest.created_at).timestamp()
        ages = []
        for _ in range(2):
            before = time.time()
            ((_, age_s),) = samples_of(client.get("/metrics").text)["audiorec_release_age_seconds"]
            assert before - created_s - 1e-3 <= age_s <= time.time() - created_s + 1e-3
            ages.append(age_s)
        assert ages[0] < ages[1]

    def test_a_clock_that_was_set_back_makes_no_negative_age(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("audiorec.api.scrape.time.time", lambda: 0.0)
        assert samples_of(client.get("/metrics").text)["audiorec_release_age_seconds"] == [({}, 0.0)]

    def test_memory_is_that_of_this_process(self, samples: Samples) -> None:
        kinds = {labels["kind"]: value for labels, value in samples["audiorec_worker_resident_memory_bytes"]}
        assert set(kinds) == {"anonymous", "file", "shared"}
        assert kinds["anonymous"] > 10 * 2**20
        assert {labels["pid"] for labels, _ in samples["audiorec_worker_resident_memory_bytes"]} == {str(os.getpid())}

    def test_the_version_is_named(self, samples: Samples) -> None:
        from audiorec import __version__

        assert samples["audiorec_build_info"] == [({"version": __version__}, 1.0)]

    def test_every_stage_is_there_and_counts(self, samples: Samples) -> None:
        counts = {labels["stage"]: value for labels, value in samples["audiorec_stage_seconds_count"]}
        assert set(counts) == {"read", "decode", "encode", "search"}
        assert all(value >= 1 for value in counts.values())

    def test_the_request_that_asks_is_in_progress(self, samples: Samples) -> None:
        assert samples["audiorec_requests_in_progress"] == [({}, 1.0)]
        assert samples["audiorec_uploads_queued"] == [({}, 0.0)]

    def test_of_several_workers_only_one_that_serves_says_what(self, catalogue: Catalogue, tmp_path: Path) -> None:
        """One that has only just started knows of no release: what it does not know must not count as 0."""
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        pipe = subprocess.PIPE
        starting = subprocess.Popen(
            [sys.executable, "-c", "import audiorec.api.metrics; print('ready', flush=True); input()"],
            env=environment,
            stdin=pipe,
            stdout=pipe,
            text=True,
        )
        try:
            assert starting.stdout is not None
            assert starting.stdout.readline() == "ready\n"
            assert list(tmp_path.glob(f"gauge_livemostrecent_{starting.pid}.db"))
            ended = subprocess.run(
                [sys.executable, "-c", SCRAPE, str(catalogue.model_dir)],
                env=environment,
                capture_output=True,
                text=True,
            )
        finally:
            starting.communicate("\n")
        assert ended.returncode == 0, ended.stderr
        found = samples_of(ended.stdout)
        assert found["audiorec_release_clips"] == [({}, 40.0)]
        assert found["audiorec_index_recall_at_10"][0][1] > 0.9
        assert found["audiorec_release_age_seconds"][0][1] < 86_400
        assert len({labels["pid"] for labels, _ in found["audiorec_worker_resident_memory_bytes"]}) == 2


SCRAPE = """
import sys
from starlette.testclient import TestClient
from audiorec.api.app import create_app
from audiorec.settings import Settings

with TestClient(create_app(Settings.load(model_dir=sys.argv[1]))) as client:
    print(client.get("/metrics").text)
"""


class TestWorkers:
    def test_this_process_and_those_beside_it_are(self) -> None:
        assert _is_worker(os.getpid())
        assert not _is_worker(os.getppid())
        assert not _is_worker(1)
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        assert not _is_worker(child.pid)  # a number that a dead worker had, and a decoder has now
        child.communicate(b"\n")
        assert not _is_worker(child.pid)


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DASHBOARD_PATH.read_text())
    return content


class TestDashboard:
    def test_shows_only_what_is_exported(self, dashboard: dict[str, Any], samples: Samples) -> None:
        named = set(re.findall(r"\baudiorec_\w+", json.dumps(dashboard)))
        assert len(named) > 12
        assert sorted(named - samples.keys()) == []

    def test_shows_all_that_is_exported(self, dashboard: dict[str, Any], samples: Samples) -> None:
        endings = ("_bucket", "_count", "_sum", "_created", "_info", "_timestamp_seconds")
        exported = {name for name in samples if name.startswith("audiorec_") and not name.endswith(endings)}
        assert sorted(name for name in exported if name not in json.dumps(dashboard)) == []

    def test_groups_by_labels_that_are_there(self, dashboard: dict[str, Any], samples: Samples) -> None:
        for expression, legend in expressions(dashboard):
            named = set(re.findall(r"\baudiorec_\w+", expression))
            labels = {label for name in named for found, _ in samples[name] for label in found}
            for group in re.findall(r"by \(([^)]*)\)", expression):
                assert {label.strip() for label in group.split(",")} <= labels
            for matched in re.findall(r'[{,](\w+)=~?"', expression):
                assert matched in labels | {"job"}
            assert set(re.findall(r"{{(\w+)}}", legend)) <= labels

    def test_counters_are_shown_as_rates_and_gauges_are_not(self, dashboard: dict[str, Any]) -> None:
        for expression, _ in expressions(dashboard):
            for name, range_ in re.findall(r"\b(audiorec_\w+)\{[^}]*\}(\[?)", expression):
                counts = name.endswith(("_total", "_bucket", "_sum", "_count"))
                assert bool(range_) is counts, expression

    def test_its_panels_have_names_and_places_of_their_own(self, dashboard: dict[str, Any]) -> None:
        panels = dashboard["panels"]
        for key in ("id", "title"):
            assert len({panel[key] for panel in panels}) == len(panels)
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in panels)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) == 23

    def test_it_belongs_to_no_one_place(self, dashboard: dict[str, Any]) -> None:
        variables = {variable["name"] for variable in dashboard["templating"]["list"]}
        assert variables == {"datasource", "job"}
        for panel in dashboard["panels"]:
            assert panel["datasource"]["uid"] == "$datasource"


def expressions(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
