"""What a run reads and writes, with what the contracts know of it: its lineage."""

from collections.abc import Iterable
from functools import lru_cache, partial
from urllib.parse import urlsplit

from pyiceberg.catalog import Catalog

import schemas
from lakehouse.lineage import Dataset, DatasetName, Flow
from lakehouse.settings import Settings
from schemas.lineage import Kind, Place, upstream


def flow_into(
    settings: Settings, *, catalog: Catalog, tables: Iterable[str], reads: Iterable[str] = ()
) -> Flow:
    """Return what is read to write some tables, and these tables.

    Args:
        settings: Name the log.
        catalog: Tells where the tables lie.
        tables: Those that are written.
        reads: Tables that are read beside those that the written columns are made of.
    """
    named = lru_cache(partial(_name, settings, catalog))
    made_of = {
        table: {
            column: tuple(
                source
                for source in upstream(Place(Kind.TABLE, table, column))
                if source.kind is not Kind.FILES
            )
            for column in schemas.contract(table).column_names
        }
        for table in tables
    }
    read = dict.fromkeys((Kind.TABLE, table) for table in reads)
    for columns in made_of.values():
        read |= dict.fromkeys((one.kind, one.of) for sources in columns.values() for one in sources)
    return Flow(
        inputs=tuple(_dataset(named(kind, of), kind, of) for kind, of in read),
        outputs=tuple(
            _dataset(
                named(Kind.TABLE, table),
                Kind.TABLE,
                table,
                {
                    column: tuple((named(one.kind, one.of), one.name) for one in sources)
                    for column, sources in columns.items()
                    if sources
                },
            )
            for table, columns in made_of.items()
        ),
    )


def _name(settings: Settings, catalog: Catalog, kind: Kind, of: str) -> DatasetName:
    """Return OpenLineage's name of a topic or a table."""
    if kind is Kind.TOPIC:
        return DatasetName(f"kafka://{settings.bootstrap_servers.partition(',')[0]}", of)
    address = urlsplit(catalog.load_table(of).location())
    if address.scheme == "file":
        return DatasetName("file", address.path)
    return DatasetName(f"{address.scheme}://{address.netloc}", address.path.lstrip("/"))


def _dataset(
    name: DatasetName,
    kind: Kind,
    of: str,
    made_of: dict[str, tuple[tuple[DatasetName, str], ...]] | None = None,
) -> Dataset:
    if kind is not Kind.TABLE:
        return Dataset(name)
    columns = tuple(
        (column.name, str(column.type), column.description)
        for column in schemas.contract(of).columns
    )
    return Dataset(name, of, columns, made_of or {})
