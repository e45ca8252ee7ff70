"""What several commands take."""

from pathlib import Path
from typing import Annotated

import typer

ModelDir = Annotated[Path, typer.Argument(help="The model directory.")]
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
