"""Freshness from produced to visible in the merged view, with lander and speed both at work.

Usage: python bench/freshness.py [--rate 5000] [--warm-up 240] [--seconds 60] [--json out.json]

On a home of its own: a broker, the lander and the speed layer as `lakehouse up` starts them, a
synthetic load (with duplicate and out-of-order events, corrections and cancels; no events of other
hours), and a probe that asks the merged view over and over. Beside the percentiles stands what
each process cost.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from demo.freshness import FreshnessProbe, merged_positions, polling
from lakehouse.catalog import load_catalog
from lakehouse.kafka import TRADES_TOPIC, client_settings
from lakehouse.processes import Supervisor
from lakehouse.settings import Settings
from serving.engine import SqlEngine

LAKEHOUSE = str(Path(sys.executable).with_name("lakehouse"))
FAULTS = ["--duplicate", "0.01", "--out-of-order", "0.02"]
AMENDMENTS = ["--corrections", "0.001", "--cancels", "0.001"]
# For minutes the JVM compiles Spark beside the work: how long it has had belongs to the figure.
WARM_UP_SECONDS = 240.0
SAMPLE_EVERY = 10


def cpu_seconds(home: Path) -> dict[str, float]:
    """Return what each process of a home, and its children, have used so far."""
    used = {}
    for record in Supervisor(home).records():
        process = psutil.Process(record.pid)
        family = [process, *process.children(recursive=True)]
        times = [member.cpu_times() for member in family]
        used[record.name] = sum(each.user + each.system for each in times)
    return used


def load(rate: int, seconds: float, environ: dict[str, str]) -> None:
    """Produce for some time."""
    limits = ["--rate", str(rate), "--seconds", str(seconds), "--symbols", "20", "--seed", "7"]
    subprocess.run(
        [LAKEHOUSE, "synth", *limits, *FAULTS, *AMENDMENTS, "--json"],
        env=environ,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def measure(home: Path, rate: int, warm_up: float, seconds: float) -> dict[str, object]:
    """Run the platform on ``home`` under load and return what was seen."""
    environ = os.environ | {"LAKEHOUSE_HOME": str(home)}
    subprocess.run([LAKEHOUSE, "up"], env=environ, check=True)
    try:
        settings = Settings(home=home)
        load(rate, warm_up, environ)
        visible = merged_positions(SqlEngine(load_catalog(settings)))
        probe = FreshnessProbe(
            client_settings(settings), TRADES_TOPIC, visible, sample_every=SAMPLE_EVERY
        )
        before, began = cpu_seconds(home), time.monotonic()
        with probe, polling(probe) as failure:
            load(rate, seconds, environ)
            took = time.monotonic() - began
            after = cpu_seconds(home)
            failure.check()
            found = probe.freshness()
    finally:
        subprocess.run([LAKEHOUSE, "down"], env=environ, check=True)
    if found is None:
        raise SystemExit("nothing became visible")
    return {
        "rate": rate,
        "warm_up_seconds": warm_up,
        "events_measured": found.events,
        "p50_seconds": found.p50_seconds,
        "p95_seconds": found.p95_seconds,
        "p99_seconds": found.p99_seconds,
        "max_seconds": found.max_seconds,
        "cores_used": {name: round((after[name] - before[name]) / took, 2) for name in after},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=5000, help="events a second")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_SECONDS, help="load before it")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measurement")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="freshness-") as folder:
        figures = measure(Path(folder) / "home", options.rate, options.warm_up, options.seconds)
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
