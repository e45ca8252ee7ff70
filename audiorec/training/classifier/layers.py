"""Which hidden layer finds the best neighbours: measured on clips that it did not learn from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from audiorec.embed import clip_vector
from audiorec.encoders.base import Layer
from audiorec.encoders.frozen import MAX_DIM, HiddenLayers
from audiorec.encoders.whiten import Whiten
from audiorec.evaluate import Scores, Truth, evaluate
from audiorec.fit.layer_choice import best_layer
from audiorec.training.classifier.data import Windows
from audiorec.training.classifier.labelled import Labelled
from audiorec.training.contrast.clips import Ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Array = npt.NDArray[np.float32]

BATCH = 4
MIN_QUERIES = 20


@dataclass(frozen=True)
class Features:
    """values: (n, n_features) of windows. clip: (n,), the place of each one's clip."""

    values: Array
    clip: npt.NDArray[np.int64]

    def part(self, columns: slice) -> "Features":
        return Features(self.values[:, columns], self.clip)


def choose_layer(model: "PreTrainedModel", data: Labelled, fitted: Windows, measured: Windows, rows: Ids) -> Layer:
    """The layer of the best retrieval; the last one where too few clips can tell. The model is taken over.

    fitted: windows of clips that each layer's whitening is fitted on. measured: those of `rows`.
    """
    hidden = HiddenLayers(cast("PreTrainedModel", model.base_model)).eval()
    n, dim = hidden.n_layers, hidden.dim
    on, of = features(hidden, fitted), features(hidden, measured)
    truth = Truth.of(data.clips.truth[row] for row in rows)
    found = []
    for layer in range(n + 1):
        columns = slice(layer * dim, (layer + 1) * dim)
        whiten = Whiten(dim, min(MAX_DIM, dim))
        whiten.fit(torch.from_numpy(on.part(columns).values))
        found.append(scores_of(whiten, of.part(columns), truth))
    if found[0].n_queries < MIN_QUERIES:
        return Layer(n, n, f"the last one, for {found[0].n_queries} clips held back are too few to choose by")
    return best_layer(found, len(rows))


@torch.inference_mode()
def features(of: nn.Module, windows: Windows) -> Features:
    """Of a module that takes what the model takes; on a GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    of.to(device)
    parts = [of(batch.to(device)).cpu().numpy() for batch in _batches(windows)]
    of.cpu()
    return Features(np.concatenate(parts), windows.clip)


def _batches(windows: Windows) -> Iterator[Tensor]:
    for start in range(0, len(windows), BATCH):
        stop = min(start + BATCH, len(windows))
        yield torch.stack([windows[number]["input_values"] for number in range(start, stop)])


@torch.inference_mode()
def scores_of(post: Callable[[Tensor], Tensor], of: Features, truth: Truth) -> Scores:
    """post: features to unit vectors."""
    unit = post(torch.from_numpy(of.values)).numpy()
    ends = np.cumsum(np.bincount(of.clip))[:-1]
    return evaluate(np.stack([clip_vector(part) for part in np.split(unit, ends)]), truth)
