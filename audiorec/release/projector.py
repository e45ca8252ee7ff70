"""The embeddings for TensorBoard's projector: `tensorboard --logdir RELEASE`, tab Projector."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audiorec.files.tsv import escape_cell
from audiorec.release.sharing import link_or_copy

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
        _copy_lines(directory / metadata_file, directory / SAMPLE_FILE, np.append(0, rows + 1))
        embeddings, metadata_file = embeddings[rows], SAMPLE_FILE
    np.savetxt(directory / TENSORS_FILE, embeddings, fmt="%.5g", delimiter="\t")
    fields = {"tensor_name": "clips", "tensor_path": TENSORS_FILE, "metadata_path": metadata_file}
    lines = [f'  {name}: "{value}"\n' for name, value in fields.items()]
    (directory / CONFIG_FILE).write_text("".join(["embeddings {\n", *lines, "}\n"]), encoding="utf-8")


def revise_projector(
    directory: Path, base_dir: Path, embeddings: npt.NDArray[np.float32], gone: Collection[str], *, seed: int = 0
) -> None:
    """As `write_projector`, for a release made from that in `base_dir` without the clips that are `gone`, by id.

    Of a large catalogue it has the sample that was drawn when it was built, less those clips.
    """
    sample = base_dir / SAMPLE_FILE
    if len(embeddings) <= MAX_CLIPS or not sample.exists():
        write_projector(directory, embeddings, seed=seed)
        return
    link_or_copy(base_dir / CONFIG_FILE, directory / CONFIG_FILE)
    first_cells = {escape_cell(clip_id).encode() for clip_id in gone}
    with sample.open("rb") as lines:
        is_kept = [line.split(b"\t", 1)[0] not in first_cells for line in lines]
    kept = np.flatnonzero(is_kept)
    for name, numbers in ((SAMPLE_FILE, kept), (TENSORS_FILE, kept[1:] - 1)):  # the header has no vector
        if len(kept) == len(is_kept):
            link_or_copy(base_dir / name, directory / name)
        else:
            _copy_lines(base_dir / name, directory / name, numbers)


def _copy_lines(source: Path, target: Path, numbers: npt.NDArray[np.int64]) -> None:
    wanted = set(numbers.tolist())
    with source.open("rb") as lines, target.open("wb") as file:
        file.writelines(line for number, line in enumerate(lines) if number in wanted)
