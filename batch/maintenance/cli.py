"""``lakehouse maintain``."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lakehouse.catalog import load_catalog
from lakehouse.errors import LakehouseError
from lakehouse.intervals import parse_time
from lakehouse.settings import get_settings
from lakehouse.telemetry import configure_logging
from lakehouse.tracing import configure_tracing

if TYPE_CHECKING:
    from batch.maintenance.report import Report

app = typer.Typer()
KIB = 1 << 10


class MaintenanceError(LakehouseError):
    """The upkeep of some tables failed."""


class UnknownTableError(LakehouseError):
    """There is no contract of that name."""

    exit_code = 2


@app.command()
def maintain(
    table: Annotated[
        list[str] | None, typer.Option(help="A table to keep up; repeat it; all when left out.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(help="Time that ages are measured against, ISO 8601, UTC; now when left out."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only tell what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Compact, retire, expire and clear up tables, while the layers go on.

    Puts small files together, except those of a stream's newest minutes; deletes partitions that
    the contract no longer keeps; expires snapshots; deletes files that nothing leads to; drops the
    branches of runs that died, and what has been in quarantine for a month. What a run that is at
    work needs is left to the next time. Each table's report is kept in ops.maintenance. Exits with
    1 when the upkeep of a table failed.

    Example: lakehouse maintain --table bronze.market_trades --dry-run
    """
    import schemas
    from batch.maintenance.job import Maintenance
    from batch.maintenance.report import Outcome
    from lakehouse.spark import spark_session

    known = schemas.contracts()
    if unknown := [name for name in table or () if name not in known]:
        raise UnknownTableError(f"there is no contract of {', '.join(unknown)}")
    time = datetime.now(UTC) if as_of is None else parse_time(as_of)
    # The owner of all tables: what the lander lands, batch may not touch.
    settings = get_settings("orchestration")
    configure_logging("maintain", settings.log_level)
    configure_tracing("maintain", settings.otlp_endpoint)
    errors = Console(stderr=True)
    spark = spark_session(settings, "maintain")
    try:
        with errors.status("looking") as spinner:
            reports = Maintenance(spark, load_catalog(settings), time, dry_run=dry_run).run(
                [known[name] for name in table or known], spinner.update
            )
    finally:
        spark.stop()
    if as_json:
        typer.echo(json.dumps([asdict(report) for report in reports], default=str))
    else:
        _print(reports)
    if failed := [report.table for report in reports if report.outcome == Outcome.FAILED]:
        raise MaintenanceError(
            f"the upkeep of {', '.join(failed)} failed: see detail in ops.maintenance"
        )


def _print(reports: "list[Report]") -> None:
    shown = Table(box=None, pad_edge=False)
    for heading in ("table", "files", "KiB", "manifests", "snapshots", "", "what was done"):
        shown.add_column(heading, overflow="fold")
    for report in reports:
        before, after = report.before, report.after or report.before
        shown.add_row(
            report.table,
            _change(before.files, after.files),
            _change(round(before.bytes / KIB), round(after.bytes / KIB)),
            _change(before.manifests, after.manifests),
            _change(before.snapshots, after.snapshots),
            report.outcome.value.lower(),
            ", ".join(_in_words(report)),
        )
    Console().print(shown)


def _change(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"


def _in_words(report: "Report") -> list[str]:
    counted = {
        f"compacted into {report.files_written}": report.files_compacted,
        f"retired from before {report.retired_before}": report.files_retired,
        "snapshots expired": report.snapshots_expired,
        "files deleted": report.files_deleted,
        "orphans deleted": report.orphans_deleted,
        "branches and tags dropped": len(report.refs_dropped),
    }
    words = [f"{count:,} {what}" for what, count in counted.items() if count]
    return [*words, *(f"put off {what}" for what in report.put_off)]
