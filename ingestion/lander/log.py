"""The Kafka side of the lander: which incarnation of a topic this is, and where to go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from lakehouse.errors import LakehouseError
from lakehouse.kafka import ClientSettings
from lakehouse.progress import Progress

REQUEST_SECONDS = 10.0

log = structlog.get_logger(__name__)


class TopicMissingError(LakehouseError):
    """A topic that is to be landed does not exist."""


class TopicChangedError(LakehouseError):
    """The topic is not the one whose offsets the table carries."""


class EventsLostError(LakehouseError):
    """Kafka has deleted events that were never landed."""


@dataclass(frozen=True)
class TopicState:
    """A topic as Kafka has it now.

    Attributes:
        topic: Its name.
        topic_id: Kafka's own id; a topic that was deleted and made again has another one.
        starts: For each partition, the offset of the oldest event that is kept.
        ends: For each partition, the offset that the next event will get.
    """

    topic: str
    topic_id: str
    starts: Mapping[int, int]
    ends: Mapping[int, int]


class KafkaLog:
    """Answers what Kafka knows about topics."""

    def __init__(self, client: ClientSettings) -> None:
        # librdkafka's own log lines would interleave with ours; failures come as exceptions.
        self._admin = AdminClient({**client, "log_level": 0})

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str]:
        """Return Kafka's own id of each topic.

        Raises:
            TopicMissingError: There is no such topic.
            confluent_kafka.KafkaException: Kafka does not answer.
        """
        return {topic: found for topic, (found, _) in self._describe(topics).items()}

    def state(self, topic: str) -> TopicState:
        """Return the topic as it is now; raises as :meth:`topic_ids` does."""
        topic_id, partitions = self._describe([topic])[topic]
        starts = self._offsets(topic, partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        ends = self._offsets(topic, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return TopicState(topic, topic_id, starts, ends)

    def _describe(self, topics: Sequence[str]) -> dict[str, tuple[str, list[int]]]:
        """Return id and partitions of each topic."""
        described = {}
        requests = self._admin.describe_topics(
            TopicCollection([*topics]), request_timeout=REQUEST_SECONDS
        )
        for topic, request in requests.items():
            try:
                found = request.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
                raise TopicMissingError(
                    f"there is no topic {topic}: `lakehouse up` makes it; if it was deleted, its "
                    "successor has to be declared with `lakehouse land --new-generation`"
                ) from error
            partitions = [partition.id for partition in found.partitions]
            described[topic] = str(found.topic_id), partitions
        return described

    def _offsets(self, topic: str, partitions: list[int], spec: OffsetSpec) -> dict[int, int]:
        wanted = {TopicPartition(topic, partition): spec for partition in partitions}
        answers = self._admin.list_offsets(wanted, request_timeout=REQUEST_SECONDS)
        return {place.partition: answer.result().offset for place, answer in answers.items()}


def resume(
    recorded: Progress | None,
    found: TopicState,
    *,
    now: datetime,
    new_generation: bool = False,
    accept_loss: bool = False,
) -> Progress:
    """Return the progress to go on from.

    Args:
        recorded: What the table carries; None if nothing of the topic was ever landed.
        found: The topic as Kafka has it.
        now: Start of time for a table that has no progress yet.
        new_generation: Take a changed topic for a new incarnation, from its beginning.
        accept_loss: Go on behind events that Kafka has deleted before they were landed.

    Raises:
        TopicChangedError: The topic is another one, and nobody said that this is meant.
        EventsLostError: Events are gone, and nobody said that this is acceptable.
    """
    start = recorded or Progress(
        found.topic, found.topic_id, 0, dict.fromkeys(sorted(found.ends), 0), now
    )
    if (change := _change(start, found)) is not None:
        if not new_generation:
            raise TopicChangedError(
                f"topic {found.topic} {change}. Offsets of different incarnations cannot be "
                "compared, so nothing was landed. If the topic was made again on purpose, run "
                "`lakehouse land --new-generation`: it lands the topic from its beginning, and "
                "its events sort after all earlier ones."
            )
        start = replace(
            start,
            topic_id=found.topic_id,
            generation=start.generation + 1,
            offsets=dict.fromkeys(sorted(found.ends), 0),
        )
        log.info("new generation", topic=found.topic, generation=start.generation, change=change)
    return _skip_deleted(start, found, accept_loss=accept_loss)


def _change(progress: Progress, found: TopicState) -> str | None:
    if progress.topic_id != found.topic_id:
        return f"was deleted and made again: its id was {progress.topic_id}, is {found.topic_id}"
    if progress.offsets.keys() != found.ends.keys():
        return f"had {len(progress.offsets)} partitions and has {len(found.ends)}"
    for partition, offset in progress.offsets.items():
        if found.ends[partition] < offset:
            return (
                f"ends at offset {found.ends[partition]} of partition {partition}, "
                f"but was landed up to {offset}"
            )
    return None


def _skip_deleted(progress: Progress, found: TopicState, *, accept_loss: bool) -> Progress:
    gone = {
        partition: found.starts[partition] - offset
        for partition, offset in progress.offsets.items()
        if found.starts[partition] > offset
    }
    if not gone:
        return progress
    described = ", ".join(f"{count} of partition {partition}" for partition, count in gone.items())
    if not accept_loss:
        raise EventsLostError(
            f"Kafka has deleted {sum(gone.values())} events of topic {found.topic} before they "
            f"were landed ({described}). Bring them in from another source, then go on behind "
            "them with `lakehouse land --accept-loss`."
        )
    log.warning("events lost", topic=found.topic, events=sum(gone.values()), partitions=described)
    offsets = {p: max(offset, found.starts[p]) for p, offset in progress.offsets.items()}
    return replace(progress, offsets=offsets)
