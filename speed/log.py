"""What the speed layer asks the log about itself: which one it is, and where to begin."""

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from pyiceberg.catalog import Catalog

from lakehouse.coverage import batch_coverage
from lakehouse.errors import LakehouseError
from lakehouse.kafka import GROUP_PREFIX, client_settings, topic_id
from lakehouse.positions import LogPosition
from lakehouse.progress import read_progress
from lakehouse.settings import Settings
from schemas import landed_topics
from speed.flow import Flow

REQUEST_SECONDS = 10.0


class WrongTopicError(LakehouseError):
    """The topic is not the one that bronze was landed from."""


class UncoveredLogError(LakehouseError):
    """The log has lost events that batch has not seen: windows would be partial."""


def current_generation(settings: Settings, catalog: Catalog, topic: str) -> int:
    """Return the generation of a topic, as the lander declared it.

    Raises:
        WrongTopicError: The topic was made anew and the lander was not told.
    """
    progress = read_progress(catalog.load_table(landed_topics()[topic]))
    if progress is None:
        return 0
    if progress.topic_id != (found := topic_id(settings, topic)):
        raise WrongTopicError(
            f"topic {topic} has the id {found}, bronze was landed from {progress.topic_id}: the "
            "topic was made anew; declare it with `lakehouse land --new-generation`"
        )
    return progress.generation


def starting_offsets(
    settings: Settings, catalog: Catalog, flow: Flow, generation: int
) -> dict[int, int]:
    """Return the offset of each partition at which a query without a checkpoint must start.

    That is where batch's coverage ends: what lies before is in silver, all of it.

    Raises:
        UncoveredLogError: The log begins later than that.
    """
    origin = LogPosition(generation, 0).encode()
    coverage = batch_coverage(catalog, flow.name, flow.topic, origin)
    offsets = {}
    for partition, first in log_starts(settings, flow.topic).items():
        offset = coverage.get(partition, origin) - origin
        if first > offset:
            raise UncoveredLogError(
                f"{flow.topic} partition {partition} begins at offset {first}, batch has covered "
                f"it up to {offset}: run `lakehouse batch` over all that is landed, then start "
                "again"
            )
        offsets[partition] = offset
    return offsets


def log_starts(settings: Settings, topic: str) -> dict[int, int]:
    """Return the first offset that each partition of a topic still has.

    Raises:
        confluent_kafka.KafkaException: The broker does not answer.
    """
    client = client_settings(settings)
    admin = AdminClient({**client})
    partitions = admin.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic]
    # Watermarks are a consumer's question; this one joins no group and reads nothing.
    consumer = Consumer({**client, "group.id": f"{GROUP_PREFIX}speed-starts"})
    try:
        return {
            partition: consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=REQUEST_SECONDS
            )[0]
            for partition in partitions.partitions
        }
    finally:
        consumer.close()
