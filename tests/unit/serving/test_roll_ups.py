"""Hours and days are added up of merged bars, exactly."""

from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_UP, Decimal, localcontext
from itertools import groupby

import pytest
from bar_versions import Version, layers, merge
from hypothesis import HealthCheck, given, settings
from view_bench import Bench


def roll_up(
    merged: Iterable[tuple[Version, str]], bucket: Callable[[Version], object]
) -> list[dict[str, object]]:
    rows = []
    for (symbol, start), group in groupby(merged, key=lambda p: (p[0].symbol, bucket(p[0]))):
        bars = list(group)
        said = [version.row() for version, _ in bars]
        with localcontext(prec=100):
            volume = sum((v.volume for v, _ in bars), Decimal(0))
            notional = sum((v.notional for v, _ in bars), Decimal(0))
            vwap = (notional / volume).quantize(Decimal("1e-8"), ROUND_HALF_UP) if volume else None
        rows.append(
            {
                "symbol": symbol,
                "start": start,
                "open": said[0]["open"],
                "high": max(row["high"] for row in said),
                "low": min(row["low"] for row in said),
                "close": said[-1]["close"],
                "volume": volume,
                "notional": notional,
                "vwap": vwap,
                "trade_count": sum(row["trade_count"] for row in said),
                "first_trade_at": said[0]["first_trade_at"],
                "last_trade_at": said[-1]["last_trade_at"],
                "last_offset": max(v.last_offset for v, _ in bars),
                "status": "RECONCILED"
                if all(status == "RECONCILED" for _, status in bars)
                else "PROVISIONAL",
            }
        )
    return rows


@given(layers())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_hours_and_days_are_exact(
    bench: Bench, tables: tuple[list[Version], list[Version]]
) -> None:
    bench.fill(*tables)
    merged = merge(*tables)
    columns = "* EXCLUDE (venue)"
    hours = bench.rows(
        f"SELECT {columns} RENAME (window_start AS start) FROM serving.bars_1h ORDER BY ALL"
    )
    assert hours == roll_up(merged, lambda v: v.start.replace(minute=0))
    dimension = "base_currency, quote_currency, kind, tick_size, lot_size, contract_size"
    days = bench.rows(
        f"SELECT * EXCLUDE (venue, {dimension}) RENAME (business_date AS start) "
        "FROM serving.market_daily ORDER BY ALL"
    )
    assert days == roll_up(merged, lambda v: v.start.date())


@pytest.mark.parametrize(
    ("notional", "volume", "vwap"),
    [
        # Half of the last place goes up; a hair less does not, also where rounding twice would.
        ("0.0000000050000000", "1", "0.00000001"),
        ("0.0000000049999999", "1", "0.00000000"),
        ("0.1234567849999999", "0.99999999", "0.12345679"),
        ("0.0000001499999999", "3", "0.00000005"),
        ("1.0000000000000000", "3", "0.33333333"),
        ("2.0000000000000000", "3", "0.66666667"),
        # As many digits as the columns hold.
        ("9999999999999999999999.9999999999999999", "1", "10000000000000000000000.00000000"),
        ("9999999999999999999999.9999999999999999", "999999999999999999999999.99999999", "0.01"),
    ],
)
def test_vwap_is_rounded_once_half_up(bench: Bench, notional: str, volume: str, vwap: str) -> None:
    version = Version("A", 0, 1, True, Decimal(1), Decimal(volume), Decimal(notional))
    bench.fill([version], [])
    assert bench.rows("SELECT vwap FROM serving.bars_1h") == [{"vwap": Decimal(vwap)}]


def test_roll_ups_keep_the_columns_types(bench: Bench) -> None:
    for view in ("serving.bars_1h", "serving.market_daily"):
        arrow = bench.connection.execute(f"FROM {view}").to_arrow_table().schema
        types = {field.name: str(field.type) for field in arrow}
        assert types["open"] == types["high"] == types["low"] == "decimal128(18, 8)"
        assert types["volume"] == types["vwap"] == "decimal128(38, 8)"
        assert types["notional"] == "decimal128(38, 16)"
        assert types["trade_count"] == types["last_offset"] == "int64"
