"""The commands on the API keys of a service."""

from pathlib import Path
from typing import Annotated

import typer

from audiorec.terminal import reported, show, show_json

app = typer.Typer(no_args_is_help=True, help="The API keys of a service.")


KeysFile = Annotated[
    Path,
    typer.Option("--keys-file", envvar="AUDIOREC_KEYS_FILE", help="The file that the service reads its keys from."),
]
KeyName = Annotated[str, typer.Argument(help="Whose key it is, as logs are to say it.")]


@app.callback()
def keys() -> None:
    """Who may ask a service that was given a keys file. A change counts at once, without a restart."""


@app.command("create")
def keys_create(
    name: KeyName,
    keys_file: KeysFile,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it is good for: read, write, generate, admin; may be repeated. None implies another."),
    ] = None,
    rate: Annotated[str | None, typer.Option(help="How often it may ask, as 60/minute.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends: 90d, 12h, or a day as 2027-01-31.")] = None,
) -> None:
    """Make a key and print it, once: the file has only its hash. Without --scope it may read."""
    from audiorec.api.keys import create_key, parse_end

    with reported():
        expires_at = parse_end(expires) if expires else None
        typer.echo(create_key(keys_file, name, scope or ["read"], rate=rate, expires_at=expires_at))
        typer.secho(f"the key of {name}, shown this once: send it as 'Authorization: Bearer KEY'", err=True)


@app.command("list")
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


@app.command("revoke")
def keys_revoke(name: KeyName, keys_file: KeysFile) -> None:
    """End a key now. Its name can be given to another."""
    from audiorec.api.keys import revoke_key

    with reported():
        revoke_key(keys_file, name)
        show(f"the key of {name} is revoked")
