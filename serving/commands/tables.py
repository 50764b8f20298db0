"""The tables of commands, in the catalog's database. Times are microseconds since 1970, UTC."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from lakehouse.catalog_database import OwnTables
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TABLES = MetaData()
# A row is a command and, by its two columns that are unique together, its idempotency record.
COMMANDS = Table(
    "commands",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("requested_by", Text, nullable=False),  # id of the API key
    Column("idempotency_key", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),  # of the request that the key stands for
    Column("request", Text, nullable=False),  # JSON
    Column("trace_parent", Text),
    Column("accepted_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),  # of a command in steps: when nothing was left to do
    UniqueConstraint("requested_by", "idempotency_key"),
    Index("commands_by_end", "kind", "ended_at"),
)
OUTBOX = Table(
    "command_outbox",
    TABLES,
    # In the order in which messages of one key are sent. SQLite counts only plain integers.
    Column(
        "number",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    Column("command_id", Text, nullable=False, unique=True),
    Column("topic", Text, nullable=False),
    Column("message_key", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("headers", Text, nullable=False),  # JSON
    Column("sent_at", BigInteger),
    Column("partition", Integer),
    Column("offset", BigInteger),
    Column("audited_at", BigInteger),
    Index("command_outbox_by_sending", "sent_at", "number"),
    Index("command_outbox_by_audit", "audited_at", "number"),
)
STEPS = Table(
    "command_steps",
    TABLES,
    Column("command_id", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("outcome", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("detail", Text),
    Column("at", BigInteger, nullable=False),
)
LEASES = Table(
    "command_leases",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
)


class CommandStoreError(LakehouseError):
    """The commands cannot be read or written."""


def command_tables(settings: Settings, *, budget_seconds: float) -> OwnTables:
    """Return the tables in the database that the settings name; that is tried for so long."""
    return OwnTables(
        settings,
        TABLES,
        what="the commands",
        error=CommandStoreError,
        budget_seconds=budget_seconds,
    )


def stored(moment: datetime) -> int:
    """Return a time as the tables have it."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(kept: int) -> datetime:
    """Return a time of the tables, UTC."""
    return _EPOCH + timedelta(microseconds=kept)
