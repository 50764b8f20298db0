"""The embedded SQL engine: DuckDB over the Iceberg tables of the lake and the merged views."""

from collections.abc import Iterable
from datetime import datetime
from threading import Lock

import duckdb
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

import schemas
from lakehouse.errors import LakehouseError
from serving.database import Database, nothing, scan, scan_of
from serving.decimals import Dialect
from serving.history import snapshots_at, twins_behind
from serving.statements import InvalidSqlError, Statement, read_statement
from serving.views import reads, view_names, view_sql

_LIST_TABLES = """
    SELECT table_schema AS "schema", table_name AS "table"
    FROM information_schema.tables
    WHERE table_catalog = current_database()
    ORDER BY 1, 2
"""


class UnknownTableError(LakehouseError):
    """A query names a table or view that the lake does not have."""

    exit_code = 2


class QueryError(LakehouseError):
    """A valid query failed while it ran."""


class TimeIsUpError(LakehouseError):
    """A query was ended, since the time that it was given is over."""


class SqlEngine:
    """Runs read-only SQL in DuckDB's dialect over one lake.

    Every query sees the newest snapshots of the tables that it reads, unless it asks for those of
    a time gone by. One query runs at a time; threads that want to run several use an engine each.

    Example:
        >>> engine = SqlEngine(load_catalog(get_settings()))  # doctest: +SKIP
        >>> engine.query("SELECT max(high) FROM serving.bars_1m")  # doctest: +SKIP
    """

    def __init__(self, catalog: Catalog) -> None:
        """Query the tables of ``catalog``."""
        self._catalog = catalog
        self._database: Database | None = None
        self._lock = Lock()

    @property
    def dialect(self) -> Dialect:
        """DuckDB's."""
        return "duckdb"

    def query(
        self,
        sql: str,
        *,
        as_of: datetime | None = None,
        batch_only: bool = False,
        timeout_seconds: float | None = None,
    ) -> pa.Table:
        """Run one statement over the newest snapshots, or over those of a time gone by.

        Args:
            sql: SELECT, WITH, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN in DuckDB's dialect. Names are
                ``gold.bars_1m``, ``serving.bars_1m`` or the same after ``lake.``.
            as_of: The time, UTC; where the speed layer's history does not reach back to it, merged
                views are the batch layer as it was published then.
            batch_only: Merged views are what batch has published.
            timeout_seconds: The statement is ended after this time; None lets it run.

        Returns:
            The rows: decimals as decimal128, ``timestamptz`` as microseconds in UTC.

        Raises:
            InvalidSqlError: Not one valid statement, or it names a column that does not exist.
            NotReadOnlyError: It would write, or read something outside the lake.
            UnknownTableError: It names a table or view that the lake does not have.
            HistoryError: The time is yet to come, or a table's history begins later.
            QueryError: It failed while it ran.
            TimeIsUpError: The time was over before it was done.
        """
        statement = read_statement(sql)
        text = _LIST_TABLES if statement.lists_tables else statement.sql
        with self._lock:
            database = self._prepare(self._named_in(statement), as_of, batch_only)
            try:
                return database.run(text, timeout_seconds=timeout_seconds)
            except TimeoutError as e:
                raise TimeIsUpError(f"the query was ended after {timeout_seconds:.3f} s") from e
            except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as e:
                raise InvalidSqlError(str(e)) from e
            except duckdb.Error as e:
                raise QueryError(str(e)) from e

    def relations(self) -> tuple[str, ...]:
        """Return the names of all tables and merged views, such as ``gold.bars_1m``."""
        tables = sorted(
            ".".join(identifier)
            for namespace in self._catalog.list_namespaces()
            for identifier in self._catalog.list_tables(namespace)
        )
        return (*tables, *view_names())

    def close(self) -> None:
        """Give back the engine's memory; a later query opens it again."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _named_in(self, statement: Statement) -> frozenset[str]:
        if not statement.lists_tables:
            return statement.tables
        known = frozenset(self.relations())
        return frozenset(name for name in known if reads(name) <= known)

    def _prepare(self, names: frozenset[str], as_of: datetime | None, batch_only: bool) -> Database:
        """Return a database in which the named tables and views are defined as they are wanted."""
        wanted: frozenset[str] = frozenset().union(*(reads(name) for name in names))
        views = wanted & set(view_names())
        tables = self._load(wanted - views)
        past = {} if as_of is None else snapshots_at(tables, as_of, named=names)
        if batch_only:
            past |= dict.fromkeys(twins_behind(tables, named=names))
        database = self._open(self._folders(tables.values()))
        for name, table in tables.items():
            database.point(name, table.metadata_location)
            if not database.is_defined(name):
                # The merged views are defined over empty tables: that takes no time.
                database.define(name, nothing(table))
        # A view that reads more views than another cannot be read by it.
        for view in sorted(views, key=lambda name: len(reads(name) & views)):
            database.define(view, view_sql(view, "duckdb"))
        for name, table in tables.items():
            if name not in past:
                database.define(name, scan(name, table))
            elif (snapshot_id := past[name]) is None:
                database.define(name, nothing(table))
            else:
                database.define(name, scan_of(name, table, snapshot_id))
        return database

    def _load(self, names: Iterable[str]) -> dict[str, Table]:
        """Load tables, those of the speed layer first.

        Rows move from speed to batch. In this order, a row that moves in between is seen twice,
        which the merge settles; in the other it could be missed.
        """
        twins = {contract.speed_twin for contract in schemas.contracts().values()}
        return {
            name: self._table(name) for name in sorted(names, key=lambda n: (n not in twins, n))
        }

    def _table(self, name: str) -> Table:
        try:
            return self._catalog.load_table(name)
        except (NoSuchTableError, ValueError) as error:  # ValueError: a name without a schema.
            raise UnknownTableError(
                f"there is no table {name}; there are {', '.join(self.relations())}"
            ) from error

    def _folders(self, tables: Iterable[Table]) -> set[str]:
        """Return the warehouse, and the folders of tables that are elsewhere."""
        warehouse = self._catalog.properties.get("warehouse", "").rstrip("/")
        inside = f"{warehouse}/"
        locations = {table.location() for table in tables}
        if not warehouse:
            return locations
        return {warehouse, *(place for place in locations if not place.startswith(inside))}

    def _open(self, folders: set[str]) -> Database:
        if self._database is not None and folders <= self._database.folders:
            return self._database
        if self._database is not None:
            folders |= self._database.folders
            self._database.close()
        self._database = Database(folders)
        return self._database
