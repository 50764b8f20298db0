"""``lakehouse api``: serve it; keys for who asks."""

import json
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lakehouse.embedded import API_PORT
from lakehouse.processes import LOOPBACK
from lakehouse.settings import get_settings

app = typer.Typer(no_args_is_help=True, help="The REST API: serve it, let clients in.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys: make, list, revoke.")
app.add_typer(keys_app, name="keys")


class RoleChoice(StrEnum):
    """What a key may do."""

    READER = "reader"
    OPERATOR = "operator"


class DatasetChoice(StrEnum):
    """What a key may reach."""

    MARKET = "market"
    CLIENTS = "clients"
    OPERATIONS = "operations"


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Where to listen.")] = API_PORT,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 in a container.")
    ] = LOOPBACK,
    certificate: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="PEM file of a certificate and its key; with it, HTTPS and nothing else.",
        ),
    ] = None,
) -> None:
    """Answer HTTP until stopped: rows at /v1, their description at /openapi.json, a page at /.

    At the first start it makes a key for whoever owns this home, unless keys are in a database that
    others use too: `lakehouse api address` has it.

    Example: lakehouse api serve --port 8000
    """
    from serving.api.server import serve as serve_api

    serve_api(get_settings("serving"), host=host, port=port, certificate=certificate)


@app.command()
def address(
    port: Annotated[
        int | None, typer.Option(help="Where it listens, if `lakehouse up` has not started it.")
    ] = None,
) -> None:
    """Print the address of the page, with the local key after the #, which no server is sent.

    Example: lakehouse api address
    """
    from serving.api.local_key import local_address

    typer.echo(local_address(get_settings("serving"), port))


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    role: Annotated[
        RoleChoice, typer.Option(help="A reader reads; an operator may ask for changes.")
    ] = RoleChoice.READER,
    dataset: Annotated[
        list[DatasetChoice] | None, typer.Option(help="What it reaches; repeat it. [market]")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="Days until it ends; without, it goes on.")
    ] = None,
) -> None:
    """Make an API key and print it, once: it is kept as a hash.

    Example: lakehouse api keys create risk-desk --dataset market --dataset clients --days 90
    """
    from serving.api.keys import ApiKeys

    made = ApiKeys.of(get_settings("serving")).create(
        name,
        role=role.value,
        datasets=[one.value for one in dataset or [DatasetChoice.MARKET]],
        lifetime=None if days is None else timedelta(days=days),
    )
    typer.echo(made)


@keys_app.command(name="list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """List the keys there are and were, without their secrets.

    Example: lakehouse api keys list
    """
    from serving.api.keys import ApiKeys

    found = ApiKeys.of(get_settings("serving")).all()
    if as_json:
        facts = [{**asdict(key), "datasets": sorted(key.datasets)} for key in found]
        typer.echo(json.dumps(facts, default=str))
        return
    shown = Table(box=None)
    shown.add_column("id", no_wrap=True)  # for `revoke` to take
    for heading in ("name", "role", "datasets", "created", "expires", "revoked"):
        shown.add_column(heading)
    for key in found:
        moments = (key.created_at, key.expires_at, key.revoked_at)
        told = ("-" if moment is None else f"{moment:%Y-%m-%d %H:%M}" for moment in moments)
        shown.add_row(key.id, key.name, key.role, ", ".join(sorted(key.datasets)), *told)
    Console().print(shown)


@keys_app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Its id, of the list.")]) -> None:
    """Let a key open nothing any more; it takes seconds until every API knows.

    Example: lakehouse api keys revoke 3f9a0c1b2d4e
    """
    from serving.api.keys import ApiKeys

    ApiKeys.of(get_settings("serving")).revoke(key_id)
    typer.echo(f"revoked {key_id}")
