"""The log: how each client reaches it, and the topics of the platform."""

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings

TRADES_TOPIC = "market.trades"
QUOTES_TOPIC = "market.quotes"
FILLS_TOPIC = "oms.fills"
CUSTOMERS_TOPIC = "crm.customers"
DEAD_LETTERS_TOPIC = "ingest.dead_letters"
# Who is to be forgotten, for whoever else holds something of them.
ERASURES_TOPIC = "privacy.erasures"
# Topics of events: those that a contract in schemas/ states with versions.
EVENT_TOPICS = (TRADES_TOPIC, QUOTES_TOPIC, FILLS_TOPIC, CUSTOMERS_TOPIC)
LIVE_BARS_TOPIC = "live.bars_1m"
LIVE_SPREADS_TOPIC = "live.spreads_1m"
LIVE_POSITIONS_TOPIC = "live.positions"
# Every consumer group of ours begins so: on the stack, that is what a role may use.
GROUP_PREFIX = "lakehouse-"
SCRAM = "SCRAM-SHA-512"
REQUEST_SECONDS = 10.0
PROBE_SECONDS = 1.0

# A reader reads such a topic from its beginning: what is superseded goes within minutes, in small
# segments, since the one that is written to is never compacted.
_NEWEST_OF_EACH_KEY = {
    "cleanup.policy": "compact",
    "segment.ms": "60000",
    "segment.bytes": str(16 * 1024 * 1024),
    "max.compaction.lag.ms": "120000",
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": "60000",
}
# Minutes come to an end, positions do not. Longer than any reader holds them.
_OF_THE_LAST_HOURS = _NEWEST_OF_EACH_KEY | {
    "cleanup.policy": "compact,delete",
    "retention.ms": str(6 * 60 * 60 * 1000),
}
# What the live tier tells, with how Kafka is to keep it.
LIVE_TOPICS: Mapping[str, Mapping[str, str]] = {
    LIVE_BARS_TOPIC: _OF_THE_LAST_HOURS,
    LIVE_SPREADS_TOPIC: _OF_THE_LAST_HOURS,
    LIVE_POSITIONS_TOPIC: _NEWEST_OF_EACH_KEY,
}

ClientSettings = Mapping[str, str]


def instrument_key(venue: str, symbol: str) -> bytes:
    """Return the log key ``venue:symbol``: all events of one instrument are in one partition."""
    return f"{venue}:{symbol}".encode()


class BrokerError(LakehouseError):
    """A broker could not be prepared, or did not answer."""


class TopicError(LakehouseError):
    """A topic is not there, or is not as the settings demand."""


def client_settings(settings: Settings) -> dict[str, str]:
    """Return librdkafka's settings that lead to the log, credentials included.

    Raises:
        lakehouse.settings.NotRunningError: No address is set and no broker runs.
    """
    found = {"bootstrap.servers": settings.bootstrap_servers}
    if settings.kafka_username:
        found |= {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": SCRAM,
            "sasl.username": settings.kafka_username,
            "sasl.password": _password(settings),
        }
        if settings.ca_file:
            found["ssl.ca.location"] = str(settings.ca_file)
    return found


def jvm_client_settings(settings: Settings) -> dict[str, str]:
    """Return the same for a client on the JVM, such as Spark's Kafka source.

    Raises:
        lakehouse.settings.NotRunningError: No address is set and no broker runs.
    """
    found = {"bootstrap.servers": settings.bootstrap_servers}
    if settings.kafka_username:
        user, password = (
            text.replace("\\", "\\\\").replace('"', '\\"')
            for text in (settings.kafka_username, _password(settings))
        )
        found |= {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": SCRAM,
            "sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required "
                f'username="{user}" password="{password}";'
            ),
        }
        if settings.ca_file:
            found |= {
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(settings.ca_file),
            }
    return found


def broker_answers(client: ClientSettings) -> bool:
    """Whether a broker answers a metadata request within a second."""
    try:
        _admin(client).list_topics(timeout=PROBE_SECONDS)
    except KafkaException:
        return False
    return True


def ensure_topics(settings: Settings) -> None:
    """Make the platform's topics where they are missing.

    Raises:
        TopicError: A topic exists with another number of partitions.
        BrokerError: The broker does not answer, or refuses.
    """
    wanted = dict.fromkeys(EVENT_TOPICS, settings.topic_partitions)
    # One partition: the rows of a relation are in the order in which they changed.
    wanted |= dict.fromkeys((DEAD_LETTERS_TOPIC, ERASURES_TOPIC, *LIVE_TOPICS), 1)
    admin = _admin(client_settings(settings))
    requests = admin.create_topics(
        [
            NewTopic(topic, n, config=dict(LIVE_TOPICS.get(topic, {})))
            for topic, n in wanted.items()
        ],
        request_timeout=REQUEST_SECONDS,
    )
    for topic, request in requests.items():
        try:
            request.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerError(f"topic {topic} cannot be made: {error}") from error
            _refuse_other_partitions(admin, topic, wanted[topic])


def topic_id(settings: Settings, topic: str) -> str:
    """Return Kafka's own id of a topic: another one after the topic was deleted and made again.

    Raises:
        TopicError: There is no such topic.
        BrokerError: The broker does not answer.
    """
    admin = _admin(client_settings(settings))
    request = admin.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_SECONDS)
    try:
        return str(request[topic].result().topic_id)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicError(f"there is no topic {topic}; `lakehouse up` makes it") from error
        raise BrokerError(f"topic {topic} cannot be described: {error}") from error


def _refuse_other_partitions(admin: AdminClient, topic: str, wanted: int) -> None:
    found = len(admin.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic].partitions)
    if found != wanted:
        raise TopicError(
            f"topic {topic} has {found} partitions, the settings say {wanted}. A key's events "
            "must stay in one partition, so the count is never changed in place: set "
            f"LAKEHOUSE_TOPIC_PARTITIONS={found}, or repartition by a new version of the topic "
            "and a backfill"
        )


def _admin(client: ClientSettings) -> AdminClient:
    # librdkafka otherwise prints every refused connection while the broker is starting.
    return AdminClient({**client, "log_level": 0})


def _password(settings: Settings) -> str:
    return settings.kafka_password.get_secret_value() if settings.kafka_password else ""
