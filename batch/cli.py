"""``lakehouse batch``, ``reconcile``, ``backfill``, ``features``, ``maintain`` and ``rebuild``."""

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from batch.features.cli import app as features_app
from batch.maintenance.cli import app as maintenance_app
from batch.rebuild.cli import app as rebuild_app
from lakehouse.catalog import load_catalog
from lakehouse.errors import VerdictError
from lakehouse.intervals import Interval, parse_time
from lakehouse.lineage import configure_lineage
from lakehouse.settings import get_settings
from lakehouse.telemetry import configure_logging
from lakehouse.tracing import configure_tracing

app = typer.Typer()
app.registered_commands += features_app.registered_commands
app.registered_commands += maintenance_app.registered_commands
app.add_typer(rebuild_app)

Start = Annotated[str, typer.Option(help="First ingestion time of the interval, ISO 8601, UTC.")]
End = Annotated[str, typer.Option(help="Ingestion time at which the interval ends, excluded.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Wait = Annotated[
    float,
    typer.Option(
        "--wait-seconds",
        min=0,
        help="How long to wait for the lander to pass the interval's end, at most.",
    ),
]
# Three of the lander's heartbeats: by then it has, if it runs.
WAIT_SECONDS = 15.0
Datasets = Annotated[list[str] | None, typer.Option("--dataset", help="Only this one; repeatable.")]


@app.command()
def batch(
    start: Start,
    end: End,
    dataset: Datasets = None,
    wait_seconds: Wait = WAIT_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Recompute the business hours that events ingested in an interval touch, and publish them.

    Example: lakehouse batch --start 2024-08-09T00:00 --end 2024-08-09T01:00
    """
    from batch.dataset import bronze_table
    from batch.idle import run_idle
    from batch.job import BatchJob
    from batch.landing import wait_until_landed
    from batch.references import ReferenceJob, chosen_for_batch, is_due
    from lakehouse.spark import spark_session

    interval, (datasets, references) = Interval.parse(start, end), chosen_for_batch(dataset)
    settings = get_settings("batch")
    configure_logging("batch", settings.log_level)
    configure_tracing("batch", settings.otlp_endpoint)
    configure_lineage("batch", settings)
    catalog = load_catalog(settings)
    wait_until_landed(catalog, map(bronze_table, datasets), interval.end, seconds=wait_seconds)
    # An engine is not begun for an hour in which nothing has come.
    idle = {one.name: run_idle(catalog, one, interval) for one in datasets}
    reports = [report for report in idle.values() if report is not None]
    busy = [one for one in datasets if idle[one.name] is None]
    due = [one for one in references if is_due(catalog, one, interval)]
    if busy or due:
        spark = spark_session(settings, "batch")
        try:
            reports += [BatchJob(spark, catalog, settings, one).run(interval) for one in busy]
            for one in due:
                if (report := ReferenceJob(spark, catalog, one).run(interval)) is not None:
                    reports.append(report)
        finally:
            spark.stop()
    if as_json:
        typer.echo(
            json.dumps(
                {
                    report.dataset: {
                        "run_id": report.run_id,
                        "business_hours": [hour.isoformat() for hour in report.business_hours],
                        "bronze_snapshot_id": report.snapshot_id,
                        "rows": dict(report.rows),
                        "conflicts": report.conflicts,
                    }
                    for report in reports
                }
            )
        )
    elif not reports:
        typer.echo(f"{interval}: no file is new")
    else:
        for report in reports:
            rows = ", ".join(f"{count} rows of {table}" for table, count in report.rows.items())
            typer.echo(
                f"{report.dataset} {interval}: {len(report.business_hours)} business hours"
                + (f", {rows}" if rows else "")
            )


@app.command()
def landed(
    through: Annotated[str, typer.Option(help="Ingestion time to be passed, ISO 8601, UTC.")],
    dataset: Datasets = None,
    wait_seconds: Wait = WAIT_SECONDS,
) -> None:
    """Wait until the lander has passed a time; say what is behind if it has not.

    Example: lakehouse landed --through 2024-08-09T01:00 --wait-seconds 600
    """
    from batch.dataset import bronze_table
    from batch.landing import wait_until_landed
    from batch.references import chosen_for_batch

    (datasets, _), time = chosen_for_batch(dataset), parse_time(through)
    tables = [bronze_table(one) for one in datasets]
    wait_until_landed(load_catalog(get_settings("batch")), tables, time, seconds=wait_seconds)
    typer.echo(f"all that was ingested before {time.isoformat()} is in {', '.join(tables)}")


@app.command()
def backfill(
    *,
    start: Start,
    end: End,
    step_hours: Annotated[
        float, typer.Option("--step-hours", min=0.01, help="Length of each run's interval.")
    ] = 1.0,
    dataset: Datasets = None,
    parallel: Annotated[
        int,
        typer.Option(
            min=1,
            help="How many datasets are worked on at the same time. The intervals of one dataset "
            "publish to the same tables, so they follow one another.",
        ),
    ] = 1,
    reverse: Annotated[bool, typer.Option("--reverse", help="The latest interval first.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also what this backfill has published before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be read and written.")
    ] = False,
) -> None:
    """Run batch over a stretch of past ingestion time, interval by interval.

    Started again with the same times, it goes on where it stopped. Lander, speed layer and hourly
    runs may go on meanwhile. Reference data are brought up to date in one run.

    Example: lakehouse backfill --start 2024-08-01 --end 2024-09-01 --parallel 2
    """
    from batch.backfill import Backfill, Plan, pending, planned
    from batch.job import BatchJob, Report
    from batch.plan import read_and_written
    from batch.references import ReferenceJob, chosen_for_batch
    from lakehouse.spark import spark_session

    plan = Plan(Interval.parse(start, end), timedelta(hours=step_hours), reverse)
    datasets, references = chosen_for_batch(dataset)
    settings = get_settings("batch")
    catalog = load_catalog(settings)
    all_runs = planned(catalog, [*datasets, *references], plan)
    left = sum(map(len, pending(catalog, all_runs, plan, again=again).values()))
    typer.echo(f"{left} of {sum(map(len, all_runs.values()))} runs are left to do")
    if dry_run:
        for line in read_and_written(catalog, [*datasets, *references], plan.interval):
            typer.echo(line)
        return
    configure_logging("backfill", settings.log_level)
    configure_tracing("backfill", settings.otlp_endpoint)
    configure_lineage("backfill", settings)
    spark = spark_session(settings, "backfill")
    try:
        # A session of its own for each: their temporary views must not meet.
        jobs: list[BatchJob | ReferenceJob] = [
            *(BatchJob(spark.newSession(), catalog, settings, one) for one in datasets),
            *(ReferenceJob(spark.newSession(), catalog, one) for one in references),
        ]
        work = Backfill(jobs, catalog)

        def tell(report: Report) -> None:
            nonlocal left
            left -= 1
            rows = sum(report.rows.values())
            typer.echo(f"{report.dataset} {report.interval}: {rows} rows; {left} runs are left")

        work.run(plan, again=again, parallel=parallel, tell=tell)
    finally:
        spark.stop()


class DriftError(VerdictError):
    """The layers contradict each other."""


@app.command()
def reconcile(start: Start, end: End, dataset: Datasets = None, as_json: AsJson = False) -> None:
    """Compare the layers after an interval, keep the record, prune what batch has taken over.

    Exits with 3 when the layers contradict each other; nothing is pruned then.

    Example: lakehouse reconcile --start 2024-08-09T00:00 --end 2024-08-09T01:00
    """
    from batch.datasets import chosen
    from batch.reconciliation import Reconciliation
    from lakehouse.spark import spark_session

    interval, datasets = Interval.parse(start, end), chosen(dataset)
    settings = get_settings("batch")
    configure_logging("reconcile", settings.log_level)
    configure_tracing("reconcile", settings.otlp_endpoint)
    configure_lineage("reconcile", settings)
    spark, catalog = spark_session(settings, "reconcile"), load_catalog(settings)
    try:
        records = [
            record
            for one in datasets
            for record in Reconciliation(spark, catalog, one).run(interval)
        ]
    finally:
        spark.stop()
    rows = [
        {"table": record.table, "verdict": record.verdict, "pruned": record.pruned}
        | {name: value for name, value in asdict(record.comparison).items() if name != "sample"}
        for record in records
    ]
    if as_json:
        typer.echo(json.dumps(rows, default=str))
    else:
        for row in rows:
            typer.echo(", ".join(f"{name} {value}" for name, value in row.items()))
    if drifted := [record.table for record in records if not record.comparison.agrees]:
        raise DriftError(
            f"the layers disagree on {', '.join(drifted)}: see drift_sample in "
            "ops.reconciliations; nothing was pruned"
        )
