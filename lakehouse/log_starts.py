"""What a reader of a topic asks first: which incarnation it is, and where to begin."""

from collections.abc import Mapping

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from pyiceberg.table import Table

from lakehouse.errors import LakehouseError
from lakehouse.kafka import GROUP_PREFIX, client_settings, topic_id
from lakehouse.positions import LogPosition
from lakehouse.progress import read_progress
from lakehouse.settings import Settings

REQUEST_SECONDS = 10.0


class WrongTopicError(LakehouseError):
    """The topic is not the one that bronze was landed from."""


class UncoveredLogError(LakehouseError):
    """The log has lost events that batch has not seen: windows would be partial."""


def current_generation(settings: Settings, bronze: Table, topic: str) -> int:
    """Return the generation of a topic, as the lander declared it.

    Args:
        settings: Where the log is.
        bronze: The table that the topic is landed in.
        topic: The topic.

    Raises:
        WrongTopicError: The topic was made anew and the lander was not told.
    """
    progress = read_progress(bronze)
    if progress is None:
        return 0
    if progress.topic_id != (found := topic_id(settings, topic)):
        raise WrongTopicError(
            f"topic {topic} has the id {found}, bronze was landed from {progress.topic_id}: the "
            "topic was made anew; declare it with `lakehouse land --new-generation`"
        )
    return progress.generation


def starting_offsets(
    settings: Settings, topic: str, generation: int, covered: Mapping[int, int]
) -> dict[int, int]:
    """Return the offset of each partition at which a reader without a past must start.

    Args:
        settings: Where the log is.
        topic: The topic.
        generation: Its present one.
        covered: By partition, the first position that silver may not have seen.

    Raises:
        UncoveredLogError: The log begins later than that.
    """
    origin = LogPosition(generation, 0).encode()
    offsets = {}
    for partition, first in log_starts(settings, topic).items():
        offset = max(0, covered.get(partition, origin) - origin)
        if first > offset:
            raise UncoveredLogError(
                f"{topic} partition {partition} begins at offset {first}, batch has covered "
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
    return {partition: first for partition, (first, _) in _watermarks(settings, topic).items()}


def log_ends(settings: Settings, topic: str) -> dict[int, int]:
    """Return the offset that the next event of each partition will get.

    Raises:
        confluent_kafka.KafkaException: The broker does not answer.
    """
    return {partition: end for partition, (_, end) in _watermarks(settings, topic).items()}


def _watermarks(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    client = client_settings(settings)
    admin = AdminClient({**client})
    partitions = admin.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic].partitions
    # Watermarks are a consumer's question; this one joins no group and reads nothing.
    consumer = Consumer({**client, "group.id": f"{GROUP_PREFIX}starts"})
    try:
        return {
            partition: consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=REQUEST_SECONDS
            )
            for partition in partitions
        }
    finally:
        consumer.close()
