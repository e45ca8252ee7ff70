"""The short form of scripts/bench_robustness.py, on synthesised clips: copies stay near, other clips do not."""

import json
import subprocess
import sys
from pathlib import Path

from sounds import bursts, encoded, noise, tone

ROOT = Path(__file__).parent.parent


def test_copies_of_a_clip_stay_near_it(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    sounds = {"noise": noise(1.0, 0), "bursts": bursts(3.0)}
    sounds |= {f"tone {hz}": tone(2.0, hz) for hz in (80, 250, 800, 2_500, 6_000)}
    for name, sound in sounds.items():
        (clips / f"{name}.wav").write_bytes(encoded(sound))
        (clips / "same.wav").write_bytes(encoded(0.5 * noise(1.0, 0)[800:]))  # the same recording, cut and scaled
    command = [sys.executable, str(ROOT / "scripts/bench_robustness.py"), str(tmp_path / "work"), str(clips)]
    done = subprocess.run([*command, "--clips", "9", "--json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = {row["encoder"]: row for row in json.loads(done.stdout)}
    assert list(rows) == ["base, as it comes", "base", "MeanMel", "MFCC"]
    base = rows["base, as it comes"]
    for copy in ("MP3 64 kbit/s", "-20 dB", "1 s silence first", "22.05 kHz"):
        assert base[copy] >= 0.95, copy
        assert base[f"{copy}, worst"] <= base[copy] <= 1.001
    assert rows["MeanMel"]["1 s silence first"] < base["1 s silence first"], "a baseline hears the silence"
    assert base["AUC"] >= 0.98
    assert base["same"] == 2, "the noise and its copy"


def test_a_folder_of_one_group_has_no_others(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a.wav", "b.wav"):
        (clips / name).write_bytes(encoded(tone(0.5, 300 + 50 * len(list(clips.iterdir())))))
    (clips / "labels.csv").write_text("path,group\na.wav,one\nb.wav,one\n")
    command = [sys.executable, str(ROOT / "scripts/bench_robustness.py"), str(tmp_path / "work"), str(clips)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "base, as it comes" in done.stdout
