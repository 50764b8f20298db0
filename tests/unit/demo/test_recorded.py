"""Recorded frames as the oracle reads them, without the adapters that it judges."""

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from demo.oracle import SampleUnreadableError, events_from_sample

SPOT_LINE = (
    '1723161254087896568 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,'
    '"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,'
    '"m":true,"M":true}}'
)
COIN_LINE = (
    '1723161256419684465 {"stream":"btcusd_perp@trade","data":{"e":"trade","E":1723161257687,'
    '"T":1723161257679,"s":"BTCUSD_PERP","t":849714402,"p":"61804.8","q":"4","X":"MARKET",'
    '"m":false}}'
)


def recorded(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_recorded_frames_become_canonical_events(tmp_path: Path):
    spot, coin = events_from_sample(
        [
            recorded(tmp_path, "binance_spot_btcusdt.trades.gz", SPOT_LINE),
            recorded(tmp_path, "binance_coinm_btcusd_perp.trades.gz", COIN_LINE),
        ]
    )

    assert spot == {
        "event_type": "TRADE",
        "venue": "binance_spot",
        "symbol": "BTCUSDT",
        "trade_id": 3735683259,
        "event_time": datetime(2024, 8, 8, 23, 54, 15, 342000, tzinfo=UTC),
        "price": Decimal("61837.63"),
        "quantity": Decimal("0.02"),
        "quantity_unit": "BASE",
        "contract_size": None,
        "aggressor_side": "SELL",
        "received_at": datetime(2024, 8, 8, 23, 54, 14, 87896, tzinfo=UTC),
    }
    assert (coin["venue"], coin["symbol"], coin["quantity"]) == ("binance_coinm", "BTCUSD_PERP", 4)
    assert (coin["quantity_unit"], coin["contract_size"]) == ("CONTRACT", 100)
    assert coin["aggressor_side"] == "BUY"


@pytest.mark.parametrize("line", ["", "1 {}", SPOT_LINE[:-9], "x" + SPOT_LINE])
def test_a_line_that_is_no_trade_frame_is_named(tmp_path: Path, line: str):
    path = recorded(tmp_path, "binance_spot_btcusdt.trades.gz", SPOT_LINE, line, SPOT_LINE)
    with pytest.raises(SampleUnreadableError, match=r"btcusdt\.trades\.gz:2 "):
        list(events_from_sample([path]))
