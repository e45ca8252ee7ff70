"""How good an encoder is while it is trained: retrieval among clips that were held back, the same crops every time."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from audiorec.encoders.pretrained import Base
from audiorec.evaluate import Truth, evaluate, ranks_of
from audiorec.training.contrast.clips import Clips, Ids
from audiorec.training.contrast.settings import ContrastSettings
from audiorec.training.contrast.views import augmented, crop, view

Array = npt.NDArray[np.float32]

MAX_CLIPS = 1000
BATCH_CLIPS = 32


@dataclass(frozen=True)
class Measure:
    """The clips of some rows: two crops of each, one of them as in training."""

    plain: Array  # (n, 1, crop_samples) float32
    disturbed: Array
    truth: Truth
    settings: ContrastSettings

    @classmethod
    def of(cls, clips: Clips, rows: Ids, settings: ContrastSettings) -> "Measure":
        """Of at most MAX_CLIPS of these rows."""
        rng = np.random.default_rng(settings.seed)
        rows = np.sort(rng.permutation(rows)[:MAX_CLIPS])
        plain = [crop(clips.pcm(row), settings.crop_samples, rng) for row in rows]
        disturbed = [view(clips.pcm(row), settings, rng) for row in rows]
        truth = Truth.of(clips.truth[row] for row in rows)
        return cls(np.stack(plain)[:, None], np.stack(disturbed)[:, None], truth, settings)

    @torch.no_grad()
    def figures(self, encoder: Base) -> dict[str, float]:
        """Fits the encoder's last step on the plain crops. Returns p5 and map (where labels allow it), hubness, mrr:
        the mean reciprocal rank of a clip among all, asked for by its disturbed crop; and loss, what is missing of 1.
        None of them is a number when a feature is none: whatever is sorted by such has ranks that mean nothing.
        """
        device = encoder.whiten.mean.device
        generator = torch.Generator().manual_seed(self.settings.seed)
        plain, disturbed = [], []
        for start in range(0, len(self.plain), BATCH_CLIPS):
            part = slice(start, start + BATCH_CLIPS)
            plain.append(encoder.features(torch.from_numpy(self.plain[part]).to(device)))
            log_mel = augmented(
                encoder.pre(torch.from_numpy(self.disturbed[part]).to(device)), self.settings, generator
            )
            disturbed.append(encoder.core(log_mel))
        features, of_disturbed = torch.cat(plain), torch.cat(disturbed)
        if not bool(torch.isfinite(features).all() & torch.isfinite(of_disturbed).all()):
            return {"loss": math.nan, "hubness": math.nan, "mrr": math.nan}
        encoder.fit(features)
        vectors = encoder.post(features).cpu().numpy()
        scores = evaluate(vectors, self.truth, seed=self.settings.seed)
        mrr = reciprocal_rank(encoder.post(of_disturbed).cpu().numpy(), vectors)
        found = {"hubness": scores.hubness, "mrr": mrr}
        if not scores.n_telling:
            return {"loss": 1 - mrr, **found}
        p5, average = scores.precision["5"], scores.mean_average_precision
        return {"loss": 1 - (p5 + average) / 2, "p5": p5, "map": average, **found}


def reciprocal_rank(queries: Array, vectors: Array) -> float:
    """The mean over queries, (n, D), of 1 / the rank of the vector in the same row."""
    similarity = queries @ vectors.T
    itself = np.eye(len(vectors), dtype=np.bool_)
    return float(np.mean([1 / ranks_of(hit, row)[0] for hit, row in zip(itself, similarity, strict=True)]))
