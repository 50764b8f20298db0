"""From produced to visible in an API's store of live rows.

Usage: python bench/live.py [--all] [--rate 5000] [--symbols 20] [--warm-up 20] [--seconds 60]
                            [--json out.json]

On a home of its own: a broker and the live tier; with --all everything that `lakehouse up` starts,
whose layers then share the machine. The load is synthetic trades, with duplicate and out-of-order
events, corrections and cancels. A probe follows the log, and asks a store in this process over and
over how far each instrument has got; the pause between two questions is in the figures. Then the
live tier is killed and started again, and the time is taken until every bar is as new as the log.
"""

import argparse
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from _homes import BenchHome, running_home

from demo.freshness import FreshnessProbe, Positions, polling
from lakehouse.kafka import TRADES_TOPIC, client_settings
from lakehouse.processes import Supervisor
from lakehouse.settings import Settings
from serving.live_rows.store import LiveStore

FAULTS = ["--duplicate", "0.01", "--out-of-order", "0.02"]
AMENDMENTS = ["--corrections", "0.001", "--cancels", "0.001"]
PAUSE_SECONDS = 0.005
SAMPLE_EVERY = 10
CATCH_UP_SECONDS = 60.0


def load(home: BenchHome, options: argparse.Namespace, seconds: float) -> None:
    """Produce trades for some time."""
    limits = ["--symbols", str(options.symbols), "--seed", "7", "--seconds", str(seconds)]
    home.ask("synth", "--rate", str(options.rate), *limits, *FAULTS, *AMENDMENTS, "--json")


def newest(store: LiveStore) -> Positions:
    """Return how far each instrument's bars have got."""
    found: dict[str, int] = {}
    for row in store.rows("bars_1m"):
        key = f"{row['venue']}:{row['symbol']}"
        found[key] = max(found.get(key, -1), row["last_offset"])
    return found


def live_process(home: BenchHome) -> psutil.Process:
    """Return the live tier's process."""
    record = Supervisor(home.path).find("live")
    if record is None:
        raise RuntimeError("the live tier does not run")
    return psutil.Process(record.pid)


@contextmanager
def store_of(home: BenchHome) -> Iterator[LiveStore]:
    """Follow the live rows of a home."""
    with LiveStore(Settings(home=home.path)) as store:
        yield store


def measure(home: BenchHome, store: LiveStore, options: argparse.Namespace) -> dict[str, object]:
    """Put a home under load and return what was seen."""
    client = client_settings(Settings(home=home.path))
    process = live_process(home)
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    probe = FreshnessProbe(client, TRADES_TOPIC, lambda: newest(store), sample_every=SAMPLE_EVERY)
    with probe, polling(probe, PAUSE_SECONDS) as failure:
        load(home, options, options.seconds)
        cores = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while probe.unseen and time.monotonic() < deadline:
            failure.check()
            time.sleep(PAUSE_SECONDS)
        found, unseen = probe.freshness(), probe.unseen
    if found is None:
        raise RuntimeError("no event became visible")
    return {
        "events_measured": found.events,
        "events_unseen": unseen,
        "p50_seconds": found.p50_seconds,
        "p95_seconds": found.p95_seconds,
        "p99_seconds": found.p99_seconds,
        "max_seconds": found.max_seconds,
        "cores_used": round(cores, 2),
        "memory_mib": round(process.memory_info().rss / 2**20),
    }


def rebuild(home: BenchHome, store: LiveStore) -> float:
    """Kill the live tier, and return the seconds until it is caught up with the log again."""
    process = live_process(home)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(CATCH_UP_SECONDS)
    began, now = time.monotonic(), time.time()
    home.run("up", "--only", "live")
    while (progress := store.progress("bars_1m")) is None or progress.seen_through < now:
        if time.monotonic() - began > CATCH_UP_SECONDS:
            raise RuntimeError("the live tier did not catch up")
        time.sleep(PAUSE_SECONDS)
    return round(time.monotonic() - began, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="beside everything that `up` starts")
    parser.add_argument("--rate", type=int, default=5000, help="events a second")
    parser.add_argument("--symbols", type=int, default=20, help="instruments")
    parser.add_argument("--warm-up", type=float, default=20.0, help="load before it")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measurement")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    only = [] if options.all else ["--only", "live"]
    figures: dict[str, object] = {
        "rate": options.rate,
        "symbols": options.symbols,
        "beside_all": options.all,
    }
    with running_home("live", *only) as home, store_of(home) as store:
        load(home, options, options.warm_up)
        figures |= measure(home, store, options)
        figures["rebuilt_seconds"] = rebuild(home, store)
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
