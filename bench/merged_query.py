"""Queries on the merged bars beside the same queries on the batch table alone.

Usage: python bench/merged_query.py [--symbols 70] [--days 10] [--rounds 30] [--json out.json]

The batch table holds a bar for every minute, symbol and day. The speed table holds versions of the
last half hour's bars: the last hour of batch is still being written to. It is laid out in three
ways: many small files as a streaming writer leaves them, the same files behind merged manifests,
and compacted into one file. In each round every query runs once on the batch table and once on
the merged view, in alternating order; the ratio is taken within the round, and each figure is of
all rounds after a warm-up. CPU seconds are of the whole process, so they do not move with other
load on the machine.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from rich.console import Console
from rich.table import Table

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from schemas import tables
from serving.engine import SqlEngine

BATCH, SPEED = "gold.bars_1m", "gold.bars_1m_rt"
START = datetime(2024, 3, 1, tzinfo=UTC)
MINUTES_A_DAY = 1440
SPEED_MINUTES = 30
TARGET_RATIO = 1.5


def bars(symbols: int, start: datetime, minutes: int, first_offset: int) -> pa.Table:
    """Make a bar for each symbol and minute, sorted as the table is."""
    count = symbols * minutes
    number = np.arange(count)
    symbol, minute = number // minutes, number % minutes
    begin = np.datetime64(start.replace(tzinfo=None), "us") + minute.astype("timedelta64[m]")
    at = pa.array(begin.astype("datetime64[us]"), pa.timestamp("us", "UTC"))
    price = np.random.default_rng(first_offset).integers(10**8, 10**13, count)
    columns = {
        "venue": pa.array(np.where(symbol % 2, "binance_coinm", "binance_spot")),
        "symbol": pa.array(np.char.add("SYM", np.char.zfill(symbol.astype(str), 4))),
        "window_start": at,
        **dict.fromkeys(("open", "high", "low", "close"), decimals(price, 18, 8)),
        "volume": decimals(price, 38, 8),
        "notional": decimals(price * 3, 38, 16),
        "vwap": decimals(price, 38, 8),
        "trade_count": pa.array(number % 90 + 1),
        "first_trade_at": at,
        "last_trade_at": at,
        "log_partition": pa.array((symbol % 4).astype(np.int32)),
        "last_offset": pa.array(first_offset + number),
    }
    schema = schemas.contract(BATCH).arrow_schema()
    return pa.table({name: columns[name] for name in schema.names}).cast(schema)


def decimals(digits: np.ndarray, precision: int, scale: int) -> pa.Array:
    """Read 64-bit integers as the digits of decimals."""
    words = np.zeros((len(digits), 2), dtype=np.int64)
    words[:, 0] = digits
    buffers = [None, pa.py_buffer(words.tobytes())]
    return pa.Array.from_buffers(pa.decimal128(precision, scale), len(digits), buffers)


def fill_batch(catalog: Catalog, symbols: int, days: int) -> None:
    """Fill the batch table, a commit and a file for each day."""
    for day in range(days):
        rows = bars(symbols, START + timedelta(days=day), MINUTES_A_DAY, day * 10**6)
        catalog.load_table(BATCH).append(rows)


def fill_speed(catalog: Catalog, symbols: int, days: int, commits: int, layout: str) -> None:
    """Fill the speed table with two versions of each bar of the last half hour."""
    catalog.drop_table(SPEED)
    tables.apply(catalog, [schemas.contract(SPEED)])
    speed = catalog.load_table(SPEED)
    properties = {"commit.manifest.min-count-to-merge": "5"} if layout == "merged manifests" else {}
    properties |= {"commit.manifest-merge.enabled": str(bool(properties)).lower()}
    with speed.transaction() as transaction:
        transaction.set_properties(properties)
    first = START + timedelta(days=days, minutes=-SPEED_MINUTES)
    step = SPEED_MINUTES / commits
    written = []
    for commit in range(commits):
        start = first + timedelta(minutes=int(commit * step))
        rows = bars(symbols, start, 2, 10**9 + commit * 10**6)
        inside = START + timedelta(days=days)
        written.append(rows.filter(pc.field("window_start") < pa.scalar(inside)))
    if layout == "one file":
        speed.append(pa.concat_tables(written))
    else:
        for rows in written:
            speed.append(rows)


def queries(days: int) -> dict[str, str]:
    """Return the questions; ``{}`` stands for the table."""
    last, before = START + timedelta(days=days - 1), START + timedelta(days=days - 2)
    one_day = "SELECT symbol, sum(volume), max(high), min(low) FROM {} WHERE window_start >="
    return {
        "all days by symbol": (
            "SELECT symbol, count(*), sum(volume), sum(notional), max(high), min(low)"
            " FROM {} GROUP BY symbol"
        ),
        "last day by symbol": f"{one_day} TIMESTAMPTZ '{last}' GROUP BY symbol",
        "an earlier day by symbol": (
            f"{one_day} TIMESTAMPTZ '{before}' AND window_start < TIMESTAMPTZ '{last}'"
            " GROUP BY symbol"
        ),
        "one symbol, last day": (
            f"SELECT * FROM {{}} WHERE symbol = 'SYM0003' AND window_start >= TIMESTAMPTZ '{last}'"
        ),
        "total volume": "SELECT sum(volume) FROM {}",
    }


def measure(run: Callable[[str], object], sql: str) -> tuple[float, float]:
    """Return seconds by the clock and of the CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    run(sql)
    return time.perf_counter() - clock, time.process_time() - cpu


