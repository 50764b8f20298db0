"""Retraction: what the speed layer does about an event that batch has found to be poison.

Only batch computes some tables, so an event may stand in rows of the speed layer by then. Such a
row does not tell what it would be without the event: a duplicate that would count in its place has
left no trace. So the layer takes back whatever it has made since, and reads the log again from
where batch is, as a query without a checkpoint does.
"""

from pathlib import Path
from shutil import rmtree

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession

from lakehouse.catalog import CATALOG_NAME
from lakehouse.poison import Layer, Place, has_seen, note_poison, poison_events, rid_of_poison
from speed.flow import Flow

_log = structlog.get_logger(__name__)


def to_take_back(catalog: Catalog, topic: str) -> dict[Place, str]:
    """Return the poison events that the speed layer may have rows of, each with its error."""
    rid_of = rid_of_poison(catalog, topic)
    noted = poison_events(catalog, topic)
    return {place: error for place, error in noted.items() if place not in rid_of}


def take_back(spark: SparkSession, catalog: Catalog, flow: Flow, checkpoint: Path) -> None:
    """Delete all that may be made of events that batch has noted, and where the query stands.

    Until it is noted that this is done, it is done again. No query of the flow may be at work.

    Args:
        spark: The session.
        catalog: The lake's catalog.
        flow: Whose tables it is about.
        checkpoint: The folder of its query's checkpoint; it may not be there.
    """
    if not (found := to_take_back(catalog, flow.topic)):
        return
    for table in flow.tables:
        spark.sql(f"DELETE FROM {CATALOG_NAME}.{table} WHERE {has_seen(found)}")
    if checkpoint.exists():
        rmtree(checkpoint)
    note_poison(catalog, flow.topic, found, Layer.SPEED)
    _log.warning("took back", topic=flow.topic, events=len(found))
