"""The command line: parses, calls the package, prints.

Heavy imports stand inside the commands, so that --help is quick.

Exit codes: 0 done; 1 a fault of ours; 2 wrong usage; 3 done, but some clips were refused, or no sound was usable;
4 a query that cannot be answered; 5 a bad model directory; 6 somebody else is at work there; 7 no room on the disk.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

import audiorec
from audiorec.errors import AudiorecError

EXIT_SOME_REFUSED = 3

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

AudioDir = Annotated[Path, typer.Argument(help="A folder of clips, with a labels.csv or a folder a label.")]
ModelDir = Annotated[Path, typer.Argument(help="The model directory.")]
EncoderName = Annotated[Optional[str], typer.Option("--encoder", help="Which encoder; MFCC or MeanMel.")]  # noqa: UP045
Refit = Annotated[bool, typer.Option("--refit", help="Fit the encoder's last step on the catalogue anew.")]
Baselines = Annotated[bool, typer.Option(help="Evaluate the baselines beside the encoder.")]
Workers = Annotated[Optional[int], typer.Option(min=1, help="Processes that decode; one a core.")]  # noqa: UP045
MaxS = Annotated[float, typer.Option("--max-s", min=0.1, help="The longest clip that is taken, in seconds.")]


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


@contextmanager
def reported() -> Iterator[None]:
    """An error of the person's making becomes one line and its exit code."""
    try:
        yield
    except AudiorecError as error:
        typer.secho(f"error: {error.message}", fg="red", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.secho("stopped; the same command goes on where it was", err=True)
        raise typer.Exit(130) from None


def progress(items: Any, *, total: int, stage: str, unit: str) -> Any:
    """A bar with rate and time left; none where there is nothing to do or nobody to look."""
    from tqdm import tqdm

    disable = not total or (not sys.stderr.isatty() and "AUDIOREC_PROGRESS" not in os.environ)
    return tqdm(items, total=total, desc=stage, unit=unit, disable=disable)


@app.command()
def build(
    audio_dir: AudioDir,
    model_dir: ModelDir,
    encoder: EncoderName = None,
    refit: Refit = False,
    baselines: Baselines = True,
    workers: Workers = None,
    max_s: MaxS = 3600.0,
) -> None:
    """Make a model directory from a folder of clips: convert, encode, index, evaluate, publish.

    Stopped anywhere, the same command goes on. With nothing new it changes nothing; with something new it publishes
    the next release. Exit code 3: done, but some clips were refused (refused.tsv says which and why).
    """
    from audiorec.build import build as run
    from audiorec.decoder import DecodeLimits
    from audiorec.encoders import DEFAULT_ENCODER
    from audiorec.report import summary

    with reported():
        built = run(
            audio_dir,
            model_dir,
            encoder=encoder or DEFAULT_ENCODER,
            limits=DecodeLimits(max_s=max_s),
            n_workers=workers,
            refit=refit,
            baselines=baselines,
            progress=progress,
        )
        typer.echo(summary(built, model_dir))
        if built.conversion.refusals:
            raise typer.Exit(EXIT_SOME_REFUSED)


@app.command()
def convert(audio_dir: AudioDir, model_dir: ModelDir, workers: Workers = None, max_s: MaxS = 3600.0) -> None:
    """The first step of build: every clip to 16 kHz mono WAV in MODEL_DIR/work."""
    from audiorec.build import convert_step
    from audiorec.decoder import DecodeLimits
    from audiorec.report import conversion_summary

    with reported():
        limits = DecodeLimits(max_s=max_s)
        conversion = convert_step(audio_dir, model_dir, limits=limits, n_workers=workers, progress=progress)
        typer.echo(conversion_summary(conversion))
        typer.echo(f"next: audiorec export {model_dir}")
        if conversion.refusals:
            raise typer.Exit(EXIT_SOME_REFUSED)


@app.command()
def export(model_dir: ModelDir, encoder: EncoderName = None, refit: Refit = False) -> None:
    """The second step of build: fit the encoder on the converted clips and export it as TorchScript."""
    from audiorec.build import export_step
    from audiorec.encoders import DEFAULT_ENCODER

    with reported():
        fitted = export_step(model_dir, encoder=encoder or DEFAULT_ENCODER, refit=refit, progress=progress)
        facts = fitted.facts
        typer.echo(f"{facts.name}: {facts.dim} dimensions, last step fitted on {facts.fitted_windows} windows")
        typer.echo(f"next: audiorec index {model_dir}")


@app.command()
def index(model_dir: ModelDir, baselines: Baselines = True) -> None:
    """The last step of build: embed, index, evaluate and publish what convert and export left."""
    from audiorec.build import index_step
    from audiorec.report import summary

    with reported():
        typer.echo(summary(index_step(model_dir, baselines=baselines, progress=progress), model_dir))


@app.command()
def serve(
    model_dir: ModelDir,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the model directory.")] = 1,
    access_log: Annotated[bool, typer.Option(help="A line in the log a request.")] = False,
) -> None:
    """Serve a model directory over HTTP. Every file is verified first; settings come from AUDIOREC_* variables."""
    from audiorec.api.serve import run

    with reported():
        run(model_dir, host=host, port=port, workers=workers, access_log=access_log)


@app.command()
def nearest(
    model_dir: ModelDir,
    sound: Annotated[Optional[Path], typer.Argument(help="A sound file.")] = None,  # noqa: UP045
    clip_id: Annotated[Optional[str], typer.Option("--id", help="A clip of the catalogue.")] = None,  # noqa: UP045
    embedding: Annotated[Optional[str], typer.Option(help="A JSON list of numbers, or @FILE; @- reads it.")] = None,  # noqa: UP045
    k: Annotated[int, typer.Option("-k", "--k", help="How many.")] = 10,
    filter: Annotated[Optional[str], typer.Option(help='Conditions as JSON: {"label": "dog"}.')] = None,  # noqa: UP045
    exclude: Annotated[Optional[list[str]], typer.Option(help="A clip id to leave out; may be repeated.")] = None,  # noqa: UP045
    max_per_artist: Annotated[Optional[int], typer.Option(help="At most so many clips by one artist.")] = None,  # noqa: UP045
    as_json: Annotated[bool, typer.Option("--json", help="The answer as the service gives it.")] = False,
) -> None:
    """The clips nearest to a sound file, to a clip of the catalogue or to an embedding; no server needed."""
    from audiorec.nearest import Nearest
    from audiorec.report import neighbours_table

    with reported():
        if (sound is not None) + (clip_id is not None) + (embedding is not None) != 1:
            raise typer.BadParameter("expected exactly one of a sound file, --id and --embedding")
        opened = Nearest(model_dir)
        options: dict[str, Any] = {"filter": filter and parse_json(filter), "exclude": exclude or []}
        options |= {"k": k, "max_per_artist": max_per_artist}
        if sound is not None:
            found = opened.search_file(sound, **options)
        elif clip_id is not None:
            found = opened.search_id(clip_id, **options)
        else:
            found = opened.search(parse_json(embedding or ""), **options)
        if as_json:
            typer.echo(json.dumps({"results": found.to_dicts(), "release": opened.release.name}, ensure_ascii=False))
        else:
            typer.echo(neighbours_table(found.to_dicts()))


def parse_json(text: str) -> Any:
    """JSON in the argument itself, in @FILE, or from standard input for @-."""
    try:
        if text == "@-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"got {text[:60]!r}, expected JSON ({error})") from None


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
        typer.echo(release.manifest.model_dump_json(indent=1) if as_json else release_report(release, verified=verify))


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
            typer.echo(json.dumps({**evaluation, "index": index_recall}))
        else:
            typer.echo(evaluation_report(evaluation, index_recall))


@app.command()
def samples(out_dir: Annotated[Path, typer.Argument(help="Where the clips go.")]) -> None:
    """Render the built-in sample catalogue: synthesised clips of a dozen families, with a labels.csv."""
    from audiorec.samples import render

    with reported():
        n_clips = render(out_dir, progress=progress)
        typer.echo(f"{n_clips} clips in {out_dir}\nnext: audiorec build {out_dir} MODEL_DIR")


if __name__ == "__main__":
    app()
