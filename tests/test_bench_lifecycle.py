"""The short form of scripts/bench_lifecycle.py: real additions and removals, on a catalogue of hundreds."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_additions_and_removals_are_measured(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench_lifecycle.py"), "--work-dir", str(tmp_path), "--json"]
    done = subprocess.run([*command, "--sizes", "300", "--changes", "5"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    [rows] = json.loads(done.stdout)["tables"].values()
    assert [(row["operation"], row["clips"]) for row in rows] == [("build", 300), ("add 5", 306), ("remove 5", 301)]
    for row in rows:
        assert row["processor s"] > 0
        assert row["recall@10"] >= 0.98
        assert 0 < row["its own MB"] < row["release MB"]
    assert list(tmp_path.iterdir()) == []
