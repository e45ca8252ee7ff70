"""The commands that make a release: all of it, or a step."""

from pathlib import Path
from typing import Annotated

import typer

from audiorec.commands.arguments import (
    Baselines,
    MakeCurrent,
    MaxS,
    ModelDir,
    PlaceholderArtists,
    Tolerance,
    Workers,
    named,
    named_path,
)
from audiorec.commands.crawl import crawl_bar
from audiorec.terminal import EXIT_SOME_REFUSED, end_not_current, progress, reported, show

app = typer.Typer()


Clips = Annotated[
    str,
    typer.Argument(
        parser=named,
        metavar="CLIPS",
        help="A folder of clips, with a labels.csv or a folder a label; or a list, as for crawl.",
    ),
]
EncoderName = Annotated[
    str | None,
    typer.Option("--encoder", help="base, or another; `audiorec encoders` lists them."),
]
Checkpoint = Annotated[Path | None, typer.Option(help="Of an encoder that learns; kept for the next build.")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Of a pretrained encoder: a directory or a hub id; kept for the next build."),
]
LayerIndex = Annotated[
    int | None,
    typer.Option("--layer", help="Which layer of it, from 0; unless said, the best by your labels, or the middle."),
]
TrainMinutes = Annotated[float, typer.Option(min=0.01, help="How long an encoder without a checkpoint learns.")]
Refit = Annotated[bool, typer.Option("--refit", help="Fit the encoder's last step on the catalogue anew.")]


def gathered(clips: str, model_dir: Path, max_s: float) -> tuple[Path, bool]:
    """(the folder of clips that was meant, whether all of it was had): what is no folder is crawled first."""
    from audiorec.audio.decoder import DecodeLimits
    from audiorec.crawl import CrawlOptions
    from audiorec.crawl.gather import gather
    from audiorec.crawl.summary import crawl_summary
    from audiorec.publishing.workplace import Workplace

    with crawl_bar() as report:
        options = CrawlOptions(limits=DecodeLimits(max_s=max_s))
        audio_dir, crawled = gather(clips, Workplace(model_dir).work_dir, options=options, report=report)
    if crawled is not None:
        show(crawl_summary(crawled, audio_dir))
    return audio_dir, crawled is None or crawled.is_complete


@app.command()
def build(
    clips: Clips,
    model_dir: ModelDir,
    encoder: EncoderName = None,
    checkpoint: Checkpoint = None,
    model: Model = None,
    layer: LayerIndex = None,
    train_minutes: TrainMinutes = 30.0,
    refit: Refit = False,
    baselines: Baselines = True,
    tolerance: Tolerance = 0.01,
    make_current: MakeCurrent = False,
    workers: Workers = None,
    max_s: MaxS = 3600.0,
    placeholder_artists: PlaceholderArtists = False,
) -> None:
    """Make a model directory from a folder, a crawl or a list of clips: convert, encode, index, evaluate, publish.

    Stopped anywhere, the same command goes on. With nothing new it changes nothing; with something new it publishes
    the next release, which becomes current unless it is worse or would undo what `add` and `remove` did. Exit code 3:
    done, but some clips were refused (refused.tsv says which and why); 8: the release is not current.
    """
    from audiorec.audio.decoder import DecodeLimits
    from audiorec.build import build as run
    from audiorec.encoders import DEFAULT_ENCODER
    from audiorec.release.guard import Guard
    from audiorec.report import summary

    with reported():
        audio_dir, is_whole = gathered(clips, model_dir, max_s)
        built = run(
            audio_dir,
            model_dir,
            encoder=encoder or DEFAULT_ENCODER,
            checkpoint_path=checkpoint,
            model=model,
            layer=layer,
            train_minutes=train_minutes,
            limits=DecodeLimits(max_s=max_s),
            n_workers=workers,
            placeholder_artists=placeholder_artists,
            refit=refit,
            baselines=baselines,
            guard=Guard(tolerance, make_current),
            progress=progress,
            say=show,
        )
        show(summary(built, model_dir))
        end_not_current(built.release_dir.name, built.held_back, model_dir)
        if built.conversion.refusals or not is_whole:
            raise typer.Exit(EXIT_SOME_REFUSED)


@app.command()
def convert(
    clips: Clips,
    model_dir: ModelDir,
    workers: Workers = None,
    max_s: MaxS = 3600.0,
    placeholder_artists: PlaceholderArtists = False,
) -> None:
    """The first step of build: every clip to 16 kHz mono WAV in MODEL_DIR/work."""
    from audiorec.audio.decoder import DecodeLimits
    from audiorec.build import convert_step
    from audiorec.report import conversion_summary

    with reported():
        limits = DecodeLimits(max_s=max_s)
        audio_dir, is_whole = gathered(clips, model_dir, max_s)
        conversion = convert_step(
            audio_dir,
            model_dir,
            limits=limits,
            n_workers=workers,
            placeholder_artists=placeholder_artists,
            progress=progress,
        )
        show(conversion_summary(conversion))
        show(f"next: audiorec export {model_dir}")
        if conversion.refusals or not is_whole:
            raise typer.Exit(EXIT_SOME_REFUSED)


@app.command()
def export(
    model_dir: ModelDir,
    encoder: EncoderName = None,
    checkpoint: Checkpoint = None,
    model: Model = None,
    layer: LayerIndex = None,
    train_minutes: TrainMinutes = 30.0,
    refit: Refit = False,
) -> None:
    """The second step of build: fit the encoder on the converted clips and export it as TorchScript."""
    from audiorec.build import export_step
    from audiorec.encoders import DEFAULT_ENCODER
    from audiorec.report import layer_lines

    with reported():
        fitted = export_step(
            model_dir,
            encoder=encoder or DEFAULT_ENCODER,
            checkpoint_path=checkpoint,
            model=model,
            layer=layer,
            train_minutes=train_minutes,
            refit=refit,
            progress=progress,
            say=show,
        )
        facts = fitted.facts
        why = facts.last_step.why if facts.last_step else f"fitted on {facts.fitted_windows} windows"
        if not facts.last_step and not facts.fitted_windows:
            why = "none: its vectors are left as they come"
        show("\n".join([f"{facts.name}: {facts.dim} dimensions, last step {why}", *layer_lines(facts)]))
        show(f"next: audiorec index {model_dir}")


@app.command()
def index(
    model_dir: ModelDir,
    baselines: Baselines = True,
    tolerance: Tolerance = 0.01,
    make_current: MakeCurrent = False,
) -> None:
    """The last step of build: embed, index, evaluate and publish what convert and export left."""
    from audiorec.build import index_step
    from audiorec.release.guard import Guard
    from audiorec.report import summary

    with reported():
        guard = Guard(tolerance, make_current)
        built = index_step(model_dir, baselines=baselines, guard=guard, progress=progress)
        show(summary(built, model_dir))
        end_not_current(built.release_dir.name, built.held_back, model_dir)


@app.command()
def samples(
    out_dir: Annotated[Path, typer.Argument(parser=named_path, metavar="OUT_DIR", help="Where the clips go.")],
) -> None:
    """Render the built-in sample catalogue: synthesised clips of a dozen families, with a labels.csv."""
    from audiorec.samples import render

    with reported():
        n_clips = render(out_dir, progress=progress)
        show(f"{n_clips} clips in {out_dir}\nnext: audiorec build {out_dir} MODEL_DIR")
