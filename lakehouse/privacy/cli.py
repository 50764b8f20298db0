"""``lakehouse erase``: a person's right to be forgotten."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.settings import get_settings

app = typer.Typer()


@app.command()
def erase(
    customer: Annotated[str, typer.Option(help="The CRM's id of the customer.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Destroy a customer's key, for good: nobody can read their personal data from then on.

    Every copy in the log, the tables and their snapshots was encrypted with it. What the customer
    did stays, under the id. Running it again changes nothing; if it failed, run it again.

    Example: lakehouse erase --customer C-00042
    """
    from lakehouse.catalog import load_catalog
    from lakehouse.privacy.erasure import erase as erase_customer
    from lakehouse.privacy.stores import key_store

    settings = get_settings()
    erasure = erase_customer(key_store(settings), load_catalog(settings), customer)
    if as_json:
        typer.echo(json.dumps(asdict(erasure), default=str))
    else:
        typer.echo(f"{erasure.customer_id}: personal data erased {erasure.erased_at.isoformat()}")
