"""Ten times the events, ten times the instruments, and the settings that move what gives first.

Usage: python bench/scaling.py [--profile stack] [--warm-up 300] [--seconds 60]
                               [--only "one partition"] [--json out.json]

`bench/freshness.py`'s measurement, with the same probe, of one load after the other on a platform
that has been warmed up by the largest; and of the largest on platforms that differ in one setting.
JVMs get faster for longer than a warm-up lasts. So the largest load is measured first, at the age
at which the other platforms meet it, and once more at the end.
"""

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from freshness import NothingVisibleError, load, measure, warm_home

# Events a second, and instruments.
LARGEST = (5000, 200)
LOADS = {
    "both": LARGEST,
    "base": (500, 20),
    "symbols": (500, 200),
    "events": (5000, 20),
    "both, later": LARGEST,
}
# Of a load before it is measured: what the one before has left behind is then done.
LEAD_IN_SECONDS = 30.0
AS_SHIPPED = "as shipped"
SETTINGS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        AS_SHIPPED: {},
        "one executor": {"LAKEHOUSE_SPARK_EXECUTORS": "1"},
        "executors of 1 GiB": {"LAKEHOUSE_SPARK_EXECUTOR_MEMORY": "1g"},
        "a micro-batch every 10 s": {"LAKEHOUSE_SPEED_TRIGGER_SECONDS": "10"},
        "one partition": {"LAKEHOUSE_TOPIC_PARTITIONS": "1"},
        "eight partitions": {"LAKEHOUSE_TOPIC_PARTITIONS": "8"},
    }
)
SHOWN = ("p50_seconds", "p95_seconds", "p99_seconds", "caught_up_seconds", "memory_gib")


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


def points(options: argparse.Namespace, settings: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Measure on one home; yield the name of each load and what was seen under it.

    One that the platform cannot keep up with at all has no figures, which is a result.
    """
    loads = LOADS if settings == AS_SHIPPED else {"both": LARGEST}
    words = {"of": "bars", **vars(options)}
    rate, symbols = LARGEST
    warm_up = argparse.Namespace(rate=rate, symbols=symbols, **words)
    with environment(SETTINGS[settings]), warm_home(warm_up) as (home, start_seconds):
        for name, (rate, symbols) in loads.items():
            under = argparse.Namespace(rate=rate, symbols=symbols, **words)
            load(home, under, LEAD_IN_SECONDS, day=1)
            try:
                yield name, {"start_seconds": start_seconds, **measure(home, under)}
            except NothingVisibleError:
                yield name, {}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=["embedded", "stack"], default="stack")
    parser.add_argument("--warm-up", type=float, default=300.0, help="seconds of load before")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a measurement")
    parser.add_argument("--only", action="append", choices=SETTINGS, help="repeatable")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures = {}
    for settings in options.only or SETTINGS:
        for name, found in points(options, settings):
            figures[f"{name}, {settings}"] = found
            shown = [f"{title.removesuffix('_seconds')} {found.get(title)}" for title in SHOWN]
            print(f"{name}, {settings}: {', '.join(shown)}", flush=True)
            print(f"  view {found.get('view_seconds')}", flush=True)
            print(f"  cores {found.get('cores_used')}", flush=True)
            if options.json:
                options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
