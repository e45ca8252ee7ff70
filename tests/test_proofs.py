"""The proof programs, each in its short form: scripts/prove_*.py, with real servers and real clients."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that releases are made once."""
    return tmp_path_factory.mktemp("proofs")


def proved(name: str, work_dir: Path, *options: str) -> list[list[dict[str, Any]]]:
    """The tables that a proof prints; one that fails, fails."""
    command = [sys.executable, str(SCRIPTS / f"prove_{name}.py"), "--work-dir", str(work_dir), "--json", *options]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUDIOREC_")}
    done = subprocess.run(command, capture_output=True, text=True, env=kept, timeout=900)
    assert done.returncode == 0, done.stderr[-5000:]
    return list(json.loads(done.stdout)["tables"].values())


def test_the_api_answers_as_its_document_says(work_dir: Path) -> None:
    [rows] = proved("api", work_dir, "--cases", "60")
    answers = {
        row.pop("operation"): Counter({int(name): row[name] for name in row if name.isdecimal()}) for row in rows
    }
    assert sum(answers.values(), Counter()).total() >= 300
    assert max(chain.from_iterable(answers.values())) < 500
    answered = {operation for operation, statuses in answers.items() if statuses[200]}
    assert {"POST /nearest", "POST /embed", "GET /clips/{clip_id}/sound", "POST /generate"} <= answered
    assert {"GET /jobs/{job_id}/audio", "GET /jobs/{job_id}/events"} <= answered
    assert answers["POST /nearest"][422] > 0


def test_damaged_uploads_are_refused_and_leave_nothing(work_dir: Path) -> None:
    [looks] = proved("uploads", work_dir, "--cases", "60", "--growth-mb", "60")
    last = looks[-1]
    assert last["cases"] == last["200"] + last["422"] + last["clients who left"] == 60
    assert last["200"] > 0
    assert last["422"] > 0


def test_a_mixed_load(work_dir: Path) -> None:
    sizes = ["--minutes", "0.1", "--clips", "300", "--clients", "1", "--growth-mb", "60"]
    quarters, kinds = proved("load", work_dir, *sizes)
    assert [row["quarter"] for row in quarters] == [1, 2, 3, 4]
    assert len(kinds) == 7
    assert all(row["requests"] > 0 for row in kinds)
    assert (work_dir / "load.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("fault", ["killed workers", "swaps during uploads", "slow clients"])
def test_faults(work_dir: Path, fault: str) -> None:
    assert "left out" not in survived(work_dir, fault)


@pytest.mark.parametrize("fault", ["a full disk", "a clock that jumps"])
def test_faults_that_need_root_or_a_library(work_dir: Path, fault: str) -> None:
    found = survived(work_dir, fault)
    if found.startswith("left out"):
        pytest.skip(found)


def survived(work_dir: Path, fault: str) -> str:
    """What came of a fault."""
    sizes = ["--times", "1", "--clips", "300", "--clients", "1", "--quiet-s", "0.5"]
    [[row]] = proved("faults", work_dir, *sizes, "--faults", fault)
    return str(row["what came of it"])


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light")
def test_two_replicas_behind_nginx(work_dir: Path) -> None:
    sizes = ["--clips", "300", "--workers", "1", "--clients", "1", "--quiet-s", "1"]
    steps, loads = proved("topology", work_dir, *sizes)
    assert len(steps) == 7
    assert [row["failed"] for row in loads[1:]] == [0, 0]  # a killed replica may break an answer off
    assert all(row["requests"] > 0 for row in loads)
