"""``lakehouse features``."""

import json
from typing import Annotated

import typer

from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.lineage import configure_lineage
from lakehouse.settings import get_settings
from lakehouse.telemetry import configure_logging
from lakehouse.tracing import configure_tracing

app = typer.Typer()


@app.command()
def features(
    start: Annotated[
        str, typer.Option(help="First ingestion time of the interval, ISO 8601, UTC.")
    ],
    end: Annotated[str, typer.Option(help="Ingestion time at which the interval ends, excluded.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Recompute the inputs of models that batch's runs of an interval have moved.

    Batch must have published the interval's trades and quotes. The interval may be a month.

    Example: lakehouse features --start 2024-08-09T00:00 --end 2024-08-09T01:00
    """
    from batch.features.job import FEATURES, FeaturesJob, moved_hours
    from lakehouse.spark import spark_session

    interval, settings = Interval.parse(start, end), get_settings("batch")
    configure_logging("features", settings.log_level)
    configure_tracing("features", settings.otlp_endpoint)
    configure_lineage("features", settings)
    catalog = load_catalog(settings)
    hours, rows = moved_hours(catalog, interval), 0
    if hours:  # an engine is not begun for an hour in which nothing has come
        spark = spark_session(settings, "features")
        try:
            rows = FeaturesJob(spark, catalog).run(interval).rows[FEATURES]
        finally:
            spark.stop()
    if as_json:
        said = {"business_hours": [hour.isoformat() for hour in hours], "rows": {FEATURES: rows}}
        typer.echo(json.dumps(said))
    else:
        typer.echo(f"features {interval}: {len(hours)} business hours, {rows} rows of {FEATURES}")
