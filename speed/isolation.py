"""Isolation: a micro-batch that Spark cannot compute is halved down to the events that poison it.

To process a part of a micro-batch and then the next is what the speed layer does all day. So
whatever can be processed is, part by part in the order of the log, and nothing has to be undone. A
part of one event that cannot be is poison: it is noted, and both layers leave it out from then on.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import groupby
from operator import or_

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from lakehouse.errors import LakehouseError, first_line
from lakehouse.poison import Place, is_of_data, note_poison
from lakehouse.positions import LogPosition
from speed import metrics
from speed.flow import Flow
from speed.rows import keep

# More in one micro-batch are no poison, but a defect of ours that would set whole topics aside.
MOST_POISON = 20

Process = Callable[[DataFrame], None]
Isolation = Callable[[Process, DataFrame], None]

_log = structlog.get_logger(__name__)


class PoisonedStreamError(LakehouseError):
    """Spark can compute with so few events that the fault cannot be theirs."""


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
        PoisonedStreamError: There are more than ``MOST_POISON``; none is noted.
    """
    records = keep(records)
    found: dict[Place, str] = {}

    def take(part: Sequence[Row]) -> None:
        try:
            process(records.where(_holds(part)))
        except Exception as error:
            if not is_of_data(error):
                raise
            if len(part) > 1:
                take(part[: len(part) // 2])
                take(part[len(part) // 2 :])
                return
            [one] = part
            at = LogPosition(one.topic_generation, one.kafka_offset).encode()
            found[Place(one.kafka_partition, at)] = first_line(error)
            if len(found) > MOST_POISON:
                raise PoisonedStreamError(
                    f"Spark cannot compute with {len(found)} events of one micro-batch of "
                    f"{flow.topic}, partition {one.kafka_partition} up to offset "
                    f"{one.kafka_offset}; none was set aside: {found.popitem()[1]}"
                ) from error
        beat()

    columns = ("topic_generation", "kafka_partition", "kafka_offset")
    if places := sorted(records.select(*columns).collect()):
        take(places)
        _note(catalog, flow, found)


def _holds(part: Sequence[Row]) -> Column:
    """Tell whether a record is one of consecutive ones, which are sorted by where they stand."""
    partition, offset = F.col("kafka_partition"), F.col("kafka_offset")
    spans = (
        (number, [*rows]) for number, rows in groupby(part, key=lambda row: row.kafka_partition)
    )
    return reduce(
        or_,
        (
            (partition == number) & offset.between(rows[0].kafka_offset, rows[-1].kafka_offset)
            for number, rows in spans
        ),
    )


def _note(catalog: Catalog, flow: Flow, found: dict[Place, str]) -> None:
    note_poison(catalog, flow.topic, found)
    metrics.POISON.labels(topic=flow.topic).inc(len(found))
    for place, error in found.items():
        offset = LogPosition.decode(place.position).offset
        _log.error(
            "poison event", topic=flow.topic, partition=place.partition, offset=offset, error=error
        )
