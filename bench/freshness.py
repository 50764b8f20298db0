"""Freshness from produced to visible in the merged view, with lander and speed both at work.

Usage: python bench/freshness.py [--of positions] [--profile stack] [--rate 5000] [--symbols 20]
                                 [--warm-up 240] [--seconds 60] [--json out.json]

On a home of its own: everything that `lakehouse up` starts in that profile, a load, and a probe
that asks the merged view over and over: DuckDB's on the embedded profile, Trino's on the stack.
Of bars, the load is synthetic trades, with duplicate and out-of-order events, corrections and
cancels, but no events of other hours. Of positions, it is the fills of a desk that trades on the
shipped recording, duplicate and out-of-order ones too; the recording is replayed first, so that the
view has marks. Beside the percentiles stand the events that were not visible yet at the end, the
start's length, how long the view took to answer, and what each process cost.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from _homes import BenchHome, running_home

from demo.freshness import (
    PAUSE_SECONDS,
    FreshnessProbe,
    Positions,
    ProbeFailure,
    merged_positions,
    polling,
)
from demo.tour import sample_files
from lakehouse.kafka import FILLS_TOPIC, TRADES_TOPIC, client_settings
from lakehouse.processes import Supervisor
from lakehouse.settings import Role, Settings, roles_folder
from serving.engines import Engine, sql_engine

FAULTS = ["--duplicate", "0.01", "--out-of-order", "0.02"]
# Events a second. What a micro-batch of fills costs follows how many its clients have had.
RATES = {"bars": 5000, "positions": 200}
AMENDMENTS = ["--corrections", "0.001", "--cancels", "0.001"]
# For minutes the JVM compiles Spark beside the work: how long it has had belongs to the figure.
WARM_UP_SECONDS = 240.0
SAMPLE_EVERY = 10
# A question costs DuckDB 35 ms of a core, Trino and its client a second of one: it must not become
# the load that is measured. The pause is in the figures.
PAUSES = {"embedded": PAUSE_SECONDS, "stack": 2.0}
CATCH_UP_SECONDS = 300.0
LOOK_SECONDS = 0.5


class NothingVisibleError(Exception):
    """The view has shown none of the events that it was to be timed by."""


def cpu_seconds(home: Path) -> dict[str, float]:
    """Return what each process of a home, and its children, have used so far."""
    used = {}
    for record in Supervisor(home).records():
        process = psutil.Process(record.pid)
        family = [process, *process.children(recursive=True)]
        times = [member.cpu_times() for member in family]
        used[record.name] = sum(each.user + each.system for each in times)
    return used


def load(home: BenchHome, options: argparse.Namespace, seconds: float, *, day: int) -> None:
    """Produce for some time; on another day clients do not repeat what they did."""
    rate = ["--rate", str(options.rate)]
    if options.of == "positions":
        limits = ["--fills", str(int(options.rate * seconds)), "--seed", str(day)]
        words = ["oms", "simulate", *map(str, sample_files()), *rate, *limits, *FAULTS]
    else:
        limits = ["--symbols", str(options.symbols), "--seed", "7", "--seconds", str(seconds)]
        words = ["synth", *rate, *limits, *FAULTS, *AMENDMENTS]
    home.ask(*words, "--json")


def held_positions(engine: Engine) -> Callable[[], Positions]:
    """Return the question to the merged view of how far each client's positions have got."""
    query = (
        "SELECT customer_id AS key, max(last_offset) AS position FROM serving.positions GROUP BY 1"
    )

    def ask() -> Positions:
        return {row["key"]: row["position"] for row in engine.query(query).to_pylist()}

    return ask


def settings_of(home: Path, role: Role) -> Settings:
    """Return a role's settings; they are the same for all roles on the embedded profile."""
    return Settings(home=home, _env_file=roles_folder(home) / f"{role}.env")  # type: ignore[call-arg]


