"""Isolation: what Spark cannot compute as a whole is halved down to the events that poison it.

Events are taken in the order of the log. What can be computed with those before it is accepted,
part by part, and nothing has to be undone. A part of one event that cannot be is poison: it is
noted, and counts as refused from then on.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import groupby
from operator import or_

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.errors import LakehouseError, first_line
from lakehouse.poison import Layer, Place, is_of_data, note_poison
from lakehouse.positions import LogPosition
from lakehouse.transforms.events import position_of_record

# More at a time are no poison, but a defect of ours that would set whole topics aside.
MOST_POISON = 20

_log = structlog.get_logger(__name__)


class PoisonedStreamError(LakehouseError):
    """Spark can compute with so few events that the fault cannot be theirs."""


def isolate(
    catalog: Catalog,
    topic: str,
    records: DataFrame,
    take: Callable[[Sequence[Place]], None],
    *,
    layer: Layer,
) -> None:
    """Take records but for the events that Spark cannot compute with; note these.

    Args:
        catalog: The lake's catalog.
        topic: The topic that the records are of.
        records: Log records, with ``topic_generation``, ``kafka_partition`` and ``kafka_offset``.
        take: Computes with the events at some places, which follow all that it has taken before,
            by partition and position; after an error it is as if it had not been asked.
        layer: Who asks, and has nothing left of what it could not take.

    Raises:
        PoisonedStreamError: There are more than ``MOST_POISON``; none is noted.
    """
    found: dict[Place, str] = {}

    def halve(part: Sequence[Place]) -> None:
        try:
            take(part)
        except Exception as error:
            if not is_of_data(error):
                raise
            if len(part) > 1:
                halve(part[: len(part) // 2])
                halve(part[len(part) // 2 :])
                return
            [place] = part
            found[place] = first_line(error)
            if len(found) > MOST_POISON:
                raise PoisonedStreamError(
                    f"Spark cannot compute with {len(found)} events of {topic}, partition "
                    f"{place.partition} up to offset {LogPosition.decode(place.position).offset}; "
                    f"none was set aside: {found[place]}"
                ) from error

    if places := _places(records):
        halve(places)
        note_poison(catalog, topic, found, layer)
        for place, error in found.items():
            at = LogPosition.decode(place.position).offset
            _log.error(
                "poison event", topic=topic, partition=place.partition, offset=at, error=error
            )


def stands_among(part: Sequence[Place]) -> Column:
    """Tell whether a record stands where these do, or between two of them in one partition.

    Args:
        part: Places, sorted.
    """
    partition, position = F.col("kafka_partition"), position_of_record()
    spans = ((number, [*places]) for number, places in groupby(part, key=lambda one: one.partition))
    return reduce(
        or_,
        (
            (partition == number) & position.between(places[0].position, places[-1].position)
            for number, places in spans
        ),
    )


def _places(records: DataFrame) -> list[Place]:
    """Return where records stand, sorted."""
    rows = records.select("kafka_partition", position_of_record().alias("position")).collect()
    return sorted(Place(row.kafka_partition, row.position) for row in rows)
