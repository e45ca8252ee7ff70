"""The confusion matrix as a picture."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audiorec.files import replacing
from audiorec.quoting import harmless

MAX_NAMED = 60  # labels whose names can be read
MAX_COUNTED = 25
MAX_NAME_CHARACTERS = 24


def draw_confusion(path: Path, counts: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """Writes a PNG: a row a label, as shares of its clips, with counts where there is room. Raises NoSpace."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matrix = np.array(counts, np.float64)  # (n_labels, n_labels)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    inches = min(4 + 0.35 * len(labels), 30.0)
    figure = Figure(figsize=(inches, inches), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    if len(labels) <= MAX_NAMED:
        names = [_shown(label) for label in labels]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    if len(labels) <= MAX_COUNTED:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour, fontsize=8)
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a sign that the font lacks becomes a box
        FigureCanvasAgg(figure).print_png(picture)  # type: ignore[no-untyped-call]
    with replacing(path) as file:
        file.write(picture.getvalue())


def _shown(label: str) -> str:
    """On one line, not too long, and no formula."""
    shown = harmless(label)
    shown = shown if len(shown) <= MAX_NAME_CHARACTERS else f"{shown[: MAX_NAME_CHARACTERS - 1]}…"
    return shown.replace("$", r"\$")
