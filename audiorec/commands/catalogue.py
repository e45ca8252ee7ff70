"""The commands on a catalogue that is there: clips added and removed, releases listed, chosen and deleted."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiorec.commands.arguments import (
    AsJson,
    MakeCurrent,
    MaxS,
    ModelDir,
    PlaceholderArtists,
    Tolerance,
    Workers,
    named_path,
)
from audiorec.terminal import EXIT_NOT_CURRENT, EXIT_SOME_REFUSED, end_not_current, progress, reported, show, show_json

if TYPE_CHECKING:
    from audiorec.publishing.edit import Edited

app = typer.Typer()


@app.command()
def add(
    model_dir: ModelDir,
    clips: Annotated[
        list[Path],
        typer.Argument(
            parser=named_path, metavar="CLIPS", help="Files, and folders with a labels.csv or a folder a label."
        ),
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Put a clip in the place of another with its id.")] = False,
    tolerance: Tolerance = 0.01,
    make_current: MakeCurrent = False,
    workers: Workers = None,
    max_s: MaxS = 3600.0,
    placeholder_artists: PlaceholderArtists = False,
    as_json: AsJson = False,
) -> None:
    """Add clips to the catalogue: the next release, with the encoder and all vectors of the current one.

    A clip's id is its path below the folder that is given, or what a labels.csv says. Stopped anywhere, the same
    command goes on. Exit code 3: done, but some clips were refused; 8: the release is there, but not current.
    """
    from audiorec.audio.decoder import DecodeLimits
    from audiorec.publishing.edit import add as run
    from audiorec.release.guard import Guard

    with reported():
        edited = run(
            model_dir,
            clips,
            replace=replace,
            guard=Guard(tolerance, make_current),
            limits=DecodeLimits(max_s=max_s),
            n_workers=workers,
            placeholder_artists=placeholder_artists,
            progress=progress,
        )
        _end(edited, model_dir, as_json)


@app.command()
def remove(
    model_dir: ModelDir,
    clip_ids: Annotated[list[str] | None, typer.Argument(metavar="IDS", help="Clip ids.")] = None,
    from_file: Annotated[
        Path | None,
        typer.Option("--from-file", help="More ids, one a line, written as in metadata.tsv; - reads standard input."),
    ] = None,
    tolerance: Tolerance = 0.01,
    make_current: MakeCurrent = False,
    as_json: AsJson = False,
) -> None:
    """Remove clips from the catalogue: the next release, with all other clips of the current one.

    Exit code 3: done, but some ids were unknown; 8: the release is there, but worse, and not current.
    """
    from audiorec.publishing.edit import remove as run
    from audiorec.release.guard import Guard

    with reported():
        wanted = [*(clip_ids or []), *(_ids_in(from_file) if from_file else [])]
        if not wanted:
            got = f"got {from_file} without an id in it" if from_file else "got no ids"
            raise typer.BadParameter(f"{got}, expected clip ids, or --from-file with one a line")
        _end(run(model_dir, wanted, guard=Guard(tolerance, make_current)), model_dir, as_json)


def _ids_in(path: Path) -> list[str]:
    from audiorec.errors import BadModelDir
    from audiorec.files.tsv import unescape_cell

    try:
        text = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        lines = (line.removesuffix("\r") for line in text.decode().split("\n"))  # an id's own \r is escaped
        return [unescape_cell(line) for line in lines if line]
    except (OSError, ValueError, BadModelDir) as error:
        raise typer.BadParameter(f"got {path}, expected a readable list of clip ids ({error})") from None


def _end(edited: "Edited", model_dir: Path, as_json: bool) -> None:
    from audiorec.report import edit_summary

    name, held_back = edited.published.release_dir.name, edited.published.held_back
    if as_json:
        show_json(edited.to_json())
    else:
        show(edit_summary(edited))
    if held_back and as_json:
        raise typer.Exit(EXIT_NOT_CURRENT)
    end_not_current(name, held_back, model_dir)
    if edited.refusals or edited.unknown:
        raise typer.Exit(EXIT_SOME_REFUSED)


@app.command()
def releases(model_dir: ModelDir, as_json: AsJson = False) -> None:
    """List the releases: which one is current, what each holds, measures and costs, and which a service holds."""
    from audiorec.publishing.lifecycle import list_releases
    from audiorec.report import releases_table

    with reported():
        listed = list_releases(model_dir)
        if as_json:
            show_json([release.to_json() for release in listed], indent=1)
        else:
            show(releases_table(listed))


@app.command()
def use(
    model_dir: ModelDir,
    release: Annotated[str, typer.Argument(help="A release, as 0003, or the path of one elsewhere, to copy it.")],
) -> None:
    """Make a release current, older or newer, after a look at every byte of it."""
    from audiorec.publishing.lifecycle import use as run

    with reported():
        show(f"release {run(model_dir, release)} is current")


@app.command()
def rollback(
    model_dir: ModelDir,
    release: Annotated[str | None, typer.Argument(help="Which one; the one before the current.")] = None,
) -> None:
    """Go back to an older release, after a look at every byte of it."""
    from audiorec.publishing.lifecycle import rollback as run

    with reported():
        show(f"release {run(model_dir, release)} is current")


@app.command()
def prune(
    model_dir: ModelDir,
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest releases stay.")],
) -> None:
    """Delete old releases; never the current one, nor one that a running service holds."""
    from audiorec.publishing.lifecycle import prune as run
    from audiorec.report import prune_summary

    with reported():
        show(prune_summary(run(model_dir, keep)))
