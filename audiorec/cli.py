"""The command line: parses, calls the package, prints.

Heavy imports stand inside the commands, so that --help is quick.

Exit codes: 0 done; 1 a fault of ours; 2 wrong usage; 3 done, but some clips were refused, or no sound was usable;
4 a query that cannot be answered; 5 a bad model directory or checkpoint; 6 somebody else is at work there; 7 no room
on the disk; 8 a release was published, but is not current.
"""

from typing import Annotated

import typer

import audiorec
from audiorec.commands import ask, build, catalogue, crawl, generate, keys, serve, train

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)
for commands in (crawl, build, ask, catalogue, serve, generate):
    app.add_typer(commands.app)
app.add_typer(keys.app, name="keys")
app.add_typer(train.app, name="train")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"audiorec {audiorec.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """A self-hosted "more like this" service for audio: from a folder of clips to their nearest neighbours."""


if __name__ == "__main__":
    app()
