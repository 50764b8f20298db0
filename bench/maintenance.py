"""Upkeep of streamed tables, while both layers are at work under load and while they rest.

Usage: python bench/maintenance.py [--rate 2000] [--seconds 90] [--json out.json]

On a home of its own, embedded: all that `lakehouse up` starts, and a synthetic load of trades that
happened hours ago, so that the speed layer's tables are no longer appended to by their time.
Twice the tables are filled for as long; the first time they are kept up while the load goes on, the
second time after it has ended and all is processed. For each: what upkeep took, files and bytes
before and after, and how long the merged view took to answer before and after. At the end each
event that was sent must be in the view, once.
"""

import argparse
import json
import statistics
import subprocess
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from _homes import BenchHome, running_home

import schemas
from batch.maintenance.job import Maintenance
from batch.maintenance.report import Outcome
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from lakehouse.spark import spark_session
from serving.engine import SqlEngine

TABLES = ("bronze.market_trades", "silver.trades_rt", "gold.bars_1m_rt")
QUERY = "SELECT coalesce(sum(trade_count), 0) AS trades FROM serving.bars_1m"
# The lander's newest rows are left alone, as they are for longer in earnest.
NEWEST = timedelta(seconds=10)
ASKED = 7
DEADLINE_SECONDS = 300.0


def start_load(
    home: BenchHome, options: argparse.Namespace, seed: int
) -> "subprocess.Popen[bytes]":
    """Start to produce; another seed gives other trades, of another hour."""
    start = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=4 - seed)
    limits = ["--rate", str(options.rate), "--seconds", str(options.seconds)]
    limits += ["--start", start.isoformat(timespec="seconds"), "--seed", str(seed)]
    return home.start("synth", *limits, "--json")


def sent(load: "subprocess.Popen[bytes]") -> int:
    """Wait for a load's end and return how many events it sent."""
    said, _ = load.communicate()
    if load.returncode:
        raise SystemExit("the load failed")
    return int(json.loads(said)["events"])


def trades(engine: SqlEngine) -> int:
    """Return how many trades the merged view counts."""
    return int(engine.query(QUERY).to_pylist()[0]["trades"])


def view_seconds(engine: SqlEngine) -> float:
    """Return how long the merged view takes to answer, at the median."""
    took = []
    for _ in range(ASKED):
        began = time.monotonic()
        trades(engine)
        took.append(time.monotonic() - began)
    return round(statistics.median(took), 3)


def drain(engine: SqlEngine, events: int) -> None:
    """Wait until the merged view has so many trades."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (seen := trades(engine)) != events:
        if time.monotonic() > deadline:
            raise SystemExit(f"{events} events were sent, the view has {seen}")
        time.sleep(0.5)


def keep_up(maintenance: Maintenance, engine: SqlEngine) -> dict[str, object]:
    """Keep the streamed tables up, and return what that took and did.

    Raises:
        SystemExit: The upkeep of a table failed.
    """
    before, began = view_seconds(engine), time.monotonic()
    reports = maintenance.run([schemas.contract(name) for name in TABLES])
    took = time.monotonic() - began
    if failed := [one.table for one in reports if one.outcome is Outcome.FAILED]:
        raise SystemExit(f"upkeep of {', '.join(failed)} failed")
    return {
        "seconds": round(took, 1),
        "view_seconds_before": before,
        "view_seconds_after": view_seconds(engine),
        "tables": {
            report.table: {
                "outcome": report.outcome.value,
                "before": asdict(report.before),
                "after": report.after and asdict(report.after),
                "compacted": report.files_compacted,
                "written": report.files_written,
                "put_off": report.put_off,
            }
            for report in reports
        },
    }


def measure(home: BenchHome, options: argparse.Namespace) -> dict[str, Any]:
    """Keep up what streams into ``home``, twice, and return what was seen."""
    settings = Settings(home=home.path)
    spark = spark_session(settings, "maintain")
    catalog = load_catalog(settings)
    engine = SqlEngine(catalog)
    try:
        # A session of its own age: what starting it costs is no upkeep.
        Maintenance(spark, catalog, datetime.now(UTC)).run([schemas.contract("ops.runs")])
        events = sent(start_load(home, options, 1))
        load = start_load(home, options, 2)
        busy = keep_up(Maintenance(spark, catalog, datetime.now(UTC), newest=NEWEST), engine)
        busy["load_was_on"] = load.poll() is None
        events += sent(load)
        drain(engine, events)
        resting = keep_up(
            Maintenance(spark, catalog, datetime.now(UTC), newest=timedelta(0)), engine
        )
        drain(engine, events)
    finally:
        engine.close()
        spark.stop()
    return {"rate": options.rate, "events": events, "under_load": busy, "at_rest": resting}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=2000, help="events a second")
    parser.add_argument("--seconds", type=float, default=90.0, help="length of each load")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with running_home("maintenance") as home:
        figures = measure(home, options)
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures))
    if not figures["under_load"]["load_was_on"]:
        raise SystemExit("the load had ended before the upkeep that it was to be beside")


if __name__ == "__main__":
    main()
