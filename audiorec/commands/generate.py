"""The command that makes a sound from words without a server, and shows the real clips nearest to it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiorec.terminal import has_bars, parse_json, reported, show, show_json

if TYPE_CHECKING:
    from audiorec.generate import Facts, Prompt, Sound
    from audiorec.recommend import Recommendation

app = typer.Typer()

NOTHING_WRITTEN = "stopped; nothing was written"


@contextmanager
def step_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of steps, whose number is known at the first call."""
    from tqdm import tqdm

    with tqdm(desc="generate", unit="step", disable=not has_bars()) as bar:

        def on_step(n_done: int, n_steps: int) -> None:
            bar.total = n_steps
            bar.update(n_done - bar.n)

        yield on_step


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What the sound is to be, in words.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The sound: .wav, .flac, .mp3, .ogg or .opus.")],
    model: Annotated[str, typer.Option(help="The model: a directory, or an id of the Hugging Face hub.")],
    neighbours: Annotated[
        Path | None,
        typer.Option("--neighbours", help="A model directory: show its clips nearest to the sound."),
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="How long; the model's own unless said.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of denoising; more take longer.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely it follows the words.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What the sound is not to be.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same gives the same sound.")] = None,
    adapter: Annotated[str | None, typer.Option(help="A fine-tuning of the model: its name in --adapters.")] = None,
    adapters: Annotated[Path | None, typer.Option(help="The folder of adapters.")] = None,
    preset: Annotated[str | None, typer.Option(help="fast: DPM-Solver++ with 20 steps.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="How many neighbours.")] = 10,
    max_per_artist: Annotated[int | None, typer.Option(help="At most so many of them by one artist.")] = None,
    filter: Annotated[str | None, typer.Option(help='Conditions as JSON: {"label": "dog"}.')] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
    dtype: Annotated[str | None, typer.Option(help="In what: float32, bfloat16 or float16.")] = None,
    compile: Annotated[bool, typer.Option("--compile", help="By torch.compile; pays with many sounds.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to compute with, on the CPU.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Make a sound from words; no server needed.

    With --neighbours, the real clips nearest to it too: embedded by the very recipe of the catalogue, and, where the
    release reads texts, those nearest to the words. Exit code 3: the model gave nothing usable, and there is no file.
    """
    from audiorec.files import replacing
    from audiorec.generate import Prompt, encode_sound, load_generator, with_seed
    from audiorec.generate.sound import format_of

    with reported(stopped=NOTHING_WRITTEN):
        form = format_of(out)
        _check_free(out, force)
        if preset not in (None, "fast"):
            raise typer.BadParameter(f"got preset '{preset}', expected fast")
        options: dict[str, Any] = {"max_per_artist": max_per_artist}
        options["filter"] = None if filter is None else parse_json(filter)
        nearest = _opened(neighbours, k, options)
        generator = load_generator(
            model, device=device, dtype=dtype, compile=compile, adapters_dir=adapters, n_threads=threads
        )
        given = {"seconds": seconds, "steps": steps, "guidance": guidance, "negative_prompt": negative_prompt}
        given |= {"seed": seed, "adapter": adapter, "preset": preset}
        asked = with_seed(generator.check(Prompt.model_validate({"prompt": prompt, **given})))
        with step_bar() as on_step:
            sound = generator.generate(asked, on_step)
        content = encode_sound(sound, form)
        with replacing(out) as file:
            file.write(content)
        found = None
        if nearest is not None:
            from audiorec.recommend import recommend

            found = recommend(sound, nearest, k, prompt=asked.prompt, **options)
        if as_json:
            show_json(_to_json(out, asked, generator.facts, sound, found))
        else:
            show(_told(out, asked, generator.facts, sound, found))


def _check_free(out: Path, force: bool) -> None:
    if out.is_dir() or (out.exists() and not force):
        raise typer.BadParameter(f"got {out}, which is there already: name another file, or --force")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"got {out}, expected a folder that is there and can be written to")


def _opened(model_dir: Path | None, k: int, options: dict[str, Any]) -> Any:
    """The catalogue, after a look at the options: hours of work must not end with a wrong filter."""
    if model_dir is None:
        return None
    from audiorec.nearest import Nearest

    nearest = Nearest(model_dir)
    nearest.search(nearest.release.embeddings[0], k, **options)
    return nearest


def _to_json(
    out: Path, asked: "Prompt", facts: "Facts", sound: "Sound", found: "Recommendation | None"
) -> dict[str, Any]:
    told = {
        "sound": {"path": str(out), "duration_s": sound.duration_s, "sample_rate_hz": sound.rate_hz},
        "request": asked.model_dump(),
        "model": facts.model_dump(include={"name", "kind", "licence", "fingerprint"}),
    }
    return told if found is None else {**told, **found.to_json()}


def _told(out: Path, asked: "Prompt", facts: "Facts", sound: "Sound", found: "Recommendation | None") -> str:
    from audiorec.report import neighbours_table

    settings = [f"guidance {asked.guidance:g}", f"seed {asked.seed}"]
    settings += [f"{asked.steps} steps"] * (asked.steps is not None)
    lines = [
        f"{out}: {sound.duration_s:.2f} s at {sound.rate_hz:,} Hz, {', '.join(settings)}",
        f"made by {facts.name} ({facts.kind}); licence of its weights: {facts.licence}",
    ]
    if found is not None:
        lines += ["", "nearest to the sound:", neighbours_table(found.by_sound.to_dicts())]
    if found is not None and found.by_prompt is not None:
        lines += ["", "nearest to the words:", neighbours_table(found.by_prompt.to_dicts())]
        lines.append(f"\nnamed by both: {', '.join(found.agreed) or 'none'}")
    return "\n".join(lines)
