"""Poison: events that passed every rule, and that Spark cannot compute with all the same.

The rules of acceptance are there to leave none. For what nobody thought of, `lakehouse.isolation`
finds out which one it is and notes it in ``ops.poison_events``. From then on it counts as refused,
in both layers and for good. What batch has noted, the speed layer may have rows of: it notes it
again when it has taken them back.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from pyiceberg.catalog import Catalog

from lakehouse.audit_trail import append_rows
from lakehouse.positions import LogPosition

POISON_EVENTS = "ops.poison_events"
# Class 22 of SQL's states is "data exception": an overflow, a division by zero, a value that its
# type cannot hold. Spark ends its messages with the state, and whatever wraps an error quotes its
# message: a job its task's, a query its job's. So the text tells, where the outer type does not.
_DATA_EXCEPTION = re.compile(r"\bSQLSTATE: 22[0-9A-Z]{3}\b")


class Layer(StrEnum):
    """Who has noted an event, and leaves it out from then on."""

    BATCH = "BATCH"
    SPEED = "SPEED"


class Place(NamedTuple):
    """Where an event stands: its log partition and its encoded `LogPosition`."""

    partition: int
    position: int


def is_of_data(error: BaseException) -> bool:
    """Tell whether Spark failed because of a value, and not because something was away."""
    return _DATA_EXCEPTION.search(str(error)) is not None


def poison_events(catalog: Catalog, topic: str) -> dict[Place, str]:
    """Return where a topic's poison events stand, each with its error."""
    return dict(_noted(catalog, topic))


def rid_of_poison(catalog: Catalog, topic: str) -> set[Place]:
    """Return where the poison events stand that no row of the speed layer is made of."""
    return {place for place, _ in _noted(catalog, topic, but_by=Layer.BATCH)}


def has_seen(places: Iterable[Place]) -> str:
    """Return the condition, in Spark's SQL, that a row may be made of one of some events.

    It is so where the row stands at the event or behind it in its partition.
    """
    firsts: dict[int, int] = {}
    for partition, position in places:
        firsts[partition] = min(position, firsts.get(partition, position))
    spans = (f"(log_partition = {n} AND last_offset >= {at})" for n, at in firsts.items())
    return " OR ".join(spans) or "FALSE"


def note_poison(catalog: Catalog, topic: str, found: Mapping[Place, str], layer: Layer) -> None:
    """Note poison events of a topic, all of them in one commit.

    To note one again, after a crash, changes nothing: readers ask where they stand, not how often.

    Args:
        catalog: The lake's catalog.
        topic: The topic.
        found: The events, each with its error.
        layer: Who leaves them out from now on. The other one must ask for them.
    """
    places = {place: LogPosition.decode(place.position) for place in found}
    append_rows(
        catalog,
        POISON_EVENTS,
        [
            {
                "topic": topic,
                "topic_generation": at.generation,
                "kafka_partition": place.partition,
                "kafka_offset": at.offset,
                "error": found[place],
                "found_at": datetime.now(UTC),
                "layer": layer.value,
            }
            for place, at in places.items()
        ],
    )


def _noted(
    catalog: Catalog, topic: str, *, but_by: Layer | None = None
) -> Iterator[tuple[Place, str]]:
    """Yield what was noted of a topic; before there were layers, the speed layer noted."""
    rows = catalog.load_table(POISON_EVENTS).scan(row_filter=f"topic = '{topic}'").to_arrow()
    for row in rows.to_pylist():
        if but_by is None or row.get("layer") != but_by:
            position = LogPosition(row["topic_generation"], row["kafka_offset"]).encode()
            yield Place(row["kafka_partition"], position), row["error"]
