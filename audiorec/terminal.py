"""What every command does alike: it prints text and JSON, shows how far it is, and ends with an error's exit code."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from audiorec.errors import AudiorecError
from audiorec.quoting import harmless

EXIT_SOME_REFUSED = 3
EXIT_NOT_CURRENT = 8


@contextmanager
def reported() -> Iterator[None]:
    """An error of the person's making becomes one line and its exit code, in commands and in scripts alike."""
    try:
        yield
    except AudiorecError as error:
        typer.secho(f"error: {harmless(error.message)}", fg="red", err=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.secho("stopped; the same command goes on where it was", err=True)
        raise SystemExit(130) from None


def show(text: str) -> None:
    """Prints text that may hold anything that files and catalogues say."""
    typer.echo(harmless(text, kept="\n"))


def show_json(value: object, indent: int | None = None) -> None:
    """JSON as text that can be read: what cannot be seen is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    typer.echo("".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text))


def progress(items: Any, *, total: int, stage: str, unit: str) -> Any:
    """A bar with rate and time left; none where there is nothing to do or nobody to look."""
    from tqdm import tqdm

    return tqdm(items, total=total, desc=stage, unit=unit, disable=not total or not has_bars())


def has_bars() -> bool:
    return sys.stderr.isatty() or "AUDIOREC_PROGRESS" in os.environ
