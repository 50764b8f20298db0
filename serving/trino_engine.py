"""SQL on the stack: the lake and the merged views as Trino serves them."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import requests
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table
from trino import exceptions
from trino.auth import BasicAuthentication
from trino.dbapi import Connection, Cursor

from lakehouse.catalog import CATALOG_NAME, load_catalog
from lakehouse.errors import LakehouseError
from lakehouse.resilience import retrying
from lakehouse.settings import Settings
from serving.decimals import Dialect
from serving.engine import QueryError, TimeIsUpError, UnknownTableError
from serving.history import snapshots_at, twins_behind
from serving.statements import InvalidSqlError
from serving.time_travel import Pin, pinned, tables_behind, tables_named
from serving.time_travel import as_of as as_of_snapshots
from serving.trino_deadlines import cancel, ended, ended_in_time
from serving.trino_types import arrow_column, arrow_type

SOURCE = "lakehouse"
# Somebody waits for the answer: a server that restarts is back sooner or not for minutes.
RETRY_SECONDS = 15.0
# Rows that are held as Python values before they become Arrow's.
PAGE_ROWS = 10_000
UNAUTHORISED = "error 401"
_UNKNOWN = frozenset({"TABLE_NOT_FOUND", "SCHEMA_NOT_FOUND", "CATALOG_NOT_FOUND"})
_COMING_OR_GOING = frozenset({"SERVER_STARTING_UP", "SERVER_SHUTTING_DOWN"})
_TABLES = """
    SELECT table_schema, table_name
    FROM information_schema.tables
    WHERE table_schema <> 'information_schema'
    ORDER BY table_schema = 'serving', table_schema, table_name
