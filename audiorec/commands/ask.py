"""The commands that ask a release, and the one that lists encoders."""

from pathlib import Path
from typing import Annotated, Any

import typer

from audiorec.commands.arguments import AsJson, MaxS, ModelDir
from audiorec.terminal import parse_json, progress, reported, show, show_json

app = typer.Typer()


@app.command()
def nearest(
    model_dir: ModelDir,
    sound: Annotated[Path | None, typer.Argument(help="A sound file.")] = None,
    clip_id: Annotated[str | None, typer.Option("--id", help="A clip of the catalogue.")] = None,
    embedding: Annotated[str | None, typer.Option(help="A JSON list of numbers, or @FILE; @- reads it.")] = None,
    text: Annotated[str | None, typer.Option(help="What it sounds like, in words.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="How many.")] = 10,
    filter: Annotated[str | None, typer.Option(help='Conditions as JSON: {"label": "dog"}.')] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="A clip id to leave out; may be repeated.")] = None,
    max_per_artist: Annotated[int | None, typer.Option(help="At most so many clips by one artist.")] = None,
    max_s: MaxS = 3600.0,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as the service gives it.")] = False,
) -> None:
    """The clips nearest to a sound file, to a clip of the catalogue, to a text or to an embedding; no server needed."""
    from audiorec.nearest import Nearest
    from audiorec.report import neighbours_table

    with reported():
        if sum(given is not None for given in (sound, clip_id, embedding, text)) != 1:
            raise typer.BadParameter("expected exactly one of a sound file, --id, --text and --embedding")
        opened = Nearest(model_dir)
        options: dict[str, Any] = {"filter": None if filter is None else parse_json(filter), "exclude": exclude or []}
        options |= {"k": k, "max_per_artist": max_per_artist}
        if sound is not None:
            found = opened.search_file(sound, max_s=max_s, **options)
        elif clip_id is not None:
            found = opened.search_id(clip_id, **options)
        elif text is not None:
            found = opened.search_text(text, **options)
        else:
            found = opened.search(parse_json(embedding or ""), **options)
        if as_json:
            show_json({"results": found.to_dicts(), "release": opened.release.name})
        else:
            show(neighbours_table(found.to_dicts()))


@app.command()
def classify(
    model_dir: ModelDir,
    sound: Annotated[Path | None, typer.Argument(help="A sound file.")] = None,
    clip_id: Annotated[str | None, typer.Option("--id", help="A clip of the catalogue.")] = None,
    max_s: MaxS = 3600.0,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as the service gives it.")] = False,
) -> None:
    """The labels of a sound file or of a clip, by an encoder of `train classifier`; no server needed."""
    from audiorec.classify import classify_clip, classify_file
    from audiorec.release import open_release
    from audiorec.report import labels_table

    with reported():
        if (sound is None) == (clip_id is None):
            raise typer.BadParameter("expected exactly one of a sound file and --id")
        release = open_release(model_dir)
        found = (
            classify_clip(clip_id, release)
            if clip_id is not None
            else classify_file(sound or Path(), release, max_s=max_s)
        )
        if as_json:
            show_json({**found.to_json(), "release": release.name})
        else:
            show(labels_table(found.predicted_label, found.labels))


@app.command()
def inspect(
    model_dir: ModelDir,
    verify: Annotated[bool, typer.Option("--verify", help="Read every byte and compare the hashes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The manifest.")] = False,
) -> None:
    """Show what a release is, after checking that it is whole."""
    from audiorec.release import open_release
    from audiorec.report import release_report

    with reported():
        release = open_release(model_dir, verify=verify)
        if as_json:
            show_json(release.manifest.model_dump(), indent=1)
        else:
            show(release_report(release, verified=verify))


@app.command()
def evaluate(
    model_dir: ModelDir,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Measure a release's retrieval by label and its index's recall anew; the baselines' figures are the build's."""
    from audiorec.remeasure import remeasure
    from audiorec.report import evaluation_report

    with reported():
        evaluation, index_recall = remeasure(model_dir)
        if as_json:
            show_json({**evaluation.model_dump(), "index": index_recall})
        else:
            show(evaluation_report(evaluation, index_recall))


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A model directory or a release.")],
    b: Annotated[Path, typer.Argument(help="Another, of the same catalogue by another encoder.")],
    queries: Annotated[
        Path | None,
        typer.Option(help="A CSV of the clips to ask for: a column path or clip_id, and label where it is known."),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="How many neighbours.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Compare two releases: how far their neighbours agree, whose are better by label, and where they differ most."""
    from audiorec.compare import compare as run
    from audiorec.report.comparison import comparison_report

    with reported():
        compared = run(a, b, queries_path=queries, k=k)
        if as_json:
            show_json(compared.to_json(), indent=1)
        else:
            show(comparison_report(compared))


@app.command()
def encoders(
    model: Annotated[
        str | None,
        typer.Option("--model", help="A directory or a hub id: measure that model too."),
    ] = None,
    measure: Annotated[bool, typer.Option(help="Measure what a window costs, here and now.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the encoders: dimensions, parameters, what a window costs on this machine, licence, and what they need."""
    from dataclasses import asdict

    from audiorec.encoders.roster import roster
    from audiorec.report import encoders_table

    with reported():
        listed = roster(model, measures=measure, progress=progress)
        if as_json:
            show_json([asdict(entry) for entry in listed], indent=1)
        else:
            show(encoders_table(listed))
