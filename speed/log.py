"""What the speed layer asks the log about itself."""

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from lakehouse.settings import Settings

REQUEST_SECONDS = 10.0


def log_starts(settings: Settings, topic: str) -> dict[int, int]:
    """Return the first offset that each partition of a topic still has.

    Raises:
        confluent_kafka.KafkaException: The broker does not answer.
    """
    servers = settings.bootstrap_servers
    admin = AdminClient({"bootstrap.servers": servers})
    partitions = admin.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic]
    # Watermarks are a consumer's question; this one joins no group and reads nothing.
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "speed-log-starts"})
    try:
        return {
            partition: consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=REQUEST_SECONDS
            )[0]
            for partition in partitions.partitions
        }
    finally:
        consumer.close()
