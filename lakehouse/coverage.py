"""How far batch has covered the log: the positions below which silver has seen every event."""

import json
from collections import defaultdict
from collections.abc import Iterable

from pyiceberg.catalog import Catalog

RUNS = "ops.runs"
BATCH = "batch"
PUBLISHED = "PUBLISHED"


def batch_coverage(catalog: Catalog, generation_start: int) -> dict[int, int]:
    """Return, by log partition, the first position that batch may not have seen.

    A run covers the positions that were ingested in its interval. Runs come in any order and may
    leave gaps, so only what joins on without a gap from the start of the topic's generation counts.

    Args:
        catalog: The lake's catalog.
        generation_start: Encoded position of offset 0 of the topic's present generation.

    Returns:
        Encoded positions; a partition of which nothing is covered is left out.
    """
    rows = (
        catalog.load_table(RUNS)
        .scan(
            row_filter=f"kind = '{BATCH}' and status = '{PUBLISHED}'",
            selected_fields=("offsets",),
        )
        .to_arrow()
        .to_pylist()
    )
    ranges: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        for partition, (first, end) in json.loads(row["offsets"] or "{}").items():
            ranges[int(partition)].append((first, end))
    covered = {
        partition: _reach(generation_start, found) for partition, found in sorted(ranges.items())
    }
    return {partition: end for partition, end in covered.items() if end > generation_start}


def _reach(start: int, ranges: Iterable[tuple[int, int]]) -> int:
    reach = start
    for first, end in sorted(ranges):
        if start <= first <= reach:
            reach = max(reach, end)
    return reach
