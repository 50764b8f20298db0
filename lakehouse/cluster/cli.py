"""``lakehouse drivers``: verbs that run on the Spark cluster, whoever asked for them."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.cluster import drivers
from lakehouse.settings import get_settings

app = typer.Typer(no_args_is_help=True, help="Verbs on the Spark cluster: submit, watch, kill.")

DriverId = Annotated[str, typer.Argument(help="As `drivers submit` has printed it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
def submit(
    words: Annotated[list[str], typer.Argument(help="The verb and its options, after `--`.")],
    as_json: AsJson = False,
) -> None:
    """Submit a verb to the cluster, and print the driver's id; it runs on when this has ended.

    Example: lakehouse drivers submit -- batch --start 2024-08-09T00:00 --end 2024-08-09T01:00
    """
    settings = get_settings("orchestration")
    driver_id = drivers.submit(settings, words)
    where = {"driver_id": driver_id, "page": settings.spark_master_page}
    typer.echo(json.dumps(where) if as_json else driver_id)


@app.command()
def show(driver_id: DriverId) -> None:
    """Print what the cluster knows of a driver, as JSON.

    Example: lakehouse drivers show driver-20240809000005-0001
    """
    typer.echo(json.dumps(asdict(drivers.find(get_settings("orchestration"), driver_id))))


@app.command()
def log(driver_id: DriverId) -> None:
    """Print the end of what a driver has said.

    Example: lakehouse drivers log driver-20240809000005-0001
    """
    typer.echo(drivers.log(drivers.find(get_settings("orchestration"), driver_id)))


@app.command()
def kill(driver_id: DriverId) -> None:
    """Kill a driver.

    Example: lakehouse drivers kill driver-20240809000005-0001
    """
    drivers.kill(get_settings("orchestration"), driver_id)
