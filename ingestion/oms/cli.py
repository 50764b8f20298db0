"""``lakehouse oms``: our clients' executions."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ingestion.load import LoadCounts, send_load
from ingestion.oms.desk import customer_key
from ingestion.oms.market import recorded_market
from ingestion.oms.simulator import OmsProfile, simulated_fills
from ingestion.replay import adapters_for
from ingestion.reporting import load_summary, progress, summarise
from ingestion.sending import connected_producer, stopped_by_signal
from lakehouse.kafka import FILLS_TOPIC

app = typer.Typer(help="Our clients' executions.")


@app.callback()
def _oms() -> None:
    """Keep the verb a word of its own, although there is only one."""


def _share(what: str) -> Any:
    return typer.Option(min=0, max=1, help=f"Share of {what}, 0 to 1.", rich_help_panel="Faults")


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
    rate: Annotated[float, typer.Option(min=0, help="Messages a second; 0: no limit.")] = 0.0,
    late: Annotated[float, _share("fills on any earlier trade")] = 0.0,
    duplicate: Annotated[float, _share("repeated fills")] = 0.0,
    out_of_order: Annotated[float, _share("fills that later messages overtake")] = 0.0,
    busts: Annotated[float, _share("busts")] = 0.0,
    bad: Annotated[float, _share("messages that must be refused")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
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
    started = time.monotonic()
    producer = connected_producer(FILLS_TOPIC, customer_key)
    with producer, stopped_by_signal() as stop, progress("trading") as show:

        def on_progress(counts: LoadCounts) -> None:
            show(counts.events, counts.undecodable)

        counts = send_load(messages, producer, rate=rate, stop=stop, on_progress=on_progress)
        producer.flush()
    summarise(load_summary(counts, started), as_json=as_json)
