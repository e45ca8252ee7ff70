"""What a person reads when a classifier has been trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiorec.evaluate import Scores
from audiorec.quoting import harmless
from audiorec.training.classifier.measure import PICTURE_FILE, RESULT_FILE
from audiorec.training.classifier.train import Trained

N_LABELS_SHOWN = 20
N_COUNTS_SHOWN = 12  # labels up to which the whole matrix is shown
N_CONFUSIONS_SHOWN = 10


def trained_summary(trained: Trained, out_dir: Path) -> str:
    """How good it is on the clips held back, label by label, and what to do with it."""
    figures, progress = trained.result.figures, trained.progress
    layer = trained.result.config.layer
    early = ", stopped early" if progress.has_stopped_early else ""
    lines = [
        f"{progress.step} steps in {progress.seconds / 60:.1f} minutes, {progress.cpu_seconds / 60:.1f} CPU minutes"
        f"{early}; the best of step {progress.best_step}",
        f"on {figures.n_clips} clips held back: accuracy {figures.accuracy:.3f}, macro F1 {figures.macro_f1:.3f}",
        "",
        *_labels(trained),
        "",
        *_confusion(figures.confusion, [harmless(label) for label in trained.result.config.labels]),
        "",
        *[_retrieval(name, scores) for name, scores in trained.result.retrieval.items()],
    ]
    if layer is not None:
        lines.append(f"vectors of layer {layer.index} of {layer.n_layers}: {layer.why}")
    lines += [
        f"{out_dir / RESULT_FILE} has all figures, {out_dir / PICTURE_FILE} the confusion matrix as a picture",
        f"next: audiorec build AUDIO_DIR MODEL_DIR --encoder classifier --checkpoint {out_dir}",
    ]
    return "\n".join(lines)


def _labels(trained: Trained) -> list[str]:
    worst_first = sorted(trained.result.figures.per_label.items(), key=lambda item: item[1].f1)
    header = f"{'label':<24} clips precision recall    F1"
    rows = [
        f"{harmless(label)[:24]:<24} {one.n_clips:>5} {one.precision:>9.3f} {one.recall:>6.3f} {one.f1:>5.3f}"
        for label, one in worst_first[:N_LABELS_SHOWN]
    ]
    rest = len(worst_first) - N_LABELS_SHOWN
    return [header, *rows, *([f"... and {rest} better labels"] if rest > 0 else [])]


def _confusion(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> list[str]:
    """The whole matrix where it is small, else what is taken for something else most often."""
    if len(labels) <= N_COUNTS_SHOWN:
        width = max(6, *(len(str(count)) + 1 for row in counts for count in row))
        heads = "".join(f"{label[: width - 1]:>{width}}" for label in labels)
        rows = ["".join(f"{count or '.':>{width}}" for count in row) for row in counts]
        return [f"{'label, and what it is taken for':<32}{heads}"] + [
            f"{label[:31]:<32}{row}" for label, row in zip(labels, rows, strict=True)
        ]
    wrong: list[tuple[int, Any, Any]] = [
        (count, label, other)
        for label, row in zip(labels, counts, strict=True)
        for other, count in zip(labels, row, strict=True)
        if count and other != label
    ]
    wrong.sort(key=lambda one: -one[0])
    return ["taken for another most often:"] + [
        f"{count:>5} of {label} for {other}" for count, label, other in wrong[:N_CONFUSIONS_SHOWN]
    ]


def _retrieval(name: str, scores: Scores) -> str:
    p5, average = scores.precision["5"], scores.mean_average_precision
    return f"neighbours by label, {name}: P@5 {p5:.3f}, mAP {average:.3f}, {scores.n_queries} queries of those clips"
