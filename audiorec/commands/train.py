"""The commands that train what learns."""

from pathlib import Path
from typing import Annotated

import typer

from audiorec.commands.arguments import AudioDir, RunDir, named_path
from audiorec.terminal import progress, reported, show

app = typer.Typer(no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train an encoder that learns, a classifier, or an adapter of a generator."""


@app.command()
def vqvae(
    audio_dir: AudioDir,
    out: RunDir,
    minutes: Annotated[float | None, typer.Option(help="How long it learns.")] = None,
    cpu_minutes: Annotated[float | None, typer.Option(help="The same in time of all cores together.")] = None,
    epochs: Annotated[float | None, typer.Option(help="How often it learns from every clip, instead.")] = None,
    start_from: Annotated[Path | None, typer.Option("--from", help="Begin with this checkpoint's weights.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that is in the folder.")] = False,
    preset: Annotated[str | None, typer.Option(help="The model: default or reference.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, as the config.toml of a run.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Crops a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest of the cycle.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to compute with, without a GPU.")] = None,
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


@app.command()
def classifier(
    audio_dir: AudioDir,
    out: RunDir,
    base: Annotated[
        str | None,
        typer.Option(help="What it begins from: a hub id as facebook/wav2vec2-base, or a directory."),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(help="How often it learns from every clip; 20 unless said."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="How long it learns, instead.")] = None,
    cpu_minutes: Annotated[float | None, typer.Option(help="The same in time of all cores together.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that is in the folder.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings, as the config.toml of a run.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Crops a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest of the cycle.")] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="So many validations without a better macro F1 end it; 10 unless said."),
    ] = None,
    train_front_end: Annotated[
        bool | None,
        typer.Option("--train-front-end", help="The convolutions too: for a base with random weights."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to compute with, without a GPU.")] = None,
) -> None:
    """Fine-tune a pretrained model of raw sound to tell the labels of your clips apart; its insides give the vectors.

    Ends with accuracy, F1 and the confusion matrix on clips held back for nothing else. What one artist or group made
    is never on both sides.
    """
    from audiorec.training.classifier.summary import trained_summary
    from audiorec.training.classifier.train import train

    given = {"base": base, "epochs": epochs, "minutes": minutes, "cpu_minutes": cpu_minutes, "patience": patience}
    given |= {"batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    given |= {"train_front_end": train_front_end}
    with reported():
        trained = train(
            audio_dir, out, given, config_path=config, resume=resume, n_threads=threads, bar=progress, say=show
        )
        show(trained_summary(trained, out))


@app.command()
def contrastive(
    audio_dir: AudioDir,
    out: RunDir,
    start_from: Annotated[str | None, typer.Option("--from", help="base, or a checkpoint to go on from.")] = None,
    minutes: Annotated[float | None, typer.Option(help="How long it learns.")] = None,
    cpu_minutes: Annotated[float | None, typer.Option(help="The same in time of all cores together.")] = None,
    epochs: Annotated[float | None, typer.Option(help="How often it learns from every clip, instead.")] = None,
    held_back: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.9, help="The share of clips that only tell whether it helped; 0.2 unless said."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that is in the folder.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings, as the config.toml of a run.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Clips a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest of the cycle.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to compute with, without a GPU.")] = None,
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


@app.command()
def generator(
    model_dir: Annotated[
        Path,
        typer.Argument(
            parser=named_path,
            metavar="MODEL_DIR",
            help="A model directory with its converted clips, a folder of such, or one of clips.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            parser=named_path, metavar="<path>", help="The run's folder, as exp/NAME; the adapter is called NAME."
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option(help="The generator: a hub id or a directory of AudioLDM, AudioLDM2 or MusicLDM."),
    ] = None,
    caption: Annotated[
        str | None,
        typer.Option(
            help='How a clip is called, as "a {label} clip by {artist}, {title}", columns in braces; unless said, the '
            "column caption where there is one, and that."
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="How long it learns.")] = None,
    cpu_minutes: Annotated[float | None, typer.Option(help="The same in time of all cores together.")] = None,
    steps: Annotated[int | None, typer.Option(help="How many batches it learns, instead.")] = None,
    rank: Annotated[int | None, typer.Option(help="How much the adapter can hold; 8 unless said.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="How long a crop is; unless said, as long as what the base generates by itself."),
    ] = None,
    samples_every: Annotated[
        int | None,
        typer.Option(help="Steps between sounds in TensorBoard; 500 unless said, 0 for none."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that is in the folder.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings, as the config.toml of a run.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Clips a step; 4 unless said.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest of the cycle.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to compute with, without a GPU.")] = None,
) -> None:
    """Tune a generator on your own clips: an adapter (LoRA) that `generate` and a service load by its name.

    Ends by measuring, on clips held back for nothing else, whether it helped; what did not is not recommended.
    """
    from audiorec.training.generator.tune import tune
    from audiorec.training.summary import tuned_summary

    given = {"base": base, "caption": caption, "minutes": minutes, "cpu_minutes": cpu_minutes, "steps": steps}
    given |= {"rank": rank, "seconds": seconds, "samples_every": samples_every, "batch_size": batch_size}
    given |= {"learning_rate": learning_rate, "seed": seed}
    with reported():
        tuned = tune(
            model_dir,
            out,
            given,
            config_path=config,
            resume=resume,
            n_threads=threads,
            progress=progress,
            say=show,
        )
        show(tuned_summary(tuned))
