"""Seconds of sound that `convert` takes in a second on one core, beside one ffmpeg process a file."""

import argparse
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.benchmark import in_turns, rendered
from audiorec.catalogue.convert import convert
from audiorec.samples.catalogue import Format, clips

MASTER = Format("wav", "WAV", "PCM_16", 44_100, 2)
CODECS = {
    "mp3": ["-c:a", "libmp3lame", "-b:a", "192k"],
    "ogg": ["-c:a", "libvorbis", "-q:a", "5"],
    "opus": ["-c:a", "libopus", "-b:a", "128k"],
    "wav": ["-c:a", "pcm_s16le"],
    "flac": ["-c:a", "flac"],
}
LENGTHS_S = {"long": (180, 300), "short": (1, 4)}


def make_sets(directory: Path, counts: dict[str, int]) -> list[Path]:
    """A folder a length and codec, kept from run to run: the sample catalogue end to end, in pieces."""
    folders = [directory / f"{length}-{counts[length]}" / codec for length in LENGTHS_S for codec in CODECS]
    missing = [folder for folder in folders if not (folder / ".done").exists()]
    sound = masters() if missing else np.empty((0, 2), np.int16)
    for folder in missing:
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        length = folder.parent.name.split("-")[0]
        for i in range(counts[length]):
            n_samples = int(rng.uniform(*LENGTHS_S[length]) * MASTER.rate_hz)
            write(folder / f"{i:04d}.{folder.name}", np.roll(sound, rng.integers(len(sound)), axis=0)[:n_samples])
        (folder / ".done").touch()
    return folders


def masters() -> npt.NDArray[np.int16]:
    """(n_samples, 2): all clips of the sample catalogue, at 44.1 kHz."""
    played = []
    for clip in clips():
        n_samples = clip.n_samples * MASTER.rate_hz // clip.format.rate_hz
        played.append((replace(clip, format=MASTER, n_samples=n_samples).play() * (2**15 - 1)).astype(np.int16))
    return np.concatenate(played)


def write(path: Path, sound: npt.NDArray[np.int16]) -> None:
    """sound: (n_samples, 2)."""
    source = ["-f", "s16le", "-ar", str(MASTER.rate_hz), "-ac", "2", "-i", "pipe:"]
    tags = ["-metadata", f"title={path.stem}", "-metadata", "artist=audiorec samples"]
    command = ["ffmpeg", "-v", "error", "-y", *source, *CODECS[path.suffix[1:]], *tags, str(path)]
    subprocess.run(command, input=sound.tobytes(), check=True)


def by_audiorec(folder: Path) -> float:
    """Returns how many seconds of sound there were."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as wav_dir:
        conversion = convert(folder, Path(wav_dir), n_workers=1)
    assert not conversion.refusals, conversion.refusals
    return conversion.hours * 3600


def by_ffmpeg(folder: Path, resampler: str) -> None:
    recipe = ["-ac", "1", "-ar", str(SAMPLE_RATE_HZ), "-af", f"aresample=resampler={resampler}", "-c:a", "pcm_s16le"]
    with tempfile.TemporaryDirectory(dir=folder.parent) as wav_dir:
        for file in sorted(folder.glob("[0-9]*")):
            command = ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-i", str(file), *recipe, "-threads", "1"]
            subprocess.run([*command, f"{wav_dir}/{file.stem}.wav"], check=True)


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """(seconds, processor seconds) of this process and of the children that it waited for."""
    start, start_cpu = perf_counter(), cpu_s()
    run()
    return perf_counter() - start, cpu_s() - start_cpu


def cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def compare(folder: Path, resampler: str, n_rounds: int) -> dict[str, Any]:
    sound_s = by_audiorec(folder)  # and the files are in the system's memory for both
    sides: dict[str, Callable[[], object]] = {
        "ours": partial(by_audiorec, folder),
        "ffmpeg": partial(by_ffmpeg, folder, resampler),
    }
    times = in_turns({name: partial(timed, run) for name, run in sides.items()}, n_rounds)
    (ours_s, ours_cpu_s), (ffmpeg_s, ffmpeg_cpu_s) = (np.median(times[name], axis=0) for name in sides)
    return {
        "clips": folder.parent.name.split("-")[0],
        "format": folder.name,
        "files": len(list(folder.glob("[0-9]*"))),
        "minutes": sound_s / 60,
        "ours, x real time": sound_s / ours_s,
        "ffmpeg, x real time": sound_s / ffmpeg_s,
        "ratio": ffmpeg_s / ours_s,
        "ratio by processor time": ffmpeg_cpu_s / ours_cpu_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()) / "audiorec-bench-convert")
    parser.add_argument("--long", type=int, default=6, help="clips of 3 to 5 minutes, in each format")
    parser.add_argument("--short", type=int, default=100, help="clips of 1 to 4 seconds, in each format")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folders = make_sets(arguments.work_dir, {"long": arguments.long, "short": arguments.short})
    options = subprocess.run(["ffmpeg", "-v", "error", "-buildconf"], capture_output=True, text=True, check=True).stdout
    resampler = "soxr" if "--enable-libsoxr" in options else "swr"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # children inherit it
    title = (
        f"Seconds of sound converted in a second on one core, beside one ffmpeg process a file ({resampler}). "
        "One process of ours converts a whole set, its start included; "
        "ffmpeg is spared peak normalisation, refusals, SHA-256, tags and ledger"
    )
    figures = [compare(folder, resampler, arguments.rounds) for folder in folders]
    print(rendered({title: figures}, as_json=arguments.json))


if __name__ == "__main__":
    main()
