"""The README's commands do what it says, and it names every setting."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from audiorec.samples import render
from audiorec.settings import ENVIRONMENT_PREFIX, Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
WAIT = "for i in $(seq 600); do curl -sf http://127.0.0.1:8000/ready > /dev/null && break; sleep 0.1; done"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("readme")
    render(place / "exp" / "demo" / "clips")
    return place


def run(script: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script of commands, with all it starts, and ends what it leaves behind."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=300)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(script, process.returncode, output, errors)


def test_commands_of_the_readme_run(place: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shell = [block for block in blocks("bash") if "scripts/demo" not in block]
    assert len(shell) >= 3
    script = "\n".join(shell).replace("source .venv/bin/activate\n", "")
    script = re.sub(r"(audiorec serve .*)&\n", rf"\1 > serve.log 2>&1 &\n{WAIT}\n", script).replace("8000", str(port))
    script += "\nkill %1; wait %1"
    done = run(script, place)
    assert done.returncode == 0, done.stderr
    answer = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"results"')))
    assert answer["results"][0]["clip_id"] == "bells/01-glass-bell-in-b-major.wav"
    [shown] = blocks("json")
    assert list(json.loads(shown)) == list(answer)
    assert [r["clip_id"] for r in json.loads(shown)["results"]] == [r["clip_id"] for r in answer["results"]]
    for block in blocks("python"):
        finished = subprocess.run([sys.executable, "-c", block], cwd=place, capture_output=True, text=True, timeout=120)
        assert finished.returncode == 0, finished.stderr
        assert len(finished.stdout.splitlines()) == 3


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert f"`{ENVIRONMENT_PREFIX}{name.upper()}`" in README


def test_every_script_of_the_readme_is_there() -> None:
    named = set(re.findall(r"scripts/[\w.]+", README)) - {"scripts/bench_", "scripts/prove_"}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
