"""``lakehouse crm``: changes of customers, as a CRM's capture would send them."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import typer

from ingestion.crm.changes import Protection, change_key
from ingestion.crm.simulator import CrmProfile, sent_changes
from ingestion.options import AsJson, Duplicate, OutOfOrder, Rate
from ingestion.sending import connected_producer
from ingestion.simulating import send_made
from lakehouse.kafka import CUSTOMERS_TOPIC
from lakehouse.settings import get_settings

app = typer.Typer(help="Customers: changes captured from a CRM.")


@app.callback()
def _crm() -> None:
    """Keep the verb a word of its own, although there is only one."""


@app.command()
def simulate(
    *,
    customers: Annotated[int, typer.Option(min=1, help="Customers at the start.")] = 100,
    changes: Annotated[int, typer.Option(min=0, help="Changes after that.")] = 1_000,
    seed: Annotated[int, typer.Option(help="Another seed, another history.")] = 0,
    start: Annotated[
        datetime | None,
        typer.Option(help="Time of the first change, UTC; left out, the last one is about now."),
    ] = None,
    pace: Annotated[
        float, typer.Option(min=0.001, help="Seconds of the CRM's time between two changes.")
    ] = 60.0,
    rate: Rate = 0.0,
    duplicate: Duplicate = 0.0,
    out_of_order: OutOfOrder = 0.0,
    as_json: AsJson = False,
) -> None:
    """Send what the change data capture of a simulated CRM would send; personal data encrypted.

    Customers are read by a snapshot, created, changed (several times in a row too), deleted,
    created again and read again. The same options with --start make the same changes.

    Example: lakehouse crm simulate --customers 200 --changes 2000 --duplicate 0.05
    """
    from lakehouse.privacy.stores import key_store

    ago = timedelta(seconds=pace * (customers + changes))
    profile = CrmProfile(
        start=start.replace(tzinfo=UTC) if start else datetime.now(UTC) - ago,
        customers=customers,
        changes=changes,
        seed=seed,
        pace_seconds=pace,
        duplicate=duplicate,
        out_of_order=out_of_order,
    )
    settings = get_settings("ingest")
    protection = Protection(key_store(settings))
    connect = partial(
        connected_producer, CUSTOMERS_TOPIC, change_key, prepared=protection.protected
    )
    send_made(sent_changes(profile), connect, doing="simulating", as_json=as_json, rate=rate)
