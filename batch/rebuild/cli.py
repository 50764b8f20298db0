"""``lakehouse rebuild``."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lakehouse.catalog import load_catalog
from lakehouse.errors import VerdictError
from lakehouse.settings import get_settings
from lakehouse.telemetry import configure_logging

if TYPE_CHECKING:
    from batch.rebuild.checksums import TableComparison
    from batch.rebuild.job import Rebuild

app = typer.Typer(
    name="rebuild",
    help="Build tables anew beside the old ones, compare, swap, roll back.",
    invoke_without_command=True,
)
SHOWN = 10
MIB = 1 << 20

Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="Only this one, and those that share tables; repeatable."),
]


class Source(StrEnum):
    """What tables can be built anew from."""

    BRONZE = "bronze"


class VersionsDifferError(VerdictError):
    """What was built anew is not what the tables show."""


@app.callback()
def rebuild(
    context: typer.Context,
    source: Annotated[
        Source | None, typer.Option("--from", help="What the tables are built anew from.")
    ] = None,
    dataset: Datasets = None,
    dry_run: Annotated[
        bool, typer.Option(help="Only tell what would be read and written.")
    ] = False,
    accept_differences: Annotated[
        bool, typer.Option(help="Swap also if the new version differs, as after a mended rule.")
    ] = False,
) -> None:
    """Build silver and gold anew beside the old, compare them by partition, swap if they are equal.

    Lander, speed layer and hourly runs may go on meanwhile. The old version is kept until the next
    rebuild. Where the versions differ, the tables stay as they are and the command exits with 3:
    look at the new version (`FOR VERSION AS OF 'trades_v2'`), then `rebuild swap` or `drop`.

    Example: lakehouse rebuild --from bronze --dataset trades
    """
    if context.invoked_subcommand is not None:
        if source or dataset or dry_run or accept_differences:
            raise typer.BadParameter(f"options go behind {context.invoked_subcommand!r}")
        return
    if source is None:
        raise typer.BadParameter("say what to build from: --from bronze")
    with _rebuilds(dataset) as found:
        for one in found:
            _print_plan(one)
        if dry_run:
            return
        kept_back = [
            version for one in found if (version := _rebuild(one, accept_differences)) is not None
        ]
    if kept_back:
        raise VersionsDifferError(
            f"{', '.join(kept_back)} differs from what the tables show, which stay as they are: "
            "look at it, then `lakehouse rebuild swap` or `lakehouse rebuild drop`"
        )


@app.command()
def swap(dataset: Datasets = None) -> None:
    """Make the versions that were built what the tables show.

    Example: lakehouse rebuild swap --dataset trades
    """
    with _rebuilds(dataset) as found:
        for one in found:
            if one.versions.built() is not None:
                _tell_swapped(one)
            else:
                typer.echo(f"{one.versions.group}: no version was built")


@app.command()
def rollback(dataset: Datasets = None) -> None:
    """Put the versions that were replaced back, with what batch has published since.

    Example: lakehouse rebuild rollback --dataset trades
    """
    from batch.rebuild.job import NoVersionError

    with _rebuilds(dataset) as found:
        for one in found:
            try:
                version = one.roll_back()
            except NoVersionError as nothing:
                typer.echo(str(nothing))
            else:
                typer.echo(f"{version.name} is what the tables show, as before the last swap")


@app.command()
def drop(dataset: Datasets = None) -> None:
    """Drop all versions but the one that the tables show; their files go with the next upkeep.

    Example: lakehouse rebuild drop --dataset trades
    """
    with _rebuilds(dataset) as found:
        for one in found:
            names = one.drop()
            typer.echo(f"{one.versions.group}: dropped {', '.join(names) or 'nothing'}")


@contextmanager
def _rebuilds(names: list[str] | None) -> "Iterator[list[Rebuild]]":
    from batch.datasets import sharing
    from batch.job import BatchJob
    from batch.rebuild.job import Rebuild
    from batch.references import ReferenceJob, chosen_for_batch
    from lakehouse.spark import spark_session

    datasets, references = chosen_for_batch(names)
    settings = get_settings("batch")
    configure_logging("rebuild", settings.log_level)
    spark, catalog = spark_session(settings, "rebuild"), load_catalog(settings)
    try:
        yield [
            *(
                Rebuild([BatchJob(spark, catalog, settings, one) for one in group])
                for group in sharing(datasets)
            ),
            *(Rebuild([ReferenceJob(spark, catalog, one)]) for one in references),
        ]
    finally:
        spark.stop()


def _rebuild(one: "Rebuild", accept_differences: bool) -> str | None:
    """Build, compare and swap; return the name of a version that differs and was not swapped."""
    from batch.rebuild.job import NoVersionError

    began = monotonic()
    try:
        version = one.build()
    except NoVersionError as nothing:
        typer.echo(str(nothing))
        return None
    seconds, events = monotonic() - began, one.events(version)
    typer.echo(
        f"{version.name}: built from {events:,} rows of bronze in {seconds:.1f} s, "
        f"{events / seconds:,.0f} a second"
    )
    version, comparisons = one.compare(version)
    _print(comparisons)
    if accept_differences or all(comparison.equal for comparison in comparisons):
        _tell_swapped(one)
        return None
    return version.name


def _tell_swapped(one: "Rebuild") -> None:
    before = one.versions.current
    version = one.swap()
    typer.echo(f"{version.name} is what the tables show; {before} is kept for a rollback")


def _print_plan(one: "Rebuild") -> None:
    from batch.maintenance.sizes import size_of

    for verb, tables in (
        ("reads", [job.source for job in one.jobs]),
        ("writes", one.versions.tables),
    ):
        for name in tables:
            size = size_of(one.jobs[0].catalog.load_table(name))
            typer.echo(f"{verb} {name}: {size.files:,} files, {size.bytes / MIB:,.1f} MiB now")


def _print(comparisons: "list[TableComparison]") -> None:
    shown = Table(box=None, pad_edge=False)
    shown.add_column("table")
    shown.add_column("partitions", justify="right")
    shown.add_column("rows", justify="right")
    shown.add_column("checksums")
    for one in comparisons:
        verdict = "EQUAL" if one.equal else f"{len(one.differences)} DIFFER"
        shown.add_row(one.table, f"{one.partitions:,}", f"{one.rows:,}", verdict)
        for difference in one.differences[:SHOWN]:
            rows = f"{difference.old_rows:,} → {difference.new_rows:,}"
            shown.add_row(f"  {difference.partition}", "", rows, "")
    Console().print(shown)
