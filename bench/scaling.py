"""Ten times the events, ten times the instruments, and the settings that move what gives first.

Usage: python bench/scaling.py [--profile stack] [--warm-up 120] [--seconds 60] [--only both]
                               [--json out.json]

Each point is `bench/freshness.py`'s measurement on a home of its own: the same load and the same
probe at another rate, with other instruments or with one setting changed. Points are independent,
so each begins cold; the warm-up is short, and only points of one run can be compared.
"""

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from freshness import measure


@dataclass(frozen=True)
class Point:
    """One load, and the settings that differ from the defaults."""

    rate: int
    symbols: int
    settings: Mapping[str, str] = field(default_factory=dict)


POINTS = {
    "base": Point(500, 20),
    "symbols": Point(500, 200),
    "events": Point(5000, 20),
    "both": Point(5000, 200),
    "both, one executor": Point(5000, 200, {"LAKEHOUSE_SPARK_EXECUTORS": "1"}),
    "both, a micro-batch every 10 s": Point(5000, 200, {"LAKEHOUSE_SPEED_TRIGGER_SECONDS": "10"}),
    "both, one partition": Point(5000, 200, {"LAKEHOUSE_TOPIC_PARTITIONS": "1"}),
    "both, eight partitions": Point(5000, 200, {"LAKEHOUSE_TOPIC_PARTITIONS": "8"}),
}
SHOWN = (
    *("p50_seconds", "p95_seconds", "p99_seconds", "caught_up_seconds"),
    *("start_seconds", "memory_gib"),
)


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while; whoever is started meanwhile inherits them."""
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=["embedded", "stack"], default="stack")
    parser.add_argument("--warm-up", type=float, default=120.0, help="seconds of load before")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a measurement")
    parser.add_argument("--only", action="append", choices=POINTS, help="repeatable")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures = {}
    for name in options.only or POINTS:
        point = POINTS[name]
        load = argparse.Namespace(
            of="bars", rate=point.rate, symbols=point.symbols, **vars(options)
        )
        try:
            with environment(point.settings):
                found = figures[name] = measure(load)
        except SystemExit as reason:  # it cannot keep up at all, which is a result
            print(f"{name}: {reason} within {options.seconds:.0f} s", flush=True)
            continue
        cells = [f"{title.removesuffix('_seconds')} {found[title]}" for title in SHOWN]
        print(f"{name}: {', '.join(cells)}, view {found['view_seconds']}", flush=True)
        print(f"  cores {found['cores_used']}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
