"""The last step of an encoder that comes with one: fitted on the catalogue where that measurably helps."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from audiorec.encoders.base import Encoder
from audiorec.evaluate import MAX_CLIPS, Scores, Truth, evaluate
from audiorec.release.manifest import LastStep

Array = npt.NDArray[np.float32]

MIN_WINDOWS = 200
MIN_QUERIES = 50  # with labels; what fewer of them say is chance


def choose_last_step(
    encoder: Encoder,
    fit: Callable[[], None],
    embeddings: Callable[[Sequence[int]], Array],
    clips: Sequence[Mapping[str, str]],
    n_windows: int,
) -> LastStep:
    """Leaves the encoder as it comes, or fitted. Without labels to measure by, the less hubness the better.

    fit: fits its last step on the catalogue, of n_windows. embeddings: of these rows of the catalogue, (n, D) unit
    vectors, by the encoder as it then is. clips: rows of `metadata.tsv`.
    """
    if n_windows < MIN_WINDOWS:
        return _as_it_comes(f"{n_windows} windows are too few to fit it on, at least {MIN_WINDOWS}", n_windows)
    n_scored = min(len(clips), MAX_CLIPS)
    rows: list[int] = np.sort(np.random.default_rng(0).choice(len(clips), n_scored, replace=False)).tolist()
    truth = Truth.of(clips[row] for row in rows)
    before = evaluate(embeddings(rows), truth)
    coming = {name: value.clone() for name, value in encoder.state_dict().items()}
    fit()
    after = evaluate(embeddings(rows), truth)
    if _is_better(after, before):
        why = f"fitted on the catalogue: {_said(after)}; as it comes {_said(before)}"
        return LastStep(is_fitted=True, why=why, n_windows=n_windows)
    encoder.load_state_dict(coming)
    return _as_it_comes(f"{_said(before)}; fitted on the catalogue {_said(after)}", n_windows)


def _as_it_comes(why: str, n_windows: int) -> LastStep:
    return LastStep(is_fitted=False, why=f"as it comes: {why}", n_windows=n_windows)


def _is_better(one: Scores, other: Scores) -> bool:
    if one.n_telling >= MIN_QUERIES:
        return retrieval(one) > retrieval(other)
    return one.hubness < other.hubness


def retrieval(scores: Scores) -> float:
    """What is compared where there are labels."""
    return scores.precision["5"] + scores.mean_average_precision


def _said(scores: Scores) -> str:
    if scores.n_telling >= MIN_QUERIES:
        return f"P@5 {scores.precision['5']:.3f}, mAP {scores.mean_average_precision:.3f}"
    return f"hubness {scores.hubness:.2f}"
