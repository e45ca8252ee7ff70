"""The built-in sample catalogue: synthesised clips in labelled families, something to search from the first minute.

>>> from pathlib import Path
>>> from audiorec.samples import render
>>> render(Path("samples"))
154
"""

from pathlib import Path

from audiorec.files import TEMPORARY_PREFIX, locked, replacing, writing_to_disk
from audiorec.progress import Progress, silent
from audiorec.samples.catalogue import clips
from audiorec.samples.encoding import encode, is_complete, labels

LABELS_NAME = "labels.csv"


def render(out_dir: Path, *, progress: Progress | None = None) -> int:
    """Write the catalogue to `out_dir` as `<family>/<name>.<ext>` and `labels.csv`; returns the number of clips.

    Clips that are there already are kept, so a second call is quick and a killed one goes on where it stopped. The
    labels come last. Raises BadSetting when `out_dir` is a file, Busy while another process renders there, and
    NoSpace when it cannot be written.
    """
    with writing_to_disk("the sample clips"):
        out_dir.mkdir(parents=True, exist_ok=True)
    with locked(out_dir / ".lock", "the folder of sample clips"):
        return _render(out_dir, progress or silent)


def _render(out_dir: Path, progress: Progress) -> int:
    planned = clips()
    for folder in {out_dir / clip.family for clip in planned} | {out_dir}:
        for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
            leftover.unlink()
    for clip in progress(planned, total=len(planned), stage="render", unit="clip"):
        path = out_dir / clip.path
        if not is_complete(path, clip):
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as file:
                file.write(encode(clip))
    table_path, table = out_dir / LABELS_NAME, labels(planned)
    if not table_path.is_file() or table_path.read_bytes() != table:
        with replacing(table_path) as file:
            file.write(table)
    return len(planned)
