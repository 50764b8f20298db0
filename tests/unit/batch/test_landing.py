"""Waiting for the lander."""

from datetime import UTC, datetime, timedelta

import pytest
from pyiceberg.catalog import Catalog

import schemas
from batch.landing import POLL_SECONDS, NotLandedError, wait_until_landed
from lakehouse.catalog import load_catalog
from lakehouse.progress import Progress
from lakehouse.settings import Settings
from schemas import tables

TRADES, QUOTES = "bronze.market_trades", "bronze.market_quotes"
NOON = datetime(2024, 8, 8, 12, tzinfo=UTC)


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    catalog = load_catalog(settings)
    tables.apply(catalog, [schemas.contract(name) for name in (TRADES, QUOTES)])
    return catalog


def land(catalog: Catalog, name: str, through: datetime) -> None:
    table = catalog.load_table(name)
    summary = Progress("t", "id", 0, {0: 0}, through).to_summary()
    table.append(table.schema().as_arrow().empty_table(), snapshot_properties=summary)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(catalog: Catalog, clock: Clock) -> None:
    wait_until_landed(catalog, [TRADES, QUOTES], NOON, seconds=3, clock=clock, sleep=clock.sleep)


def test_what_is_landed_is_not_waited_for(catalog: Catalog) -> None:
    for name in (TRADES, QUOTES):
        land(catalog, name, NOON)
    clock = Clock()
    wait(catalog, clock)
    assert clock.now == 0


def test_a_quiet_table_is_waited_for_until_its_heartbeat(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(catalog, TRADES, NOON)
    land(catalog, QUOTES, NOON - timedelta(seconds=1))
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds
        land(catalog, QUOTES, NOON)

    monkeypatch.setattr(clock, "sleep", sleep)
    wait(catalog, clock)
    assert clock.now == POLL_SECONDS


def test_the_wait_has_an_end(catalog: Catalog) -> None:
    land(catalog, TRADES, NOON)
    clock = Clock()
    with pytest.raises(NotLandedError, match=rf"{QUOTES} is empty") as refused:
        wait(catalog, clock)
    assert TRADES not in str(refused.value)
    assert clock.now == pytest.approx(3, abs=POLL_SECONDS)