class Timed:
    """A question to the merged view, and how long each answer took."""

    def __init__(self, home: Path, of: str) -> None:
        question = held_positions if of == "positions" else merged_positions
        self._ask = question(sql_engine(settings_of(home, "serving")))
        self.seconds: list[float] = []

    def __call__(self) -> Positions:
        """Ask."""
        began = time.monotonic()
        found = self._ask()
        self.seconds.append(time.monotonic() - began)
        return found

    def percentiles(self) -> dict[str, float]:
        """Return p50, p95 and p99 in seconds."""
        cuts = statistics.quantiles(self.seconds, n=100, method="inclusive")
        return {f"p{share}": round(cuts[share - 1], 3) for share in (50, 95, 99)}


def memory_bytes(home: BenchHome) -> dict[str, int]:
    """Return what each process takes, as `lakehouse status` tells it."""
    return {one["name"]: one["memory_bytes"] for one in json.loads(home.ask("status", "--json"))}


def until_seen(probe: FreshnessProbe, failure: ProbeFailure) -> float:
    """Wait until the view has shown every event, or for as long as it may take.

    Without it only what was visible in time would be measured, and who falls behind looked good.

    Returns:
        The seconds that it took: how far the view was behind when the load ended.
    """
    began = time.monotonic()
    while probe.unseen and time.monotonic() - began < CATCH_UP_SECONDS:
        failure.check()
        time.sleep(LOOK_SECONDS)
    return round(time.monotonic() - began, 1)


@contextmanager
def warm_home(options: argparse.Namespace) -> Iterator[tuple[BenchHome, float]]:
    """Bring the platform up on a home of its own and keep it under load until it is warm.

    Yields:
        The home, and the seconds that its start took.
    """
    began = time.monotonic()
    with running_home("freshness", "--profile", options.profile) as home:
        start_seconds = time.monotonic() - began
        if options.of == "positions":
            home.ask("replay", *map(str, sample_files()), "--json")
        load(home, options, options.warm_up, day=1)
        yield home, round(start_seconds, 1)


def measure(home: BenchHome, options: argparse.Namespace) -> dict[str, object]:
    """Put a home under load and return what was seen.

    Raises:
        NothingVisibleError: None of the events became visible in time.
    """
    visible = Timed(home.path, options.of)
    client = client_settings(settings_of(home.path, "ingest"))
    topic = FILLS_TOPIC if options.of == "positions" else TRADES_TOPIC
    probe = FreshnessProbe(client, topic, visible, sample_every=SAMPLE_EVERY)
    before, began = cpu_seconds(home.path), time.monotonic()
    with probe, polling(probe, PAUSES[options.profile]) as failure:
        load(home, options, options.seconds, day=2)
        took = time.monotonic() - began
        after = cpu_seconds(home.path)
        caught_up = until_seen(probe, failure)
        found, unseen = probe.freshness(), probe.unseen
    memory = memory_bytes(home)
    if found is None:
        raise NothingVisibleError
    return {
        "events_measured": found.events,
        "events_unseen": unseen,
        "caught_up_seconds": caught_up,
        "p50_seconds": found.p50_seconds,
        "p95_seconds": found.p95_seconds,
        "p99_seconds": found.p99_seconds,
        "max_seconds": found.max_seconds,
        "view_seconds": visible.percentiles(),
        "memory_gib": round(sum(memory.values()) / 2**30, 2),
        "memory_mib": {name: round(each / 2**20) for name, each in memory.items()},
        "cores_used": {name: round((after[name] - before[name]) / took, 2) for name in after},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=["embedded", "stack"], default="embedded")
    parser.add_argument("--of", choices=RATES, default="bars")
    parser.add_argument("--rate", type=int, help=f"events a second; left out: {RATES}")
    parser.add_argument("--symbols", type=int, default=20, help="instruments of bars")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_SECONDS, help="load before it")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measurement")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    options.rate = options.rate or RATES[options.of]
    figures = {
        "profile": options.profile,
        "of": options.of,
        "rate": options.rate,
        **({"symbols": options.symbols} if options.of == "bars" else {}),
        "warm_up_seconds": options.warm_up,
    }
    with warm_home(options) as (home, start_seconds):
        figures |= {"start_seconds": start_seconds} | measure(home, options)
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
