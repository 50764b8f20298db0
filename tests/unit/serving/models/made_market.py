"""Features and trades of a made-up market, in which there is something to learn."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

import schemas

START = datetime(2024, 8, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def market(seed: int, *, minutes: int = 600, level: float = 1.0) -> pa.Table:
    """Features of two instruments whose volatility goes back to its mean, and follows the flow.

    What the next minute brings shows in the imbalance of this one: something that the last
    volatility does not tell, and that can be learnt.
    """
    chance = np.random.default_rng(seed)
    rows = []
    for symbol, usual in (("BTCUSDT", 4e-4), ("ETHUSDT", 9e-4)):
        pressure = chance.uniform(-1, 1, minutes + 1)
        noise = np.exp(chance.normal(0, 0.1, minutes + 1))
        # Of the minute after: pressure on one side moves prices.
        volatility = level * usual * noise * (0.4 + 1.6 * np.abs(np.roll(pressure, 1)))
        for at in range(minutes):
            start, past = START + at * MINUTE, volatility[max(0, at - 14) : at + 1]
            rows.append(
                {
                    "venue": "synthetic",
                    "symbol": symbol,
                    "window_start": start,
                    "known_at": start + MINUTE,
                    "return_1m": float(chance.normal(0, volatility[at])),
                    "return_5m": float(chance.normal(0, volatility[at] * 2)),
                    "realised_volatility_1m": float(volatility[at]),
                    "realised_volatility_5m": float(np.sqrt(np.mean(past[-5:] ** 2))),
                    "ewma_volatility_15m": float(np.sqrt(np.mean(past**2))),
                    "order_flow_imbalance_1m": float(pressure[at]),
                    "order_flow_imbalance_5m": float(np.mean(pressure[max(0, at - 4) : at + 1])),
                    "spread_bps": None if at % 50 == 0 else 1.5,
                    "trade_intensity_1m": 2.0,
                    "trade_intensity_5m": 2.0,
                    "quote_intensity_1m": 0.0,
                    "trade_count": 120,
                }
            )
    return pa.Table.from_pylist(rows, schemas.contract("gold.features_1m").arrow_schema())


def tape(seed: int, *, minutes: int = 60) -> pa.Table:
    """Trades of two instruments, one in a second or so, whose prices walk at random."""
    schema = schemas.contract("silver.trades").arrow_schema()
    found = made_tape(seed, minutes=minutes).assign(
        state="TRADED",
        quantity_unit="BASE",
        trade_position=range(2 * 60 * minutes),
        log_partition=0,
        last_offset=range(2 * 60 * minutes),
    )
    rows = pa.Table.from_pandas(found, preserve_index=False)
    missing = [field for field in schema if field.name not in rows.column_names]
    for field in missing:
        rows = rows.append_column(field.name, pa.nulls(len(rows), field.type))
    return rows.select(schema.names).cast(schema)


def made_tape(seed: int, *, minutes: int = 60) -> pd.DataFrame:
    """The columns of the tape that features are made of."""
    chance, number = np.random.default_rng(seed), 60 * minutes
    tapes = []
    for symbol, price in (("BTCUSDT", 60_000), ("ETHUSDT", 2_600)):
        seconds = np.sort(chance.uniform(0, number, number))
        times = pd.Timestamp(START) + pd.to_timedelta(np.round(seconds, 1), unit="s")
        walk = np.exp(np.cumsum(chance.normal(0, 5e-5, number)))
        tapes.append(
            pd.DataFrame(
                {
                    "venue": "synthetic",
                    "symbol": symbol,
                    "trade_id": range(1, number + 1),
                    "event_time": times.as_unit("us"),
                    "reported_price": np.round(price * walk, 2),
                    "reported_quantity": np.round(np.exp(chance.normal(0, 1, number)), 4) + 0.0001,
                }
            )
        )
    return pd.concat(tapes, ignore_index=True)