def compare(engine: SqlEngine, sql: str, rounds: int) -> dict[str, float]:
    """Run one query on both in alternating order; times in milliseconds."""
    asked = {"gold": sql.format(BATCH), "merged": sql.format("serving.bars_1m")}
    for text in asked.values():
        engine.query(text)
    clock: dict[str, list[float]] = {"gold": [], "merged": []}
    cpu: dict[str, list[float]] = {"gold": [], "merged": []}
    for number in range(rounds):
        for name in sorted(asked, reverse=bool(number % 2)):
            seconds, cpu_seconds = measure(engine.query, asked[name])
            clock[name].append(seconds * 1000)
            cpu[name].append(cpu_seconds * 1000)
    figures = {
        "ratio": statistics.median(m / g for g, m in zip(*clock.values(), strict=True)),
        "cpu_ratio": statistics.median(m / g for g, m in zip(*cpu.values(), strict=True)),
    }
    for name, times in clock.items():
        cut = statistics.quantiles(times, n=20)
        figures |= {f"{name}_p50_ms": cut[9], f"{name}_p95_ms": cut[18]}
    return {key: round(value, 2) for key, value in figures.items()}


def main() -> None:
    """Fill a lake of its own, measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--symbols", type=int, default=70)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--commits", type=int, default=60, help="commits to the speed table")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, dest="out")
    options = parser.parse_args()
    console = Console()
    report: dict[str, object] = {
        "gold_rows": options.symbols * options.days * MINUTES_A_DAY,
        "speed_commits": options.commits,
        "target_ratio": TARGET_RATIO,
        "rounds": options.rounds,
    }
    with tempfile.TemporaryDirectory() as folder:
        catalog = load_catalog(Settings(home=Path(folder)))
        tables.apply(catalog, [schemas.contract(name) for name in (BATCH, SPEED)])
        fill_batch(catalog, options.symbols, options.days)
        for layout in ("small files", "merged manifests", "one file"):
            fill_speed(catalog, options.symbols, options.days, options.commits, layout)
            engine = SqlEngine(catalog)
            report["speed_rows"] = engine.query(f"SELECT count(*) AS n FROM {SPEED}")[0][0].as_py()
            found = {
                name: compare(engine, sql, options.rounds)
                for name, sql in queries(options.days).items()
            }
            engine.close()
            report[layout] = found
            show(console, layout, found)
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def show(console: Console, layout: str, found: dict[str, dict[str, float]]) -> None:
    """Print the figures of one layout of the speed table."""
    table = Table(title=f"speed table: {layout}")
    figures = list(next(iter(found.values())))
    for heading in ("query", *figures):
        table.add_column(heading, justify="left" if heading == "query" else "right")
    for name, values in found.items():
        table.add_row(name, *(f"{values[figure]:.2f}" for figure in figures))
    console.print(table)


if __name__ == "__main__":
    main()
