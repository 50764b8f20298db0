"""Batch and speed where one instrument has most trades, beside as many trades that are even.

Usage: python bench/skew.py [--skew 0.8] [--symbols 50] [--batch-events 1500000]
                            [--speed-events 300000] [--rounds 1] [--json out.json]

Twice the same number of synthetic trades of the same instruments, five minutes of one business hour
for batch and one for speed: once the first instrument has no more than any other, once most. Each
is on a home and a broker of its own, embedded, and worked on in a fresh process: batch from bronze
to published, speed from the beginning of the log to its end. Sessions are started before the clock.
Afterwards each trade must be in the merged view, and the largest share be what was asked for. The
ratio is taken within each round; the order alternates.
"""

import argparse
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

from _homes import BenchHome, running_home
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession

import batch.datasets.trades
import speed.flows.trades
from batch.job import BatchJob
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.progress import read_progress
from lakehouse.settings import Settings
from lakehouse.spark import spark_session
from serving.engine import SqlEngine
from speed.cli import SMALL_AND_OFTEN
from speed.query import run_query

HOUR = "2024-08-08T12:00:00Z"
SINCE = datetime(2024, 1, 1, tzinfo=UTC)
# How the session of each layer differs from the default, as its verb has it.
SESSIONS: dict[str, dict[str, str]] = {"batch": {}, "speed": SMALL_AND_OFTEN}
SPREADS = ("even", "skewed")
TARGET_RATIO = 2.0
# How far the largest share may be from what was asked for: it is drawn by lot.
TOLERANCE = 0.02
TRADES_OF_EACH = (
    "SELECT CAST(sum(trade_count) AS bigint) AS trades FROM serving.bars_1m GROUP BY venue, symbol"
)


def prepare(home: BenchHome, layer: str, *, events: int, symbols: int, share: float) -> None:
    """Make the tables, send the trades, and land them if batch is to have them."""
    home.ask("schemas", "apply")
    market = ["--symbols", str(symbols), "--skew", str(share), "--seed", "7", "--start", HOUR]
    home.ask("synth", "--events", str(events), "--rate", "0", *market, "--json")
    if layer == "batch":
        home.ask("land", "--once")


def run_batch(spark: SparkSession, catalog: Catalog, settings: Settings) -> None:
    """Process all that is landed."""
    progress = read_progress(catalog.load_table("bronze.market_trades"))
    if progress is None:
        raise SystemExit("nothing was landed")
    job = BatchJob(spark, catalog, settings, batch.datasets.trades.Trades())
    job.run(Interval(SINCE, progress.ingested_through))


def run_speed(spark: SparkSession, catalog: Catalog, settings: Settings) -> None:
    """Process all that is in the log."""
    flow = speed.flows.trades.Trades()
    run_query(lambda: spark, settings, catalog, flow, once=True, stop=Event(), beat=lambda: None)


def work(layer: str, home: Path) -> float:
    """Do one layer's work in this process; return the seconds that it took."""
    settings = Settings(home=home)
    catalog = load_catalog(settings)
    spark = spark_session(settings, f"bench {layer}", **SESSIONS[layer])
    began = time.monotonic()
    (run_batch if layer == "batch" else run_speed)(spark, catalog, settings)
    seconds = time.monotonic() - began
    spark.stop()
    return seconds


def verify(home: Path, *, events: int, share: float) -> None:
    """Stop if the view lacks trades, or if they are not spread as they should be."""
    engine = SqlEngine(load_catalog(Settings(home=home)))
    counts = [row["trades"] for row in engine.query(TRADES_OF_EACH).to_pylist()]
    engine.close()
    if sum(counts) != events:
        raise SystemExit(f"{events} trades were sent, the view has {sum(counts)}")
    largest = max(counts) / events
    if abs(largest - share) > TOLERANCE:
        raise SystemExit(f"the largest share of an instrument is {largest:.3f}, not {share:.3f}")


def measure(layer: str, *, events: int, symbols: int, share: float) -> float:
    """Have one layer work on trades of which the first instrument has a share; return seconds."""
    with running_home(f"skew-{layer}", "--only", "kafka") as home:
        prepare(home, layer, events=events, symbols=symbols, share=share)
        command = [sys.executable, __file__, "--layer", layer, "--home", str(home.path)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        verify(home.path, events=events, share=share)
    return float(json.loads(output.splitlines()[-1])["seconds"])


def compare(options: argparse.Namespace, layer: str) -> dict[str, object]:
    """Measure one layer on both, in each round; return its figures."""
    events = options.batch_events if layer == "batch" else options.speed_events
    shares = {"even": 1 / options.symbols, "skewed": options.skew}
    rounds = []
    for number in range(options.rounds):
        seconds = {
            spread: round(
                measure(layer, events=events, symbols=options.symbols, share=shares[spread]), 1
            )
            for spread in (SPREADS if number % 2 == 0 else reversed(SPREADS))
        }
        ratio = round(seconds["skewed"] / seconds["even"], 2)
        rounds.append({spread: seconds[spread] for spread in SPREADS} | {"ratio": ratio})
        print(f"{layer}, round {number + 1}: {rounds[-1]}", file=sys.stderr)
    return {"events": events, "rounds": rounds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skew", type=float, default=0.8, help="the first instrument's share")
    parser.add_argument("--symbols", type=int, default=50, help="instruments")
    parser.add_argument("--batch-events", type=int, default=1_500_000)
    parser.add_argument("--speed-events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--layer", choices=SESSIONS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.layer:
        print(json.dumps({"seconds": work(options.layer, options.home)}))
        return
    figures: dict[str, Any] = {
        "symbols": options.symbols,
        "skew": options.skew,
        "target_ratio": TARGET_RATIO,
        **{layer: compare(options, layer) for layer in SESSIONS},
    }
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures))
    ratios = [one["ratio"] for layer in SESSIONS for one in figures[layer]["rounds"]]
    if max(ratios) > TARGET_RATIO:
        raise SystemExit(f"skewed took {max(ratios)} times as long as even, aim {TARGET_RATIO}")


if __name__ == "__main__":
    main()
