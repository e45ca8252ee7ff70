"""A last step is fitted on the catalogue only where that helps."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from audiorec.encoders.base import Encoder
from audiorec.fit.last_step import MIN_QUERIES, MIN_WINDOWS, choose_last_step
from audiorec.release.manifest import LastStep

N = 120
LABELS = [{"label": "ab"[i % 2], "group": f"{i}"} for i in range(N)]


class Switch(Encoder):
    """Knows the labels, or not."""

    name = "Switch"
    knows: Tensor

    def __init__(self, knows: bool) -> None:
        super().__init__()
        self.register_buffer("knows", torch.tensor(knows))

    def fit(self, features: Tensor) -> None:
        self.knows.logical_not_()

    def embeddings(self, rows: Sequence[int]) -> npt.NDArray[np.float32]:
        vectors = np.random.default_rng(0).standard_normal((N, 8)).astype(np.float32)
        if self.knows:
            vectors[:, 0] += np.where(np.arange(N) % 2, 9, -9)
        else:
            vectors[1:] += 2 * vectors[0]  # a hub
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors[list(rows)]


def chosen(encoder: Switch, clips: Sequence[dict[str, str]], n_windows: int = N * 2) -> LastStep:
    fit: Callable[[], None] = lambda: encoder.fit(torch.empty(0))  # noqa: E731
    return choose_last_step(encoder, fit, encoder.embeddings, clips, n_windows)


@pytest.mark.parametrize("knows", [False, True])
def test_labels_decide(knows: bool) -> None:
    encoder = Switch(knows)
    step = chosen(encoder, LABELS)
    assert step.is_fitted is not knows
    assert bool(encoder.knows)
    assert step.why.startswith("as it comes: P@5 1.000" if knows else "fitted on the catalogue: P@5 1.000")
    assert step.n_windows == 2 * N


@pytest.mark.parametrize("n_labelled", [0, MIN_QUERIES - 1])
def test_with_too_few_labels_hubness_does(n_labelled: int) -> None:
    step = chosen(Switch(False), LABELS[:n_labelled] + [{}] * (N - n_labelled))
    assert "hubness" in step.why
    assert "P@5" not in step.why


def test_a_label_that_all_clips_have_decides_nothing() -> None:
    step = chosen(Switch(True), [{"label": "clips", "group": f"{i}"} for i in range(N)])
    assert step.is_fitted
    assert "hubness" in step.why


def test_a_clip_s_own_group_does_not_count() -> None:
    in_pairs = [{**clip, "group": clip["label"]} for clip in LABELS]
    assert "hubness" in chosen(Switch(False), in_pairs).why, "nothing is left that could answer"


def test_few_windows_leave_it_as_it_comes() -> None:
    encoder = Switch(False)
    step = chosen(encoder, LABELS, MIN_WINDOWS - 1)
    assert not step.is_fitted
    assert not bool(encoder.knows), "it was not fitted"
    assert step.why == "as it comes: 199 windows are too few to fit it on, at least 200"
    assert chosen(encoder, LABELS, MIN_WINDOWS).is_fitted


def test_what_does_not_help_is_taken_back() -> None:
    encoder = Switch(True)
    before = encoder.key()
    assert not chosen(encoder, LABELS).is_fitted
    assert encoder.key() == before
