"""What several commands take."""

from pathlib import Path
from typing import Annotated

import typer


def named(text: str) -> str:
    """A path or source; not an empty one, as of a variable that is not set: it would be the current folder."""
    if not text:
        raise typer.BadParameter("got an empty path, expected one with a name, or . for the current folder")
    return text


def named_path(text: str) -> Path:
    return Path(named(text))


ModelDir = Annotated[Path, typer.Argument(parser=named_path, metavar="MODEL_DIR", help="The model directory.")]
AudioDir = Annotated[
    Path,
    typer.Argument(
        parser=named_path, metavar="AUDIO_DIR", help="A folder of clips, of converted clips, or a model directory."
    ),
]
RunDir = Annotated[
    Path, typer.Option("--out", parser=named_path, metavar="<path>", help="The run's folder, as exp/NAME.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that decode; one a core.")]
MaxS = Annotated[float, typer.Option("--max-s", min=0.1, help="The longest clip that is taken, in seconds.")]
Tolerance = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="How much recall@10 may fall before a release is held back; P@5 and mAP may by 1/sqrt(queries) more.",
    ),
]
MakeCurrent = Annotated[bool, typer.Option("--make-current", help="Serve the release whatever it measures.")]
PlaceholderArtists = Annotated[
    bool, typer.Option("--placeholder-artists", help="Make up artists where there are none, marked in a column.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Baselines = Annotated[bool, typer.Option(help="Evaluate the baselines beside the encoder.")]
