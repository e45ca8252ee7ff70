"""What every command does alike: it prints text and JSON, shows how far it is, and ends with an error's exit code."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from audiorec.errors import AudiorecError
from audiorec.quoting import harmless

EXIT_SOME_REFUSED = 3
EXIT_NOT_CURRENT = 8


@contextmanager
def reported(stopped: str = "stopped; the same command goes on where it was") -> Iterator[None]:
    """An error of the person's making becomes one line and its exit code, in commands and in scripts alike.

    stopped: what is said after Ctrl-C.
    """
    try:
        yield
    except AudiorecError as error:
        typer.secho(f"error: {harmless(error.message)}", fg="red", err=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.secho(stopped, err=True)
        raise SystemExit(130) from None


def show(text: str) -> None:
    """Prints text that may hold anything that files and catalogues say."""
    typer.echo(harmless(text, kept="\n"))


def show_json(value: object, indent: int | None = None) -> None:
    """JSON as text that can be read: what cannot be seen is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    typer.echo("".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text))


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


def progress(items: Any, *, total: int, stage: str, unit: str) -> Any:
    """A bar with rate and time left; none where there is nothing to do or nobody to look."""
    from tqdm import tqdm

    return tqdm(items, total=total, desc=stage, unit=unit, disable=not total or not has_bars())


def has_bars() -> bool:
    return sys.stderr.isatty() or "AUDIOREC_PROGRESS" in os.environ


def end_not_current(name: str, held_back: str, model_dir: Path) -> None:
    """Says why a release is not current and what makes it so, and ends with the exit code for that; if it is not."""
    if held_back:
        show(f"\nrelease {name} is not current: {held_back}\nto serve it all the same: audiorec use {model_dir} {name}")
        raise typer.Exit(EXIT_NOT_CURRENT)
