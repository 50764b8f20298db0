"""What batch has covered: positions of the log that silver has seen, hours that were recomputed."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cached_property, partial

from pyiceberg.catalog import Catalog

from lakehouse.intervals import Interval
from lakehouse.positions import LogPosition

RUNS = "ops.runs"
DEAD_LETTERS = "bronze.dead_letters"
BATCH = "batch"
PUBLISHED = "PUBLISHED"


def batch_coverage(
    catalog: Catalog, dataset: str, topic: str, generation_start: int
) -> dict[int, int]:
    """Return, by log partition, the first position that batch may not have seen.

    A run covers the positions from the first to the last that were ingested in its interval. Runs
    come in any order and may leave gaps, so only what joins on without a gap from the start of the
    topic's generation counts. What the lander refused was never in bronze, and is no gap.

    Args:
        catalog: The lake's catalog.
        dataset: What batch makes of the topic.
        topic: The topic.
        generation_start: Encoded position of offset 0 of the topic's present generation.

    Returns:
        Encoded positions; a partition of which nothing is covered is left out.
    """
    rows = (
        catalog.load_table(RUNS)
        .scan(
            row_filter=(f"kind = '{BATCH}' and dataset = '{dataset}' and status = '{PUBLISHED}'"),
            selected_fields=("offsets",),
        )
        .to_arrow()
        .to_pylist()
    )
    ranges: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        for partition, (first, end) in json.loads(row["offsets"] or "{}").items():
            ranges[int(partition)].append((first, end))
    refused = _Refused(catalog, topic, generation_start)
    covered = {
        partition: _reach(generation_start, found, partial(refused.all_between, partition))
        for partition, found in sorted(ranges.items())
    }
    return {partition: end for partition, end in covered.items() if end > generation_start}


def recomputed_hours(
    catalog: Catalog, kind: str, dataset: str, interval: Interval
) -> tuple[datetime, ...]:
    """Return the business hours that published runs of some of an interval have recomputed.

    Args:
        catalog: The lake's catalog.
        kind: Of the runs, such as ``batch``.
        dataset: What they have made.
        interval: Ingestion times.

    Returns:
        Starts of UTC hours, in order.
    """
    runs = catalog.load_table(RUNS).scan(
        row_filter=f"kind = '{kind}' and dataset = '{dataset}' and status = '{PUBLISHED}'"
        f" and interval_start < '{interval.end.isoformat()}'"
        f" and interval_end > '{interval.start.isoformat()}'",
        selected_fields=("business_hours",),
    )
    hours = runs.to_arrow().column("business_hours").to_pylist()
    return tuple(
        sorted({datetime.fromisoformat(hour) for one in hours for hour in json.loads(one)})
    )


def _reach(
    start: int, ranges: Iterable[tuple[int, int]], no_gap: Callable[[int, int], bool]
) -> int:
    reach = start
    for first, end in sorted(ranges):
        if start <= first and (first <= reach or no_gap(reach, first)):
            reach = max(reach, end)
    return reach


class _Refused:
    """What the lander has refused of a topic; read when somebody first asks."""

    def __init__(self, catalog: Catalog, topic: str, generation_start: int) -> None:
        self._catalog = catalog
        self._topic = topic
        self._start = generation_start

    def all_between(self, partition: int, first: int, end: int) -> bool:
        """Whether every position from ``first`` to before ``end`` was refused."""
        found = self._positions.get(partition, set())
        return len(found) >= end - first and found.issuperset(range(first, end))

    @cached_property
    def _positions(self) -> dict[int, set[int]]:
        generation = LogPosition.decode(self._start).generation
        rows = self._catalog.load_table(DEAD_LETTERS).scan(
            row_filter=(
                f"topic = '{self._topic}' and stage = 'lander' and topic_generation = {generation}"
            ),
            selected_fields=("kafka_partition", "kafka_offset"),
        )
        found: dict[int, set[int]] = defaultdict(set)
        for row in rows.to_arrow().to_pylist():
            found[row["kafka_partition"]].add(self._start + row["kafka_offset"])
        return found
