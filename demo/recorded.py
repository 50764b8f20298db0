"""Recorded exchange frames, read for the oracle without the platform's own adapters."""

import gzip
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from lakehouse.errors import LakehouseError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# The exchange's contract specification: one BTC contract is 100 USD, every other one 10 USD.
COIN_MARGINED_CONTRACT_SIZE = {"BTCUSD_PERP": Decimal(100), "ETHUSD_PERP": Decimal(10)}


class SampleUnreadableError(LakehouseError):
    """A recorded line is not a trade frame; names the file and the line."""


def events_from_sample(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Yield the canonical trade events of recorded frame files, in file order.

    A file is named after its venue (`binance_spot_btcusdt.trades.gz`); each line is
    `<receive time in ns> <frame JSON>`. Prices and quantities are Decimals, times UTC datetimes.
    Raises SampleUnreadableError on a line that is no trade frame.
    """
    for path in paths:
        venue = "_".join(path.name.split("_")[:2])
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield _event(venue, line)
                except (ValueError, KeyError, TypeError, ArithmeticError) as error:
                    raise SampleUnreadableError(
                        f"{path.name}:{number} is not a recorded trade of {venue}: {error!r}"
                    ) from error


def _event(venue: str, line: str) -> dict[str, Any]:
    received_ns, _, frame = line.partition(" ")
    trade = json.loads(frame)["data"]
    if trade["e"] != "trade":
        raise ValueError(f"event {trade['e']}")
    contracts = venue == "binance_coinm"
    return {
        "event_type": "TRADE",
        "venue": venue,
        "symbol": trade["s"],
        "trade_id": trade["t"],
        "event_time": EPOCH + timedelta(milliseconds=trade["T"]),
        "price": Decimal(trade["p"]),
        "quantity": Decimal(trade["q"]),
        "quantity_unit": "CONTRACT" if contracts else "BASE",
        "contract_size": COIN_MARGINED_CONTRACT_SIZE[trade["s"]] if contracts else None,
        # "m": the buyer was the maker, so the seller took.
        "aggressor_side": "SELL" if trade["m"] else "BUY",
        "received_at": EPOCH + timedelta(microseconds=int(received_ns) // 1000),
    }
