"""Isolation of a micro-batch that Spark cannot compute.

To process a part of it and then the next is what the speed layer does all day. So whatever can be
processed is, and nothing has to be undone; what cannot be, both layers leave out from then on.
"""

from collections.abc import Callable, Sequence

from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame

import lakehouse.isolation
from lakehouse.isolation import stands_among
from lakehouse.poison import Layer, Place
from speed.flow import Flow
from speed.rows import keep

Process = Callable[[DataFrame], None]
Isolation = Callable[[Process, DataFrame], None]


def isolate(
    catalog: Catalog,
    flow: Flow,
    process: Process,
    records: DataFrame,
    *,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Process a micro-batch but for the events that Spark cannot compute with; note these.

    Args:
        catalog: The lake's catalog.
        flow: Whose micro-batch it is.
        process: Processes log records; what it could not process has left no trace.
        records: Those of a micro-batch, consecutive ones of each partition.
        beat: Called after each part.

    Raises:
        lakehouse.isolation.PoisonedStreamError: There are too many; none is noted.
    """
    records = keep(records)

    def take(part: Sequence[Place]) -> None:
        try:
            process(records.where(stands_among(part)))
        finally:
            beat()

    lakehouse.isolation.isolate(catalog, flow.topic, records, take, layer=Layer.SPEED)
