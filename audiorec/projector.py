"""The embeddings for TensorBoard's projector: `tensorboard --logdir RELEASE`, tab Projector."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

MAX_CLIPS = 50_000  # more than this is more than a browser holds
TENSORS_FILE = "tensors.tsv"
CONFIG_FILE = "projector_config.pbtxt"
SAMPLE_FILE = "projector_metadata.tsv"


def write_projector(directory: Path, embeddings: npt.NDArray[np.float32], *, seed: int = 0) -> None:
    """Writes tensors.tsv and projector_config.pbtxt beside metadata.tsv; of a large catalogue, a sample of its clips.

    embeddings: (n, D) float32, in the order of metadata.tsv.
    """
    metadata_file = "metadata.tsv"
    if len(embeddings) > MAX_CLIPS:
        rows = np.sort(np.random.default_rng(seed).choice(len(embeddings), MAX_CLIPS, replace=False))
        _copy_lines(directory / metadata_file, directory / SAMPLE_FILE, rows + 1)
        embeddings, metadata_file = embeddings[rows], SAMPLE_FILE
    np.savetxt(directory / TENSORS_FILE, embeddings, fmt="%.5g", delimiter="\t")
    fields = {"tensor_name": "clips", "tensor_path": TENSORS_FILE, "metadata_path": metadata_file}
    lines = [f'  {name}: "{value}"\n' for name, value in fields.items()]
    (directory / CONFIG_FILE).write_text("".join(["embeddings {\n", *lines, "}\n"]), encoding="utf-8")


def _copy_lines(source: Path, target: Path, numbers: npt.NDArray[np.int64]) -> None:
    """The header and the lines of these numbers."""
    wanted = {0, *numbers.tolist()}
    with source.open("rb") as lines, target.open("wb") as file:
        file.writelines(line for number, line in enumerate(lines) if number in wanted)
