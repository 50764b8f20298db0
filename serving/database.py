"""An in-memory DuckDB database that can read the folders of some tables and nothing else."""

import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import duckdb
import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    TimestamptzType,
)

from lakehouse.catalog import CATALOG_NAME
from lakehouse.errors import LakehouseError
from lakehouse.snapshots import names_then

# One analyst's query beside the lander and Spark on a laptop; a larger one spills to disk.
MEMORY_LIMIT = "2GB"
# The Iceberg reader reads manifests through the Avro one.
_EXTENSIONS = ("avro", "iceberg")
_TYPES: dict[type[IcebergType], str] = {
    BooleanType: "BOOLEAN",
    IntegerType: "INTEGER",
    LongType: "BIGINT",
    DoubleType: "DOUBLE",
    DateType: "DATE",
    TimestamptzType: "TIMESTAMPTZ",
    StringType: "VARCHAR",
    BinaryType: "BLOB",
}


class MissingExtensionError(LakehouseError):
    """The Iceberg reader is not installed, or is one for another version of DuckDB."""


class Database:
    """A database named ``lake`` that consists of views.

    Loading the extensions takes a fifth of a second, and defining a view over a table reads all its
    manifests. So a database is kept between queries, and a view looks up in a variable which
    metadata its table has now.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        """Open a database whose queries can read files in ``folders`` only."""
        self.folders = frozenset(folders)
        self._defined: dict[str, str] = {}
        self._connection = duckdb.connect(
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "memory_limit": MEMORY_LIMIT,
                "python_enable_replacements": False,
                "temp_directory": str(Path(tempfile.gettempdir()) / f"lakehouse-sql-{os.getpid()}"),
            }
        )
        for name in _EXTENSIONS:
            self._connection.load_extension(str(_extension(name)))
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(f"ATTACH ':memory:' AS {CATALOG_NAME}")
        self._connection.execute(f"USE {CATALOG_NAME}")
        allowed = ", ".join(_literal(folder) for folder in sorted(self.folders))
        self._connection.execute(f"SET allowed_directories = [{allowed}]")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def define(self, name: str, query: str) -> None:
        """Make ``name`` (with its schema) a view of a query over views that are there."""
        if self._defined.get(name) == query:
            return
        schema, _, relation = name.partition(".")
        self._connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        self._connection.execute(f'CREATE OR REPLACE VIEW "{schema}"."{relation}" AS {query}')
        self._defined[name] = query

    def is_defined(self, name: str) -> bool:
        """Tell whether there is a view of that name."""
        return name in self._defined

    def point(self, name: str, metadata_location: str) -> None:
        """Let the view of a table read this metadata from now on."""
        self._connection.execute(f'SET VARIABLE "{name}" = {_literal(metadata_location)}')

    def run(self, sql: str, *, timeout_seconds: float | None = None) -> pa.Table:
        """Run a statement and return its rows; Ctrl-C ends it.

        Raises:
            duckdb.Error: It is wrong or it fails.
            TimeoutError: The time was over before it was done.
        """
        # In a thread of its own: Python hears no signal while the engine has the main thread.
        with ThreadPoolExecutor(max_workers=1) as worker:
            rows = worker.submit(lambda: self._connection.execute(sql).to_arrow_table())
            try:
                return rows.result(timeout_seconds)
            except (KeyboardInterrupt, TimeoutError):
                self._connection.interrupt()
                raise

    def close(self) -> None:
        """Give back memory and temporary files."""
        self._connection.close()


def scan(name: str, table: Table) -> str:
    """Return a query over a table's newest snapshot, by the metadata that `Database.point` set."""
    if table.current_snapshot() is None:
        return nothing(table)
    # The schema's number makes the view of an evolved table another one.
    return (
        f"/* schema {table.schema().schema_id} */ "
        f"SELECT * FROM iceberg_scan(getvariable({_literal(name)}))"
    )


def scan_of(name: str, table: Table, snapshot_id: int) -> str:
    """Return a query over one snapshot of a table, with the columns that the table has today.

    The reader gives a snapshot the columns that it was written with.
    """
    then = names_then(table, snapshot_id)
    columns = ", ".join(
        f'CAST({_quoted(then[field.name])} AS {_type(field.field_type)}) AS "{field.name}"'
        for field in table.schema().fields
    )
    return (
        f"SELECT {columns} FROM iceberg_scan("
        f"getvariable({_literal(name)}), snapshot_from_id = {snapshot_id})"
    )


def nothing(table: Table) -> str:
    """Return a query with the columns of a table and no rows."""
    nulls = (
        f'CAST(NULL AS {_type(field.field_type)}) AS "{field.name}"'
        for field in table.schema().fields
    )
    return f"SELECT {', '.join(nulls)} WHERE false"


def _type(iceberg_type: IcebergType) -> str:
    if isinstance(iceberg_type, DecimalType):
        return f"DECIMAL({iceberg_type.precision}, {iceberg_type.scale})"
    if isinstance(iceberg_type, MapType):
        return f"MAP({_type(iceberg_type.key_type)}, {_type(iceberg_type.value_type)})"
    return _TYPES[type(iceberg_type)]


def _quoted(column: str | None) -> str:
    return "NULL" if column is None else f'"{column}"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _extension(name: str) -> Path:
    """Return the file of an extension; its package brought it, so nothing is downloaded."""
    package = f"duckdb_extension_{name}"
    try:
        folder = Path(str(files(package))) / "extensions" / f"v{duckdb.__version__}"
    except ModuleNotFoundError as error:
        raise MissingExtensionError(
            f"package {package} is missing: install the project with its serving extra"
        ) from error
    file = folder / f"{name}.duckdb_extension"
    if not file.exists():
        raise MissingExtensionError(f"{package} is not for DuckDB {duckdb.__version__}")
    return file
