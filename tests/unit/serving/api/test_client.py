"""The Python client against the running API."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic

import pandas as pd
import polars as pl
import pytest
import requests
from fastapi import FastAPI
from faulty import FaultyEngine
from running import running

from lakehouse.settings import Settings
from serving.api.app import create_app
from serving.api.gate import Gate
from serving.api.keys import ApiKeys
from serving.client import ApiError, Client, TooManyRowsError
from serving.client_session import LONGEST_WAIT_SECONDS
from serving.engine import QueryError
from serving.engines import Engine

pytestmark = pytest.mark.serving


@pytest.fixture(scope="module")
def address(api: FastAPI) -> Iterator[str]:
    with running(api) as address:
        yield address


@pytest.fixture
def remote(address: str, everything: str) -> Iterator[Client]:
    with Client(address, everything) as remote:
        yield remote


def test_rows_are_arrow_with_what_is_said_of_them(remote: Client) -> None:
    bars = remote.bars(symbol=["BTCUSDT"], start=datetime(2024, 8, 8, 12, 2, tzinfo=UTC))
    assert bars.table["close"].to_pylist() == [Decimal("102.00000000"), Decimal("150.00000000")]
    assert (bars.tier, bars.degraded, bars.next) == ("merged", None, None)
    assert bars.offsets == {"0": 50}
    assert bars.status == {"RECONCILED": 1, "PROVISIONAL": 1}
    assert bars.freshness_seconds is None
    assert bars.seconds_since_commit is not None


def test_all_pages_are_one_table(remote: Client) -> None:
    pages = list(remote.pages("bars", limit=3))
    assert [page.table.num_rows for page in pages] == [3, 3, 2]
    whole = remote.read("bars", limit=3)
    assert whole.table["last_offset"].to_pylist() == [0, 1, 2, 50, 10, 11, 12, 51]
    assert whole.status == {"RECONCILED": 6, "PROVISIONAL": 2}
    assert whole.offsets == {"0": 51}


def test_each_resource_has_a_method(remote: Client) -> None:
    found = (
        remote.trades(symbol="BTCUSDT"),
        remote.spreads(venue="binance_spot"),
        remote.positions("C-1"),
        remote.market_daily(start=datetime(2024, 8, 8, tzinfo=UTC).date()),
        remote.instruments(),
        remote.predictions(),
        remote.reconciliations(verdict="some"),
        remote.dead_letters(reason="too_large"),
    )
    assert [rows.table.num_rows for rows in found] == [1, 2, 2, 2, 2, 2, 3, 1]


def test_rows_become_a_data_frame(remote: Client) -> None:
    bars = remote.bars(interval="1h")
    frame = bars.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["trade_count"]) == [4, 4]
    polars = bars.to_polars()
    assert isinstance(polars, pl.DataFrame)
    assert polars["trade_count"].to_list() == [4, 4]
    assert polars["close"].to_list() == bars.table["close"].to_pylist()


def test_a_problem_is_an_error_that_quotes_it(address: str, remote: Client) -> None:
    with pytest.raises(ApiError, match=r"422 .*limit") as raised:
        remote.read("bars", limit=0)
    assert raised.value.problem["type"] == "/problems/invalid-request"
    with pytest.raises(ApiError, match="401 A valid API key is needed"):
        Client(address, "lh_x_y").bars()
    with pytest.raises(ApiError, match="404"):
        remote.read("nowhere/to/be/found")


def test_nobody_there_is_an_error_too(everything: str) -> None:
    with pytest.raises(requests.ConnectionError):
        Client("http://127.0.0.1:9", everything, tries=1).bars()


def limited(settings: Settings, per_second: float) -> Settings:
    return settings.model_copy(
        update={"api_requests_at_once": 3, "api_requests_per_second": per_second}
    )


def test_what_passes_is_asked_again_when_it_is_told_to(
    settings: Settings, sql: Engine, keys: ApiKeys
) -> None:
    faulty = FaultyEngine(sql)
    failures = iter([QueryError("it restarts")])

    def fault() -> None:
        for failure in failures:
            raise failure

    faulty.fault = fault
    app = create_app(limited(settings, 1.0), Gate(faulty, at_once=2), keys)
    with running(app) as address, Client(address, keys.create("patient")) as patient:
        began = monotonic()
        for _ in range(3):  # the engine fails once; then the bucket is empty
            assert patient.bars().table.num_rows == 8
        assert monotonic() - began > 1.0


def test_nobody_waits_for_longer_than_that_makes_sense(
    settings: Settings, sql: Engine, keys: ApiKeys
) -> None:
    app = create_app(limited(settings, 0.001), Gate(sql, at_once=2), keys)
    with running(app) as address, Client(address, keys.create("patient")) as patient:
        for _ in range(3):
            patient.bars()
        began = monotonic()
        with pytest.raises(ApiError, match="429"):  # a token is a quarter of an hour away
            patient.bars()
        assert monotonic() - began < LONGEST_WAIT_SECONDS / 2


def test_no_more_rows_are_held_than_are_allowed(remote: Client) -> None:
    assert remote.read("bars", limit=3, most_rows=8).table.num_rows == 8
    with pytest.raises(TooManyRowsError, match="bars has more than 7 rows"):
        remote.read("bars", limit=3, most_rows=7)


def test_a_deadline_is_sent(settings: Settings, sql: Engine, keys: ApiKeys) -> None:
    faulty = FaultyEngine(sql)
    faulty.held.clear()
    with running(create_app(settings, Gate(faulty, at_once=2), keys)) as address:
        with Client(address, keys.create("hasty"), deadline_seconds=0.2) as hasty:
            began = monotonic()
            with pytest.raises(ApiError, match="504"):
                hasty.bars()
        assert timedelta(seconds=monotonic() - began) < timedelta(seconds=3)
        faulty.held.set()
