"""How far a correction has come is read off the lake, as each layer takes the event in."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from asked import Asking, FakeLog
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.catalog_database import OwnTables
from lakehouse.dispatch import Dispatch
from lakehouse.progress import Progress
from lakehouse.settings import Settings
from serving.commands.desk import CommandDesk
from serving.commands.lease import Lease
from serving.commands.relay import Relay
from serving.commands.status import Standing, Status
from serving.commands.store import Command

pytestmark = pytest.mark.serving

EVENT_TIME = datetime(2024, 8, 8, 23, 59, 30, 123456, tzinfo=UTC)
# The broker of these tests has one partition, of which this is the third event.
OFFSET = 2


@pytest.fixture
def command(asking: Asking, database: OwnTables) -> Command:
    log = FakeLog(messages=[("market.trades", b"", b"", {})] * OFFSET)
    command = asking.correct()
    Relay(database, Lease(database, "commands"), Dispatch(log)).round()
    return asking.again(command)


@pytest.fixture
def landed(catalog: Catalog) -> Callable[..., None]:
    def land(next_offset: int, generation: int = 0) -> None:
        table = catalog.load_table("bronze.market_trades")
        now = datetime.now(UTC)
        progress = Progress("market.trades", "id", generation, {0: next_offset}, now)
        table.append(
            table.schema().as_arrow().empty_table(), snapshot_properties=progress.to_summary()
        )

    return land


@pytest.fixture
def row(catalog: Catalog) -> Callable[..., None]:
    """Write a row of a trade, as a layer would that has seen the log up to some position."""

    def append(table: str, last_offset: int, **changes: Any) -> None:
        fields = {
            "venue": "binance_spot",
            "symbol": "BTCUSDT",
            "trade_id": 7,
            "event_time": EVENT_TIME,
            "event_date": EVENT_TIME.date(),
            "state": "CORRECTED",
            "log_partition": 0,
            "last_offset": last_offset,
        } | changes
        schema = schemas.contract(table).arrow_schema()
        optional = pa.schema([field.with_nullable(True) for field in schema])
        rows = pa.Table.from_pylist([fields], schema=optional)
        catalog.load_table(table).append(rows.cast(schema))

    return append


def test_from_accepted_to_reconciled(
    asking: Asking, command: Command, landed: Any, row: Any
) -> None:
    assert asking.standing(command) == Standing(Status.SENT)
    landed(OFFSET)
    assert asking.standing(command) == Standing(Status.SENT), "the one before it was the last"
    landed(OFFSET + 1)
    assert asking.standing(command) == Standing(Status.LANDED)
    row("silver.trades", OFFSET - 1)
    row("silver.trades_rt", OFFSET - 1)
    assert asking.standing(command) == Standing(Status.LANDED), "both have seen what was before it"
    row("silver.trades_rt", OFFSET)
    assert asking.standing(command) == Standing(Status.REFLECTED)
    row("silver.trades", OFFSET + 1)
    assert asking.standing(command) == Standing(Status.RECONCILED)


def test_the_speed_layer_may_be_quicker_than_the_lander(
    asking: Asking, command: Command, row: Any
) -> None:
    row("silver.trades_rt", OFFSET)
    assert asking.standing(command) == Standing(Status.REFLECTED)


def test_a_correction_of_no_trade_stays_landed_until_there_is_one(
    asking: Asking, command: Command, landed: Any, row: Any
) -> None:
    landed(OFFSET + 1)
    for table in ("silver.trades_rt", "silver.trades"):
        row(table, OFFSET, state="UNMATCHED")
        assert asking.standing(command) == Standing(Status.LANDED)
    row("silver.trades_rt", OFFSET + 1)
    assert asking.standing(command) == Standing(Status.REFLECTED)
    row("silver.trades", OFFSET + 1)
    assert asking.standing(command) == Standing(Status.RECONCILED)


@pytest.mark.parametrize(
    "other",
    [
        {"trade_id": 8},
        {"venue": "binance_coin_m"},
        {"symbol": "ETHUSDT"},
        {"event_time": EVENT_TIME.replace(minute=58)},
        {"event_time": EVENT_TIME.replace(hour=22)},
    ],
)
def test_other_trades_say_nothing(
    asking: Asking, command: Command, row: Any, other: dict[str, Any]
) -> None:
    row("silver.trades", OFFSET + 1, **other)
    assert asking.standing(command) == Standing(Status.SENT)


def test_rows_of_an_earlier_topic_say_nothing(
    asking: Asking, command: Command, landed: Any, row: Any
) -> None:
    """A topic that was made again has had as many events before."""
    landed(0, generation=1)
    row("silver.trades", OFFSET + 1)
    assert asking.standing(command) == Standing(Status.SENT)


def test_a_correction_that_became_a_dead_letter_is_refused(
    asking: Asking, command: Command, landed: Any, catalog: Catalog
) -> None:
    landed(OFFSET + 1)
    letters = catalog.load_table("bronze.dead_letters")
    letter = {
        "topic": "market.trades",
        "topic_generation": 0,
        "kafka_partition": 0,
        "kafka_offset": OFFSET,
        "stage": "validate",
        "reason": "implausible_size",
        "ingested_at": datetime.now(UTC),
    }
    letters.append(pa.Table.from_pylist([letter], schema=letters.schema().as_arrow()))
    assert asking.standing(command) == Standing(Status.REFUSED, "validate: implausible_size")


def test_while_the_lake_is_away_what_the_database_knows_is_told(
    settings: Settings, command: Command
) -> None:
    def away() -> Catalog:
        raise ConnectionError("no route")

    desk = CommandDesk(settings, catalog=away)
    standing = desk.standing(command)
    desk.close()
    assert standing.status is Status.SENT
    assert "ConnectionError: no route" in (standing.detail or "")
