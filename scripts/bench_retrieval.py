"""How well the baselines find clips of the same label, on each labelled folder of a directory."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from audiorec.benchmark import rendered
from audiorec.build import Built, build
from audiorec.catalogue import LABELS_FILE
from audiorec.encoders import BASELINES
from audiorec.terminal import progress, reported


def rows(name: str, built: Built) -> list[dict[str, Any]]:
    """A row an encoder."""
    evaluation = built.manifest.evaluation
    scored = {evaluation.encoder.name: evaluation.encoder, **evaluation.baselines}
    return [
        {
            "folder": name,
            "clips": built.manifest.catalogue.n_clips,
            "labels": len(scores.per_label),
            "queries": scores.n_queries,
            "encoder": encoder,
            **{f"P@{depth}": precision for depth, precision in scores.precision.items()},
            "mAP": scores.mean_average_precision,
            "hubness": scores.hubness,
            "random P": scores.chance,
            "P@1 / random": scores.precision["1"] / scores.chance,
        }
        for encoder, scores in scored.items()
        if scores.n_queries
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("audio_dir", type=Path, help=f"a directory of folders, each with a {LABELS_FILE}")
    parser.add_argument(
        "--work-dir",
        type=Path,
        default=Path(tempfile.gettempdir()) / "audiorec-bench-retrieval",
        help="where the model directories are kept: what is there is not computed again",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = []
    with reported():
        for labels in sorted(options.audio_dir.glob(f"*/{LABELS_FILE}")):
            name = labels.parent.name
            built = build(labels.parent, options.work_dir / name, encoder=BASELINES[0], progress=progress)
            figures += rows(name, built)
    title = "Neighbours by label; a clip's own group and artist are left out"
    print(rendered({title: figures}, as_json=options.json))


if __name__ == "__main__":
    main()