"""


class TrinoSettingsError(LakehouseError):
    """What is needed to speak to Trino is not set, or would send a password in the clear."""


class AccessDeniedError(LakehouseError):
    """Trino does not know the user by this password, or the user may not do that."""

    exit_code = 2


class UnreachableError(LakehouseError):
    """Trino does not answer, is starting or stopping, or the connection was lost."""


class TrinoEngine:
    """Runs SQL in Trino's dialect as one user; what that user may do, Trino's rules say.

    Every query sees the newest snapshots of the tables that it reads. Trino pins those of a speed
    table and of its batch twin in any order; that nothing is missed all the same is why a
    reconciliation prunes only what an earlier one had found covered (decision record 1).

    Threads may share an engine.

    Example:
        >>> engine = TrinoEngine(get_settings("serving"))  # doctest: +SKIP
        >>> engine.query("SELECT max(high) FROM serving.bars_1m")  # doctest: +SKIP
    """

    def __init__(self, settings: Settings, *, patience_seconds: float | None = None) -> None:
        """Prepare to query the Trino of ``settings``; nothing is sent yet.

        Args:
            settings: Where it is, and who asks.
            patience_seconds: How long a server that does not answer is asked again; None for
                `RETRY_SECONDS`.

        Raises:
            TrinoSettingsError: User or password is not set, or the address is not HTTPS.
        """
        address = urlsplit(settings.trino or "")
        if address.scheme != "https" or not address.hostname:
            raise TrinoSettingsError(
                f"LAKEHOUSE_TRINO={settings.trino}: an address such as https://localhost:8443 is "
                "needed; passwords are sent over TLS only"
            )
        if not settings.trino_username or not settings.trino_password:
            raise TrinoSettingsError(
                "LAKEHOUSE_TRINO_USERNAME and LAKEHOUSE_TRINO_PASSWORD must be set with "
                "LAKEHOUSE_TRINO"
            )
        self._settings = settings
        self._patience_seconds = patience_seconds
        self._address = str(settings.trino)
        self._user = settings.trino_username
        self._session = requests.Session()
        # Where REQUESTS_CA_BUNDLE is set it would win over the authority that is given here.
        self._session.trust_env = False
        self._session.verify = str(settings.ca_file) if settings.ca_file else True
        self._connection = Connection(
            host=address.hostname,
            port=address.port,
            http_scheme=address.scheme,
            user=self._user,
            auth=BasicAuthentication(self._user, settings.trino_password.get_secret_value()),
            http_session=self._session,
            catalog=CATALOG_NAME,
            source=SOURCE,
            timezone="UTC",
        )

    @property
    def dialect(self) -> Dialect:
        """Trino's."""
        return "trino"

    def query(
        self,
        sql: str,
        *,
        as_of: datetime | None = None,
        batch_only: bool = False,
        timeout_seconds: float | None = None,
    ) -> pa.Table:
        """Run one statement; Ctrl-C cancels it on the server too.

        A statement whose connection is lost is sent again, so it should do no harm twice.

        Args:
            sql: A statement in Trino's dialect. Names are ``gold.bars_1m``, ``serving.bars_1m`` or
                the same after ``lake.``.
            as_of: The time, UTC, whose snapshots are read; then it must be a query. Where the speed
                layer's history does not reach back to it, merged views are the batch layer as it
                was published then.
            batch_only: Merged views are what batch has published; then, too, it must be a query.
            timeout_seconds: The statement is cancelled after this time; None lets it run.

        Returns:
            The rows: decimals as decimal128, instants as microseconds in UTC.

        Raises:
            InvalidSqlError: It is not one valid statement, or names an unknown column or function.
            UnknownTableError: It names a table or view that the lake does not have.
            AccessDeniedError: The password is wrong, or the user may not do that.
            UnreachableError: Trino did not answer in time.
            HistoryError: The time is yet to come, or a table's history begins later.
            QueryError: It failed while it ran.
            TimeIsUpError: The time was over before it was done.
        """
        ends = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        statement = sql.strip().removesuffix(";")
        if not statement:
            raise InvalidSqlError("there is no statement; give a query such as SELECT 1")
        if as_of is not None or batch_only:
            statement = self._written_out(statement, as_of, batch_only)
        patience = RETRY_SECONDS if self._patience_seconds is None else self._patience_seconds
        budget = patience if timeout_seconds is None else min(patience, timeout_seconds)

        @retrying(on=UnreachableError, budget_seconds=budget)
        def ask() -> pa.Table:
            # What reading the catalog and the tries before this one have taken is gone.
            left = None if ends is None else max(0.0, ends - time.monotonic())
            return self._ask(statement, left)

        try:
            return ask()
        except TimeIsUpError as error:
            raise ended(timeout_seconds) from error

    def relations(self) -> tuple[str, ...]:
        """Return the names of all tables and merged views that this user may see."""
        rows = self.query(_TABLES).to_pylist()
        return tuple(f"{row['table_schema']}.{row['table_name']}" for row in rows)

    def close(self) -> None:
        """Close the connections; a later query opens new ones."""
        self._session.close()

    def _written_out(self, sql: str, time: datetime | None, batch_only: bool) -> str:
        """Return a query over snapshots: those of a time, those that batch has published, both."""
        behind, named = tables_behind(sql), tables_named(sql)
        pins: dict[str, Pin] = {}
        if time is not None:
            # The catalog knows them, and how far back each table's history reaches.
            tables = self._tables(behind)
            pins = pinned(tables, snapshots_at(tables, time, named=named))
        if batch_only:
            pins |= dict.fromkeys(twins_behind(behind, named=named), Pin(None))
        return as_of_snapshots(sql, pins)

    def _tables(self, names: Iterable[str]) -> dict[str, Table]:
        catalog = load_catalog(self._settings)
        tables = {}
        for name in sorted(names):
            try:
                tables[name] = catalog.load_table(name)
            except NoSuchTableError as error:
                raise UnknownTableError(f"there is no table {name}") from error
        return tables

    def _ask(self, sql: str, timeout_seconds: float | None) -> pa.Table:
        cursor = self._connection.cursor()
        with ended_in_time(cursor, timeout_seconds) as time_is_up:
            try:
                with self._errors_for_people():
                    cursor.execute(sql)
                    rows = _read(cursor)
            except KeyboardInterrupt:
                cancel(cursor)
                raise
            except LakehouseError as error:
                if time_is_up.is_set():
                    raise ended(timeout_seconds) from error
                raise
            # To the client, a query that was cancelled is one that has no more rows.
            if time_is_up.is_set():
                raise ended(timeout_seconds)
            return rows

    @contextmanager
    def _errors_for_people(self) -> Iterator[None]:
        try:
            yield
        except exceptions.TrinoQueryError as error:
            raise _named(error) from error
        except exceptions.TrinoConnectionError as error:
            if isinstance(error.__context__, requests.exceptions.SSLError):
                raise TrinoSettingsError(
                    f"the certificate of {self._address} cannot be trusted: {error.__context__}; "
                    "LAKEHOUSE_CA_FILE names the authority"
                ) from error
            raise UnreachableError(
                f"Trino at {self._address} does not answer: {error}; `lakehouse status` tells "
                "whether it runs"
            ) from error
        except exceptions.HttpError as error:
            if str(error).startswith(UNAUTHORISED):
                raise AccessDeniedError(
                    f"Trino at {self._address} refuses user {self._user}: unknown, or the password "
                    "is wrong"
                ) from error
            raise UnreachableError(f"Trino at {self._address}: {error}") from error


def _named(error: exceptions.TrinoQueryError) -> LakehouseError:
    """Return the error that tells what is to be done about a failed statement."""
    if error.error_name == "PERMISSION_DENIED":
        return AccessDeniedError(error.message)
    if error.error_name == "QUERY_REJECTED":
        return AccessDeniedError(f"{error.message}: this user may not run statements of this kind")
    if error.error_name in _UNKNOWN:
        return UnknownTableError(error.message)
    if error.error_name in _COMING_OR_GOING:
        return UnreachableError(error.message)
    # What is wrong with the text has a place in it; what went wrong with the data has none.
    if error.error_type == "USER_ERROR" and error.error_location:
        return InvalidSqlError(error.message)
    return QueryError(f"{error.message} (query {error.query_id})")


def _read(cursor: Cursor) -> pa.Table:
    columns = cursor.description or []
    schema = pa.schema([pa.field(c.name, arrow_type(str(c.type_code))) for c in columns])
    return pa.Table.from_batches(_batches(cursor, schema), schema)


def _batches(cursor: Cursor, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while rows := _page(cursor):
        columns = zip(zip(*rows, strict=True), schema.types, strict=True)
        arrays = [arrow_column(values, to) for values, to in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _page(cursor: Cursor) -> list[list[Any]]:
    return cursor.fetchmany(PAGE_ROWS)
