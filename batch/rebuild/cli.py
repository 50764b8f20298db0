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
from lakehouse.lineage import configure_lineage
from lakehouse.settings import get_settings
from lakehouse.telemetry import configure_logging

if TYPE_CHECKING:
    from batch.dataset import Dataset
    from batch.rebuild.checksums import TableComparison
    from batch.rebuild.job import Rebuild
    from batch.rebuild.versions import Version
    from batch.references import Reference

app = typer.Typer(
    name="rebuild",
    help="Build tables anew beside the old ones, compare, swap, roll back.",
    invoke_without_command=True,
)
SHOWN = 10

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
    *,
    source: Annotated[
        Source | None, typer.Option("--from", help="What the tables are built anew from.")
    ] = None,
    dataset: Datasets = None,
    version: Annotated[
        str | None,
        typer.Option(
            help="The version to be built, such as trades_v2, and only once: one that was built is "
            "compared and swapped, one that the tables show is left."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be read and written.")
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
        if source or dataset or version or dry_run or accept_differences:
            raise typer.BadParameter(f"options go behind {context.invoked_subcommand!r}")
        return
    if source is None:
        raise typer.BadParameter("say what to build from: --from bronze")
    groups = _groups(dataset)
    if version and len(groups) > 1:
        raise typer.BadParameter("a version is of one dataset: say --dataset")
    _print_plan(groups)
    if dry_run:
        return
    with _rebuilds(dataset) as found:
        kept_back = [name for one in found if (name := _rebuild(one, version, accept_differences))]
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
    from batch.job import BatchJob
    from batch.rebuild.job import Rebuild
    from batch.references import Reference, ReferenceJob
    from lakehouse.spark import spark_session

    groups = _groups(names)
    settings = get_settings("batch")
    configure_logging("rebuild", settings.log_level)
    configure_lineage("rebuild", settings)
    spark, catalog = spark_session(settings, "rebuild"), load_catalog(settings)
    try:
        yield [
            Rebuild(
                [
                    ReferenceJob(spark, catalog, one)
                    if isinstance(one, Reference)
                    else BatchJob(spark, catalog, settings, one)
                    for one in group
                ]
            )
            for group in groups
        ]
    finally:
        spark.stop()


def _groups(names: list[str] | None) -> "list[tuple[Dataset, ...] | tuple[Reference]]":
    """Return the datasets that are rebuilt together, group by group."""
    from batch.datasets import sharing
    from batch.references import chosen_for_batch

    datasets, references = chosen_for_batch(names)
    return [*sharing(datasets), *((one,) for one in references)]


def _rebuild(one: "Rebuild", name: str | None, accept_differences: bool) -> str | None:
    """Build, compare and swap; return the name of a version that differs and was not swapped."""
    from batch.rebuild.job import NoVersionError

    if name is not None and name == one.versions.current:
        typer.echo(f"{name} is what the tables show already")
        return None
    version = one.versions.built()
    if version is None or version.name != name:
        try:
            version = _build(one, name)
        except NoVersionError as nothing:
            typer.echo(str(nothing))
            return None
    version, comparisons = one.compare(version)
    _print(comparisons)
    if accept_differences or all(comparison.equal for comparison in comparisons):
        _tell_swapped(one)
        return None
    return version.name


def _build(one: "Rebuild", name: str | None) -> "Version":
    began = monotonic()
    version = one.build(name)
    seconds, events = monotonic() - began, one.events(version)
    typer.echo(
        f"{version.name}: built from {events:,} rows of bronze in {seconds:.1f} s, "
        f"{events / seconds:,.0f} a second"
    )
    return version


def _tell_swapped(one: "Rebuild") -> None:
    before = one.versions.current
    version = one.swap()
    typer.echo(f"{version.name} is what the tables show; {before} is kept for a rollback")


def _print_plan(groups: "list[tuple[Dataset, ...] | tuple[Reference]]") -> None:
    from batch.plan import read_and_written

    catalog = load_catalog(get_settings("batch"))
    for group in groups:
        for line in read_and_written(catalog, group):
            typer.echo(line)


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
