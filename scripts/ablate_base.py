"""What each part of the training of `base` gives: equal short runs, each without one part, on folders of clips.

    scripts/ablate_base.py CORPUS_DIR WORK_DIR AUDIO_DIR ... [--cpu-minutes 3] [--only NAME ...]

P@5 / mAP of the whole vector, its last step fitted on each folder, and beside the mean that of what was learnt alone,
without the statistics made by hand, which hide much of a difference. Two runs that differ by nothing but their seed say
what is chance. Killed, it goes on with the runs that are missing; WORK_DIR keeps them, and what was converted.
"""

import argparse
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiorec.catalogue.convert import convert
from audiorec.embed import clip_vector
from audiorec.encoders import make_encoder
from audiorec.encoders.pretrained import SHRINKAGE, Base
from audiorec.encoders.whiten import Whiten
from audiorec.evaluate import Truth, evaluate
from audiorec.features import FeatureStore
from audiorec.fit import EagerEncoder, features_of_catalogue
from audiorec.report import table
from audiorec.terminal import progress, reported
from audiorec.training.contrast.clips import from_corpus
from audiorec.training.contrast.settings import make_settings
from audiorec.training.contrast.train import train
from audiorec.training.corpus.reader import Corpus

SYNTHETIC = ("music", "notes", "patches", "percussion", "speech")
RUNS: dict[str, dict[str, Any]] = {
    "all of it": {},
    "all of it, seed 1": {"seed": 1},
    "synthetic only": {"leave_out": ["real"]},
    "recordings only": {"leave_out": SYNTHETIC},
    "no shift, no stretch": {"shift_share": 0.0, "stretch": 0.0},
    "no equaliser, no low-pass": {"equaliser": 0.0, "low_pass_share": 0.0},
    "no mixing": {"mix_share": 0.0},
    "no noise, no lead-in": {"noise_share": 0.0, "lead_in_share": 0.0},
    "no other takes": {"mate_share": 0.0},
    "no labels": {"label_weight": 0.0, "by_label_share": 0.0},
    "labels only": {"label_weight": 1.0},
    "half as wide": {"model": {"widths": (12, 24, 48, 96)}},
    "5/3 as wide": {"model": {"widths": (40, 80, 160, 320)}},
}

Scored = tuple[float, float]  # P@5, mAP


def learnt_alone(encoder: Base, features: torch.Tensor) -> torch.Tensor:
    """(n, n_features) -> (n, D): the blocks but the first, whitened anew. The encoder is fitted on them."""
    evened = encoder.evened(features)[:, encoder.block_sizes[0] :]
    whiten = Whiten(evened.shape[1], encoder.dim, shrinkage=SHRINKAGE)
    whiten.fit(evened)
    vectors: torch.Tensor = whiten(evened)
    return vectors


def scored(windows: np.ndarray, store: FeatureStore, sha256s: list[str], truth: Truth) -> Scored:
    """windows: the vectors of all clips' windows that sound, one clip after another."""
    ends = np.cumsum([store.n_heard(sha256) for sha256 in sha256s])[:-1]
    scores = evaluate(np.stack([clip_vector(part) for part in np.split(windows, ends)]), truth)
    return scores.precision["5"], scores.mean_average_precision


@torch.inference_mode()
def judged(checkpoint_path: Path, audio_dirs: list[Path], work_dir: Path) -> dict[str, Any]:
    base = make_encoder("base", checkpoint_path)
    assert isinstance(base, Base)
    encoder = EagerEncoder(base)
    whole, alone = [], []
    for audio_dir in audio_dirs:
        wav_dir = work_dir / audio_dir.name
        conversion = convert(audio_dir, wav_dir, progress=progress)
        sha256s, truth = conversion.sha256s, Truth.of(conversion.clips)
        with features_of_catalogue(encoder, sha256s, wav_dir, checkpoint_path.parent / "features", progress) as store:
            features = store.of(sha256s)
            encoder.fit(features)
            whole.append(scored(encoder.post(features), store, sha256s, truth))
            alone.append(scored(learnt_alone(base, torch.from_numpy(features)).numpy(), store, sha256s, truth))
    return {"parameters": base.count_parameters(), "whole": whole, "alone": alone}


def run(name: str, corpus: Corpus, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and judges, or reads what came out when that was done before."""
    run_dir: Path = arguments.work_dir / "runs" / name.replace(",", "").replace("/", "").replace(" ", "-")
    result_path = run_dir / "result.json"
    if not result_path.exists():
        shutil.rmtree(run_dir, ignore_errors=True)
        settings = make_settings(
            {"cpu_minutes": arguments.cpu_minutes, "validation_share": 0.01, "validate_steps": 10**6, **RUNS[name]}
        )
        ended = train(from_corpus(corpus, settings.leave_out), run_dir, settings, say=print)
        found = judged(ended.best_path, arguments.audio_dirs, arguments.work_dir)
        result_path.write_text(json.dumps({"steps": ended.n_steps, **found}))
        shutil.rmtree(run_dir / "features")
    result: dict[str, Any] = json.loads(result_path.read_bytes())
    return result


def row(name: str, result: dict[str, Any]) -> list[str]:
    whole, alone = ([statistics.mean(values) for values in zip(*result[of], strict=True)] for of in ("whole", "alone"))
    cells = [*result["whole"], whole, alone]
    size = f"{result['parameters'] / 1e6:.2f} M"
    return [name, size, str(result["steps"]), *(f"{p5:.3f} / {average:.3f}" for p5, average in cells)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus_dir", type=Path)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("audio_dirs", type=Path, nargs="+")
    parser.add_argument("--cpu-minutes", type=float, default=3.0, help="of each run")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), metavar="NAME")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with reported():
        corpus = Corpus(arguments.corpus_dir)
        rows = [row(name, run(name, corpus, arguments)) for name in arguments.only]
        folders = [audio_dir.name for audio_dir in arguments.audio_dirs]
        print(table(["", "weights", "steps", *folders, "mean", "mean, learnt alone"], rows))


if __name__ == "__main__":
    main()
