"""Whether a training helped: an encoder before and after it, on clips of which nothing was learnt."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audiorec.audio import CLIP_SAMPLES, sounding, windows
from audiorec.embed import clip_vector, in_batches
from audiorec.encoders.convnet import folded
from audiorec.encoders.pretrained import Base
from audiorec.encoders.shipped import load_base
from audiorec.evaluate import Truth, evaluate
from audiorec.fit import EagerEncoder
from audiorec.fit.last_step import MIN_WINDOWS
from audiorec.training.contrast.clips import Clips, Ids
from audiorec.training.contrast.measure import Measure
from audiorec.training.contrast.settings import ContrastSettings

MAX_TESTED = 1000
MAX_FITTED = 2000
MIN_TESTED = 20
MIN_GAIN = 0.005  # of what `Figures.value` is; less is chance


@dataclass(frozen=True)
class Figures:
    """p5, map: neighbours by label, None where labels are too few; hubness: of the same embeddings; mrr: the mean
    reciprocal rank of a clip, asked for by a disturbed crop of it.
    """

    p5: float | None
    map: float | None
    hubness: float
    mrr: float

    def value(self) -> float:
        """What decides: in [0, 1], the more the better."""
        return self.mrr if self.p5 is None or self.map is None else (self.p5 + self.map) / 2

    def said(self) -> str:
        if self.p5 is None or self.map is None:
            return f"MRR {self.mrr:.3f}"
        return f"P@5 {self.p5:.3f}, mAP {self.map:.3f}"


def compare(
    start: Base | None, after: Base, clips: Clips, learnt: Ids, tested: Ids, settings: ContrastSettings
) -> tuple[Figures, Figures]:
    """The figures of both on the rows `tested`, at most MAX_TESTED of them.

    start: what `after` went on from; None when that was nothing, and it is `base` that it is measured beside. Both get
    a last step that is fitted on the rows `learnt`; where these are few, the one that `start` has, or each its own,
    for one network's says nothing of another's. They keep it.
    """
    before = start or load_base()
    rng = np.random.default_rng(settings.seed)
    fitted_on = rng.permutation(learnt)[:MAX_FITTED]
    if len(fitted_on) >= MIN_WINDOWS:
        for encoder in (before, after):
            encoder.fit(_first_features(encoder, clips, fitted_on))
    elif start is not None:
        last_step = {name: value for name, value in before.state_dict().items() if name.startswith(Base.fitted)}
        after.load_state_dict(last_step, strict=False)
    tested = np.sort(rng.permutation(tested)[:MAX_TESTED])
    return _figures(before, clips, tested, settings), _figures(after, clips, tested, settings)


def judged(before: Figures, after: Figures, n_tested: int) -> tuple[bool, str]:
    """(whether it helped, a sentence that says so)."""
    change = f"{before.said()} before, {after.said()} after, on {n_tested} clips held back"
    if n_tested < MIN_TESTED:
        return False, f"not recommended, fewer than {MIN_TESTED} clips cannot tell: {change}"
    if after.value() - before.value() < MIN_GAIN:
        return False, f"not recommended, it did not help: {change}"
    return True, f"it helped: {change}"


def _figures(encoder: Base, clips: Clips, rows: Ids, settings: ContrastSettings) -> Figures:
    ready = _ready(encoder)
    embeddings = []
    for row in rows:
        cut = windows(clips.pcm(row))
        embeddings.append(clip_vector(in_batches(lambda x: ready.post(ready.features(x)), cut[sounding(cut)])))
    scores = evaluate(np.stack(embeddings), Truth.of(clips.truth[row] for row in rows))
    mrr = Measure.of(clips, rows, settings).figures(deepcopy(encoder))["mrr"]
    if scores.n_telling < MIN_TESTED:
        return Figures(None, None, scores.hubness, mrr)
    return Figures(scores.precision["5"], scores.mean_average_precision, scores.hubness, mrr)


def _ready(encoder: Base) -> EagerEncoder:
    ready = deepcopy(encoder)
    folded(ready.network)
    return EagerEncoder(ready)


def _first_features(encoder: Base, clips: Clips, rows: Ids) -> Tensor:
    """Of the first windows of clips, (n, n_features)."""
    ready = _ready(encoder)
    parts = (windows(clips.pcm(row)[:CLIP_SAMPLES]) for row in rows)
    return torch.from_numpy(np.concatenate([ready.features(cut) for cut in parts if sounding(cut).all()]))
