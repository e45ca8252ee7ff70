"""The short form of scripts/bench_swap.py: real workers, real clients, three swaps."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_swaps_under_load_fail_nothing_mix_nothing_and_keep_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench_swap.py"), "--work-dir", str(tmp_path), "--json"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUDIOREC_")}
    sizes = ["--swaps", "3", "--warm-up", "3", "--clips", "300", "--quiet-s", "0.3", "--growth-mb", "40"]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, env=kept, timeout=300)
    assert done.returncode == 0, done.stderr
    [swaps], latencies = json.loads(done.stdout)["tables"].values()
    assert (swaps["swaps"], swaps["failed"], swaps["mixed"]) == (3, 0, 0)
    assert [row["asked by"] for row in latencies] == ["embedding", "clip_id", "sound", "new sound"]
    assert all(row["swapping: requests"] > 0 for row in latencies)
