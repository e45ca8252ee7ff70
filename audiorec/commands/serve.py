"""The commands that go on until they are stopped."""

from pathlib import Path
from typing import Annotated

import typer

from audiorec.commands.arguments import ModelDir
from audiorec.terminal import reported

app = typer.Typer()


@app.command()
def serve(
    model_dir: ModelDir,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the model directory.")] = 1,
    access_log: Annotated[bool | None, typer.Option(help="A line in the log a request.")] = None,
    clips_dir: Annotated[
        Path | None, typer.Option(help="The folder of clips that it was built from, for those who want to hear them.")
    ] = None,
) -> None:
    """Serve a model directory over HTTP. Every file is verified first; settings come from AUDIOREC_* variables."""
    from audiorec.api.serve import run

    with reported():
        run(model_dir, host=host, port=port, workers=workers, access_log=access_log, clips_dir=clips_dir)


@app.command("generator")
def keep_generator(
    model_dir: ModelDir,
    model: Annotated[
        str | None,
        typer.Option(help="What makes the sounds: a directory or a hub id; else AUDIOREC_GENERATOR_MODEL."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where it computes: cpu, cuda, cuda:1.")] = None,
) -> None:
    """Make the sounds that a service is asked for: one process a device, on any host that reaches the same jobs.

    Settings come from AUDIOREC_GENERATOR_* variables, the same as the service's. `audiorec serve` does this itself
    where it was given a model.
    """
    from audiorec.jobs.keeper import keep

    with reported():
        raise typer.Exit(keep(model_dir, model=model, device=device))
