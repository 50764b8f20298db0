"""Trades and bars built anew from bronze: events a second, beside the batch run that made them.

Usage: python bench/rebuild.py [--events 2000000] [--json out.json]

Synthetic trades are sent to a broker of their own and landed once. One batch run makes silver and
gold of them, then `rebuild` makes them again beside these, compares both by partition, and swaps.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from _homes import BenchHome

from batch.datasets.trades import Trades
from batch.job import BatchJob
from batch.rebuild.job import Rebuild
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.progress import read_progress
from lakehouse.settings import Settings
from lakehouse.spark import spark_session

T = TypeVar("T")

# Event time runs at the load's own rate, 5,000 a second: two million are seven minutes of it.
START = "2024-08-08T12:00:00Z"
SINCE = datetime(2024, 1, 1, tzinfo=UTC)


def prepare(home: BenchHome, events: int) -> None:
    """Make the lake and land the events."""
    home.run("up", "--only", "kafka")
    try:
        home.run("schemas", "apply")
        load = ["--events", str(events), "--rate", "0", "--symbols", "50", "--duplicate", "0.01"]
        home.ask("synth", *load, "--seed", "7", "--start", START, "--json")
        home.run("land", "--once")
    finally:
        home.run("down")


def timed(step: Callable[[], T]) -> tuple[float, T]:
    """Do a step; return the seconds that it took, and what it returned."""
    began = time.monotonic()
    result = step()
    return round(time.monotonic() - began, 1), result


def measure(home: Path) -> dict[str, object]:
    """Run batch once and rebuild what it has made; return the figures.

    Raises:
        SystemExit: Nothing was landed, or the two versions differ.
    """
    settings = Settings(home=home, spark_driver_memory="6g")
    catalog = load_catalog(settings)
    progress = read_progress(catalog.load_table("bronze.market_trades"))
    if progress is None:
        raise SystemExit("nothing was landed")
    spark = spark_session(settings, "bench rebuild")
    job = BatchJob(spark, catalog, settings, Trades())
    rebuild = Rebuild([job])
    batch, _ = timed(lambda: job.run(Interval(SINCE, progress.ingested_through)))
    build, version = timed(rebuild.build)
    compare, (version, found) = timed(lambda: rebuild.compare(version))
    if differing := [one.table for one in found if not one.equal]:
        raise SystemExit(f"the versions differ: {', '.join(differing)}")
    events = rebuild.events(version)
    swap, _ = timed(rebuild.swap)
    spark.stop()
    return {
        "events": events,
        "seconds": {"batch": batch, "build": build, "compare": compare, "swap": swap},
        "events_per_second": round(events / build),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rebuild-") as folder:
        home = BenchHome(Path(folder) / "home")
        prepare(home, options.events)
        figures = measure(home.path)
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
