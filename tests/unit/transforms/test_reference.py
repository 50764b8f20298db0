"""Reference data on hand-made rows of files, and against a fold in plain Python."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from lakehouse.transforms.reference import eod_bars, instruments
from schemas import contract

COLUMNS = (
    "row_json string, file_name string, checksum string, line_number long, ingested_at timestamp"
)
NINE = datetime(2024, 8, 9, 9, tzinfo=UTC)
BTC = {
    "venue": "binance_spot",
    "symbol": "BTCUSDT",
    "base_currency": "BTC",
    "quote_currency": "USDT",
    "kind": "SPOT",
    "tick_size": "0.01",
    "lot_size": "1e-5",
}


@pytest.fixture
def files(spark: SparkSession) -> Callable[..., DataFrame]:
    """Make bronze rows of (file name, hour of its load, row)."""

    def make(*rows: tuple[str, int, dict[str, Any]]) -> DataFrame:
        return spark.createDataFrame(
            [
                (json.dumps(row), name, f"sum of {name}", line, NINE + timedelta(hours=hour))
                for line, (name, hour, row) in enumerate(rows, start=2)
            ],
            COLUMNS,
        )

    return make


def told(table: DataFrame) -> list[dict[str, Any]]:
    return [row.asDict() for row in table.collect()]


def periods(table: DataFrame) -> list[tuple[Any, ...]]:
    rows = table.orderBy("symbol", "valid_from").collect()
    return [(r.valid_from, r.valid_to, r.is_current, r.file_name) for r in rows]


def test_tables_have_the_columns_of_their_contracts(files: Callable[..., DataFrame]) -> None:
    for transform, table in (
        (instruments, "silver.instruments"),
        (eod_bars, "gold.eod_bars"),
    ):
        made = dict(transform(files()).dtypes)
        wanted = {
            column.name: str(column.type).replace(" ", "").replace("timestamptz", "timestamp")
            for column in contract(table).columns
        }
        assert made == wanted


def test_an_instrument_is_read_with_its_units(files: Callable[..., DataFrame]) -> None:
    perpetual = BTC | {"kind": "PERPETUAL", "contract_size": "100", "effective_date": "2024-08-01"}
    (row,) = told(instruments(files(("i.csv", 0, perpetual | {"new_column": "x"}))))
    assert row["lot_size"] == Decimal("0.00001")
    assert row["contract_size"] == 100
    assert (row["kind"], row["base_currency"], row["checksum"]) == (
        "PERPETUAL",
        "BTC",
        "sum of i.csv",
    )


@pytest.mark.parametrize(
    ("name", "stated", "valid_from"),
    [
        ("i_2024-08-03.csv", "2024-08-01", date(2024, 8, 1)),
        ("i_2024-08-03.csv", "2024-08-01T00:00:00+00:00", date(2024, 8, 1)),
        ("i_2024-08-03.csv", None, date(2024, 8, 3)),
        ("i20240803_v2.json", None, date(2024, 8, 3)),
        ("i_2024-13-03.csv", None, date(2024, 8, 9)),  # no such day: that of the load
        ("i_120240803.csv", None, date(2024, 8, 9)),
        ("i.csv", None, date(2024, 8, 9)),
    ],
)
def test_from_when_a_row_holds(
    files: Callable[..., DataFrame], name: str, stated: str | None, valid_from: date
) -> None:
    row = BTC | ({"effective_date": stated} if stated else {})
    assert periods(instruments(files((name, 0, row)))) == [(valid_from, None, True, name)]


def test_a_row_holds_until_the_next_and_the_last_file_wins(
    files: Callable[..., DataFrame],
) -> None:
    eth = BTC | {"symbol": "ETHUSDT"}
    made = instruments(
        files(
            ("b_2024-08-05.csv", 0, BTC),
            ("a_2024-08-01.csv", 1, BTC),  # loaded later, holds earlier
            ("c_2024-08-05.csv", 2, BTC),  # says it anew
            ("c_2024-08-05.csv", 2, eth),
            ("c_2024-08-05.csv", 2, eth | {"tick_size": "7"}),  # the later line
        )
    )
    first, fifth = date(2024, 8, 1), date(2024, 8, 5)
    assert periods(made) == [
        (first, fifth, False, "a_2024-08-01.csv"),
        (fifth, None, True, "c_2024-08-05.csv"),
        (fifth, None, True, "c_2024-08-05.csv"),
    ]
    assert [row.tick_size for row in made.where("symbol = 'ETHUSDT'").collect()] == [7]


def test_any_files_in_any_order_are_what_a_fold_makes_of_them(
    files: Callable[..., DataFrame],
) -> None:
    chance = Random(5)
    rows = [
        (
            f"i_2024-08-{chance.randint(1, 5):02}.csv",
            hour,
            BTC | {"symbol": chance.choice("AB"), "tick_size": str(chance.randint(1, 99))},
        )
        for hour in range(40)
    ]
    said: dict[tuple[str, date], Decimal] = {}
    for name, _, row in rows:
        said[row["symbol"], date.fromisoformat(name[2:12])] = Decimal(row["tick_size"])
    keys = sorted(said)
    ends = {a: b[1] for a, b in pairwise(keys) if a[0] == b[0]}
    expected = [(*key, ends.get(key), said[key]) for key in keys]
    made = instruments(files(*rows)).orderBy("symbol", "valid_from").collect()
    assert [(r.symbol, r.valid_from, r.valid_to, r.tick_size) for r in made] == expected


def test_a_days_bar_is_what_the_last_file_says(files: Callable[..., DataFrame]) -> None:
    bar = {"symbol": "AAPL", "business_date": "2000-03-01", "close": "130.31", "open": None}
    made = told(
        eod_bars(
            files(
                ("a.csv", 1, bar | {"close": "131", "adjusted_close": "4.186662803811"}),
                ("b.csv", 0, bar | {"venue": "consolidated"}),
                ("b.csv", 0, bar | {"venue": "nasdaq", "volume": "0"}),
            )
        )
    )
    by_venue = {row["venue"]: row for row in made}
    assert len(made) == 2
    assert (by_venue["nasdaq"]["close"], by_venue["nasdaq"]["volume"]) == (Decimal("130.31"), 0)
    assert (by_venue["consolidated"]["close"], by_venue["consolidated"]["volume"]) == (131, None)
    assert by_venue["consolidated"]["adjusted_close"] == Decimal("4.186662803811")
    assert by_venue["consolidated"]["file_name"] == "a.csv"
    assert {row["business_date"] for row in made} == {date(2000, 3, 1)}
