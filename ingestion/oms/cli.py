"""``lakehouse oms``: our clients' executions."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ingestion.oms.desk import customer_key
from ingestion.oms.market import recorded_market
from ingestion.oms.simulator import OmsProfile, simulated_fills
from ingestion.options import AsJson, Bad, Duplicate, OutOfOrder, Rate, share
from ingestion.replay import adapters_for
from ingestion.sending import connected_producer
from ingestion.simulating import send_made
from lakehouse.kafka import FILLS_TOPIC

app = typer.Typer(help="Our clients' executions.")


@app.callback()
def _oms() -> None:
    """Keep the verb a word of its own, although there is only one."""


@app.command()
def simulate(
    *,
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Recordings of the market, named after their venues.", exists=True, dir_okay=False
        ),
    ],
    customers: Annotated[int, typer.Option(min=1, help="Number of clients, Zipf-skewed.")] = 20,
    seed: Annotated[int, typer.Option(help="Another seed, another day of the same clients.")] = 0,
    fills: Annotated[int, typer.Option(min=1, help="Number of messages.")] = 1_000,
    rate: Rate = 0.0,
    late: Annotated[float, share("fills on any earlier trade")] = 0.0,
    duplicate: Duplicate = 0.0,
    out_of_order: OutOfOrder = 0.0,
    busts: Annotated[float, share("busts")] = 0.0,
    bad: Bad = 0.0,
    as_json: AsJson = False,
) -> None:
    """Let clients trade on a recorded market, and send their fills to the log.

    The same options and recordings give the same events every time.

    Example: lakehouse oms simulate demo/data/*.gz --customers 20 --seed 7 --busts 0.02
    """
    profile = OmsProfile(
        customers=customers,
        fills=fills,
        seed=seed,
        late=late,
        duplicate=duplicate,
        out_of_order=out_of_order,
        busts=busts,
        bad=bad,
    )
    messages = simulated_fills(recorded_market(adapters_for(files, None)), profile)
    connect = partial(connected_producer, FILLS_TOPIC, customer_key)
    send_made(messages, connect, doing="trading", as_json=as_json, rate=rate)
