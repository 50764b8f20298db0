"""What the speed layer asks the log about itself."""

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from lakehouse.kafka import GROUP_PREFIX, client_settings
from lakehouse.settings import Settings

REQUEST_SECONDS = 10.0


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
