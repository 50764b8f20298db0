"""The database that the catalog is in, as SQLAlchemy addresses it, and tables of our own in it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, MetaData, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from lakehouse.errors import LakehouseError
from lakehouse.resilience import retrying
from lakehouse.settings import Settings

T = TypeVar("T")

# Two engines share the embedded file; a commit holds its lock for milliseconds.
SQLITE_BUSY_TIMEOUT_SECONDS = 10


def database_address(settings: Settings) -> URL:
    """Return the address of the catalog's database, with its password and how it is verified.

    The folder of an embedded one is made.
    """
    address = make_url(settings.catalog_address)
    if address.get_backend_name() == "sqlite":
        Path(address.database or "").parent.mkdir(parents=True, exist_ok=True)
        address = address.update_query_dict({"timeout": str(SQLITE_BUSY_TIMEOUT_SECONDS)})
    elif settings.catalog_password:
        address = address.set(password=settings.catalog_password.get_secret_value())
    if address.get_backend_name() == "postgresql" and settings.ca_file:
        address = address.update_query_dict(
            {"sslmode": "verify-full", "sslrootcert": str(settings.ca_file)}
        )
    return address


class _TableIsThereError(SQLAlchemyError):
    """Another process made it since it was looked for."""


class OwnTables:
    """Tables of one purpose in the catalog's database, made when they are first used."""

    def __init__(
        self,
        settings: Settings,
        tables: MetaData,
        *,
        what: str,
        error: type[LakehouseError],
        budget_seconds: float,
    ) -> None:
        """Use tables in the database that the settings name for the catalog.

        Args:
            settings: Where the database is.
            tables: Those that there are to be.
            what: What they are called in an error.
            error: What is raised when the database does not answer, or refuses.
            budget_seconds: How long is tried, if a server is away.
        """
        # A connection that a restarted server has forgotten is replaced, not reported.
        self._engine = create_engine(database_address(settings), pool_pre_ping=True)
        self._tables = tables
        self._what = what
        self._error = error
        self._budget_seconds = budget_seconds
        self._made = False

    def in_transaction(self, work: Callable[[Connection], T]) -> T:
        """Return the result of what is done in one transaction; it may be begun several times."""

        @retrying(
            on=(OperationalError, _TableIsThereError),
            budget_seconds=self._budget_seconds,
        )
        def transaction() -> T:
            if not self._made:
                self._make()
            with self._engine.begin() as connection:
                return work(connection)

        try:
            return transaction()
        except SQLAlchemyError as error:
            # The statement's values are left out: there are secrets and names among them.
            told = getattr(error, "orig", None) or error
            raise self._error(f"{self._what} in {self._engine.url}: {told}") from error

    def _make(self) -> None:
        # By itself, and only what is not there: whoever asks for an index that is there locks its
        # table, in which others write by then.
        try:
            self._tables.create_all(self._engine)
        # Two processes that make one at once collide in PostgreSQL's own tables.
        except (IntegrityError, ProgrammingError) as error:
            raise _TableIsThereError(str(error.orig)) from error
        self._made = True

    def close(self) -> None:
        """Close the connections to the database."""
        self._engine.dispose()
