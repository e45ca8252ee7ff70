"""The command line: parses, calls the package, prints.

Heavy imports stand inside the commands, so that --help is quick.

Exit codes: 0 done; 1 a fault of ours; 2 wrong usage; 3 done, but some clips were refused, or no sound was usable;
4 a query that cannot be answered; 5 a bad model directory or checkpoint; 6 somebody else is at work there; 7 no room
on the disk; 8 a release was published, but is not current.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

import audiorec
from audiorec.catalogue_commands import MakeCurrent, MaxS, ModelDir, Tolerance, Workers, end_not_current
from audiorec.catalogue_commands import app as catalogue_app
from audiorec.terminal import EXIT_SOME_REFUSED, has_bars, show, show_json
from audiorec.terminal import progress as progress
from audiorec.terminal import reported as reported

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Clips = Annotated[
    str, typer.Argument(help="A folder of clips, with a labels.csv or a folder a label; or a list, as for crawl.")
]
EncoderName = Annotated[Optional[str], typer.Option("--encoder", help="base, MFCC, MeanMel or one that learns.")]  # noqa: UP045
Checkpoint = Annotated[Optional[Path], typer.Option(help="Of an encoder that learns; kept for the next build.")]  # noqa: UP045
TrainMinutes = Annotated[float, typer.Option(min=0.01, help="How long an encoder without a checkpoint learns.")]
Refit = Annotated[bool, typer.Option("--refit", help="Fit the encoder's last step on the catalogue anew.")]
Baselines = Annotated[bool, typer.Option(help="Evaluate the baselines beside the encoder.")]


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
def crawl_bar() -> Iterator[Callable[[Any], None]]:
    """The same bar for a crawl, whose end is not always known: what it is given hears where the crawl is."""
    from tqdm import tqdm

    from audiorec.crawl.summary import megabytes

    with tqdm(desc="crawl", unit="clip", disable=not has_bars()) as bar:

        def report(status: Any) -> None:
            bar.total = status.n_expected and status.n_expected - status.n_known
            bar.n = status.n_handled - status.n_known
            bar.set_postfix_str(f"{megabytes(status.n_bytes)}, {status.n_failed} failed")

        yield report


def gathered(clips: str, model_dir: Path, max_s: float) -> tuple[Path, bool]:
    """(the folder of clips that was meant, whether all of it was had): what is no folder is crawled first."""
    from audiorec.crawl import CrawlOptions
    from audiorec.crawl.gather import gather
    from audiorec.crawl.summary import crawl_summary
    from audiorec.decoder import DecodeLimits
    from audiorec.workplace import Workplace

    with crawl_bar() as report:
        options = CrawlOptions(limits=DecodeLimits(max_s=max_s))
        audio_dir, crawled = gather(clips, Workplace(model_dir).work_dir, options=options, report=report)
    if crawled is not None:
        show(crawl_summary(crawled, audio_dir))
    return audio_dir, crawled is None or crawled.is_complete


@app.command()
def crawl(
    source: Annotated[
        str,
        typer.Argument(
            help="coub:hot/weekly, coub:tag/NAME, any page that yt-dlp knows, a podcast feed, a CSV, TSV, M3U or "
            "plain list, a folder, a store such as s3://bucket/sounds."
        ),
    ],
    out_dir: Annotated[Path, typer.Argument(help="The crawl folder: new, or of an earlier crawl.")],
    max_clips: Annotated[Optional[int], typer.Option(min=1, help="Stop when the folder holds so many.")] = None,  # noqa: UP045
    max_hours: Annotated[Optional[float], typer.Option(min=0, help="Stop when it holds so many hours.")] = None,  # noqa: UP045
    max_bytes: Annotated[Optional[int], typer.Option(min=1, help="Stop when it holds so many bytes.")] = None,  # noqa: UP045
    since: Annotated[
        Optional[datetime],  # noqa: UP045
        typer.Option(formats=["%Y-%m-%d"], help="Nothing published before that day."),
    ] = None,
    max_s: MaxS = 3600.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be fetched, and fetch nothing.")] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Reach addresses that are not of the public internet too.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0.001, help="Requests a second to each host, at most.")] = 4.0,
    parallel: Annotated[int, typer.Option(min=1, max=256, help="Clips under way.")] = 8,
    robots: Annotated[bool, typer.Option(help="Obey robots.txt; without, only where you may.")] = True,
    contact: Annotated[str, typer.Option(help="Your address or page, told to every server.")] = "",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed too often.")] = False,
) -> None:
    """Bring clips from the web, a list, a folder or a store into a folder that build takes.

    Stopped anywhere, the same command goes on; what was had is not fetched again. Exit code 3: done, but some clips
    could not be had (refused.tsv says which and why).
    """
    from audiorec.crawl import CrawlOptions, plan
    from audiorec.crawl import crawl as run
    from audiorec.crawl.summary import crawl_summary, plan_summary
    from audiorec.decoder import DecodeLimits

    with reported():
        options = CrawlOptions(
            max_clips=max_clips,
            max_hours=max_hours,
            max_bytes=max_bytes,
            since=since.date() if since else None,
            allow_private=allow_private,
            obey_robots=robots,
            contact=contact,
            retry_failed=retry_failed,
            requests_per_s=rate,
            n_parallel=parallel,
            limits=DecodeLimits(max_s=max_s),
        )
        if dry_run:
            show(plan_summary(plan(source, out_dir, options=options)))
            return
        with crawl_bar() as report:
            crawled = run(source, out_dir, options=options, report=report)
        show(crawl_summary(crawled, out_dir))
        if not crawled.is_complete:
            raise typer.Exit(EXIT_SOME_REFUSED)


@app.command()
def build(
    clips: Clips,
    model_dir: ModelDir,
    encoder: EncoderName = None,
    checkpoint: Checkpoint = None,
    train_minutes: TrainMinutes = 30.0,
    refit: Refit = False,
    baselines: Baselines = True,
    tolerance: Tolerance = 0.01,
    make_current: MakeCurrent = False,
    workers: Workers = None,
    max_s: MaxS = 3600.0,
) -> None:
    """Make a model directory from a folder, a crawl or a list of clips: convert, encode, index, evaluate, publish.

    Stopped anywhere, the same command goes on. With nothing new it changes nothing; with something new it publishes
    the next release, which becomes current unless it is worse or would undo what `add` and `remove` did. Exit code 3:
    done, but some clips were refused (refused.tsv says which and why); 8: the release is not current.
    """
    from audiorec.build import build as run
    from audiorec.decoder import DecodeLimits
    from audiorec.encoders import DEFAULT_ENCODER
    from audiorec.guard import Guard
    from audiorec.report import summary

    with reported():
        audio_dir, is_whole = gathered(clips, model_dir, max_s)
        built = run(
            audio_dir,
            model_dir,
            encoder=encoder or DEFAULT_ENCODER,
            checkpoint_path=checkpoint,
            train_minutes=train_minutes,
            limits=DecodeLimits(max_s=max_s),
            n_workers=workers,
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
def convert(clips: Clips, model_dir: ModelDir, workers: Workers = None, max_s: MaxS = 3600.0) -> None:
    """The first step of build: every clip to 16 kHz mono WAV in MODEL_DIR/work."""
    from audiorec.build import convert_step
    from audiorec.decoder import DecodeLimits
    from audiorec.report import conversion_summary

    with reported():
        limits = DecodeLimits(max_s=max_s)
        audio_dir, is_whole = gathered(clips, model_dir, max_s)
        conversion = convert_step(audio_dir, model_dir, limits=limits, n_workers=workers, progress=progress)
        show(conversion_summary(conversion))
        show(f"next: audiorec export {model_dir}")
        if conversion.refusals or not is_whole:
            raise typer.Exit(EXIT_SOME_REFUSED)


@app.command()
def export(
    model_dir: ModelDir,
    encoder: EncoderName = None,
    checkpoint: Checkpoint = None,
    train_minutes: TrainMinutes = 30.0,
    refit: Refit = False,
) -> None:
    """The second step of build: fit the encoder on the converted clips and export it as TorchScript."""
    from audiorec.build import export_step
    from audiorec.encoders import DEFAULT_ENCODER

    with reported():
        fitted = export_step(
            model_dir,
            encoder=encoder or DEFAULT_ENCODER,
            checkpoint_path=checkpoint,
            train_minutes=train_minutes,
            refit=refit,
            progress=progress,
            say=show,
        )
        facts = fitted.facts
        why = facts.last_step.why if facts.last_step else f"fitted on {facts.fitted_windows} windows"
        show(f"{facts.name}: {facts.dim} dimensions, last step {why}")
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
    from audiorec.guard import Guard
    from audiorec.report import summary

    with reported():
        guard = Guard(tolerance, make_current)
        built = index_step(model_dir, baselines=baselines, guard=guard, progress=progress)
        show(summary(built, model_dir))
        end_not_current(built.release_dir.name, built.held_back, model_dir)


app.add_typer(catalogue_app)


@app.command()
def serve(
    model_dir: ModelDir,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the model directory.")] = 1,
    access_log: Annotated[Optional[bool], typer.Option(help="A line in the log a request.")] = None,  # noqa: UP045
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
        options: dict[str, Any] = {"filter": None if filter is None else parse_json(filter), "exclude": exclude or []}
        options |= {"k": k, "max_per_artist": max_per_artist}
        if sound is not None:
            found = opened.search_file(sound, **options)
        elif clip_id is not None:
            found = opened.search_id(clip_id, **options)
        else:
            found = opened.search(parse_json(embedding or ""), **options)
        if as_json:
            show_json({"results": found.to_dicts(), "release": opened.release.name})
        else:
            show(neighbours_table(found.to_dicts()))


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
def samples(out_dir: Annotated[Path, typer.Argument(help="Where the clips go.")]) -> None:
    """Render the built-in sample catalogue: synthesised clips of a dozen families, with a labels.csv."""
    from audiorec.samples import render

    with reported():
        n_clips = render(out_dir, progress=progress)
        show(f"{n_clips} clips in {out_dir}\nnext: audiorec build {out_dir} MODEL_DIR")


keys_app = typer.Typer(no_args_is_help=True, help="The API keys of a service.")
app.add_typer(keys_app, name="keys")
KeysFile = Annotated[
    Path,
    typer.Option("--keys-file", envvar="AUDIOREC_KEYS_FILE", help="The file that the service reads its keys from."),
]
KeyName = Annotated[str, typer.Argument(help="Whose key it is, as logs are to say it.")]


@keys_app.callback()
def keys() -> None:
    """Who may ask a service that was given a keys file. A change counts at once, without a restart."""


@keys_app.command("create")
def keys_create(
    name: KeyName,
    keys_file: KeysFile,
    scope: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="What it is good for: read, write, generate, admin; may be repeated. None implies another."),
    ] = None,
    rate: Annotated[Optional[str], typer.Option(help="How often it may ask, as 60/minute.")] = None,  # noqa: UP045
    expires: Annotated[Optional[str], typer.Option(help="When it ends: 90d, 12h, or a day as 2027-01-31.")] = None,  # noqa: UP045
) -> None:
    """Make a key and print it, once: the file has only its hash. Without --scope it may read."""
    from audiorec.api.keys import create_key, parse_end

    with reported():
        expires_at = parse_end(expires) if expires else None
        typer.echo(create_key(keys_file, name, scope or ["read"], rate=rate, expires_at=expires_at))
        typer.secho(f"the key of {name}, shown this once: send it as 'Authorization: Bearer KEY'", err=True)


@keys_app.command("list")
def keys_list(
    keys_file: KeysFile, as_json: Annotated[bool, typer.Option("--json", help="As JSON, without the hashes.")] = False
) -> None:
    """Show the keys: their names, what they are good for, and whether they still are."""
    from audiorec.api.keys import described, read_keys
    from audiorec.report import table

    with reported():
        known = described(read_keys(keys_file))
        if as_json:
            show_json(known, indent=1)
        else:
            columns = ("name", "state", "scopes", "rate", "created_at", "expires_at", "revoked_at")
            rows = [{**key, "scopes": " ".join(key["scopes"])} for key in known]
            show(table(columns, [[key[column] or "" for column in columns] for key in rows]))


@keys_app.command("revoke")
def keys_revoke(name: KeyName, keys_file: KeysFile) -> None:
    """End a key now. Its name can be given to another."""
    from audiorec.api.keys import revoke_key

    with reported():
        revoke_key(keys_file, name)
        show(f"the key of {name} is revoked")


train_app = typer.Typer(no_args_is_help=True, help="Train an encoder that learns.")
app.add_typer(train_app, name="train")


@train_app.callback()
def train() -> None:
    """Train an encoder that learns."""


@train_app.command()
def vqvae(
    audio_dir: Annotated[Path, typer.Argument(help="A folder of clips, of converted clips, or a model directory.")],
    out: Annotated[Path, typer.Option(help="The run's folder, as exp/NAME.")],
    minutes: Annotated[Optional[float], typer.Option(help="How long it learns.")] = None,  # noqa: UP045
    cpu_minutes: Annotated[Optional[float], typer.Option(help="The same in time of all cores together.")] = None,  # noqa: UP045
    epochs: Annotated[Optional[float], typer.Option(help="How often it learns from every clip, instead.")] = None,  # noqa: UP045
    start_from: Annotated[Optional[Path], typer.Option("--from", help="Begin with this checkpoint's weights.")] = None,  # noqa: UP045
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that is in the folder.")] = False,
    preset: Annotated[Optional[str], typer.Option(help="The model: default or reference.")] = None,  # noqa: UP045
    config: Annotated[Optional[Path], typer.Option(help="Settings, as the config.toml of a run.")] = None,  # noqa: UP045
    batch_size: Annotated[Optional[int], typer.Option(help="Crops a step.")] = None,  # noqa: UP045
    learning_rate: Annotated[Optional[float], typer.Option(help="The highest of the cycle.")] = None,  # noqa: UP045
    seed: Annotated[Optional[int], typer.Option(help="Of everything random.")] = None,  # noqa: UP045
    threads: Annotated[Optional[int], typer.Option(min=1, help="Threads to compute with, without a GPU.")] = None,  # noqa: UP045
) -> None:
    """Train a VQ-VAE-2 on a folder of clips. On several GPUs: torchrun --nproc-per-node N -m audiorec.cli ..."""
    from audiorec.training.run import run
    from audiorec.training.summary import training_summary

    given = {"minutes": minutes, "cpu_minutes": cpu_minutes, "epochs": epochs, "batch_size": batch_size}
    given |= {"learning_rate": learning_rate, "seed": seed}
    with reported():
        trained = run(
            audio_dir,
            out,
            given,
            config_path=config,
            preset=preset,
            start_from=start_from,
            resume=resume,
            n_threads=threads,
            progress=progress,
            say=show,
        )
        if trained.figures:  # of several processes, the first has them
            show(training_summary(trained))


@train_app.command()
def contrastive(
    audio_dir: Annotated[Path, typer.Argument(help="A folder of clips, of converted clips, or a model directory.")],
    out: Annotated[Path, typer.Option(help="The run's folder, as exp/NAME.")],
    start_from: Annotated[Optional[str], typer.Option("--from", help="base, or a checkpoint to go on from.")] = None,  # noqa: UP045
    minutes: Annotated[Optional[float], typer.Option(help="How long it learns.")] = None,  # noqa: UP045
    cpu_minutes: Annotated[Optional[float], typer.Option(help="The same in time of all cores together.")] = None,  # noqa: UP045
    epochs: Annotated[Optional[float], typer.Option(help="How often it learns from every clip, instead.")] = None,  # noqa: UP045
    held_back: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.01, max=0.9, help="The share of clips that only tell whether it helped; 0.2 unless said."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that is in the folder.")] = False,
    config: Annotated[Optional[Path], typer.Option(help="Settings, as the config.toml of a run.")] = None,  # noqa: UP045
    batch_size: Annotated[Optional[int], typer.Option(help="Clips a step.")] = None,  # noqa: UP045
    learning_rate: Annotated[Optional[float], typer.Option(help="The highest of the cycle.")] = None,  # noqa: UP045
    seed: Annotated[Optional[int], typer.Option(help="Of everything random.")] = None,  # noqa: UP045
    threads: Annotated[Optional[int], typer.Option(min=1, help="Threads to compute with, without a GPU.")] = None,  # noqa: UP045
) -> None:
    """Train the encoder base on your own clips, from nothing or on from what it is; by labels too, where there are any.

    Ends by measuring, on clips held back for nothing else, whether it helped; what did not is not recommended.
    """
    from audiorec.training.contrast.adapt import adapt
    from audiorec.training.summary import adapted_summary

    given = {"minutes": minutes, "cpu_minutes": cpu_minutes, "epochs": epochs, "batch_size": batch_size}
    given |= {"learning_rate": learning_rate, "seed": seed}
    with reported():
        adapted = adapt(
            audio_dir,
            out,
            given,
            config_path=config,
            start_from=start_from,
            held_back_share=held_back,
            resume=resume,
            n_threads=threads,
            progress=progress,
            say=show,
        )
        show(adapted_summary(adapted))


if __name__ == "__main__":
    app()
