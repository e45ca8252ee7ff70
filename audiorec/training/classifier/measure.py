"""The end of a run: how good its best model is, on clips that nothing was learnt from or chosen by.

OUT/result.json      all figures
OUT/confusion.png    the confusion matrix
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.encoders import BASELINES, make_encoder
from audiorec.encoders.base import Encoder
from audiorec.encoders.classifier import Classifier, ClassifierConfig, model_of
from audiorec.encoders.wav2vec2 import WaveFront
from audiorec.evaluate import Scores, Truth
from audiorec.files import replacing
from audiorec.training.classifier.data import MAX_VALIDATED, Windows
from audiorec.training.classifier.figures import Figures, figures_of
from audiorec.training.classifier.labelled import Labelled
from audiorec.training.classifier.layers import choose_layer, features, scores_of
from audiorec.training.classifier.picture import draw_confusion
from audiorec.training.classifier.split import LEARN, TEST, VALIDATE
from audiorec.training.contrast.clips import Ids

RESULT_FILE = "result.json"
PICTURE_FILE = "confusion.png"
MAX_TESTED = 5000  # clips
MAX_FITTED = 1000  # clips that a last step is fitted on
ALL_WINDOWS = 10**6


@dataclass(frozen=True)
class Result:
    """figures: of labels, retrieval: of neighbours by label, by encoder; both on the clips held back to test on."""

    config: ClassifierConfig
    figures: Figures
    retrieval: Mapping[str, Scores]


def measured(config: ClassifierConfig, weights: Mapping[str, Tensor], data: Labelled, *, seed: int) -> Result:
    """config, weights: of the best checkpoint.

    The layer, where none was named, is chosen on the clips of validation; last steps are fitted on those that were
    learnt from.
    """
    front = WaveFront(config.sample_rate_hz, config.normalises)
    learnt = _some(data.rows(LEARN), MAX_FITTED, seed)
    validated = _some(data.rows(VALIDATE), MAX_VALIDATED, seed)
    tested = _some(data.rows(TEST), MAX_TESTED, seed)
    fitted = Windows(data, learnt, front, max_windows=1)
    if config.layer is None:
        model = model_of(config, weights)
        chosen = choose_layer(model, data, fitted, Windows(data, validated, front), validated)
        config = config.model_copy(update={"layer": chosen})
    encoder = Classifier(config, model_of(config, weights)).eval()
    windows = Windows(data, tested, front, max_windows=ALL_WINDOWS)
    of_tested = features(encoder.hidden, windows)
    with torch.inference_mode():
        scores = encoder.head()(torch.from_numpy(of_tested.values)).numpy()
    figures = figures_of(windows.by_clip(scores), windows.targets, config.labels, is_multi=config.is_multi)
    encoder.fit(torch.from_numpy(features(encoder.hidden, fitted).values))
    truth = Truth.of(data.clips.truth[row] for row in tested)
    retrieval = {encoder.name: scores_of(encoder.post, of_tested, truth)}
    for name in BASELINES:
        retrieval[name] = _baseline(make_encoder(name), data, learnt, tested, truth)
    tested_config = {"n_tested": figures.n_clips, "accuracy": figures.accuracy, "macro_f1": figures.macro_f1}
    return Result(config.model_copy(update=tested_config), figures, retrieval)


def _baseline(encoder: Encoder, data: Labelled, learnt: Ids, tested: Ids, truth: Truth) -> Scores:
    hears, as_it_is = _Hears(encoder), WaveFront(SAMPLE_RATE_HZ, normalises=False)
    fitted = features(hears, Windows(data, learnt, as_it_is, max_windows=1))
    encoder.fit(torch.from_numpy(fitted.values))
    return scores_of(encoder.post, features(hears, Windows(data, tested, as_it_is, max_windows=ALL_WINDOWS)), truth)


class _Hears(torch.nn.Module):
    """(N, T) in [-1, 1] to an encoder's features."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder.features(x[:, None])


def _some(rows: Ids, n: int, seed: int) -> Ids:
    return rows if len(rows) <= n else np.sort(np.random.default_rng(seed).permutation(rows)[:n])


def write_result(out_dir: Path, result: Result, facts: Mapping[str, Any]) -> None:
    """facts: of the run. Raises NoSpace."""
    layer = result.config.layer
    written = {
        **facts,
        "labels": list(result.config.labels),
        "test": result.figures.to_json(),
        "retrieval": {name: scores.to_json() for name, scores in result.retrieval.items()},
        "layer": None if layer is None else vars(layer),
    }
    with replacing(out_dir / RESULT_FILE) as file:
        file.write(json.dumps(written, indent=1, ensure_ascii=False).encode() + b"\n")
    draw_confusion(out_dir / PICTURE_FILE, result.figures.confusion, result.config.labels)
