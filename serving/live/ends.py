"""Where the log ends: asked once a second, and never waited for."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

import structlog
from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from lakehouse.errors import first_line
from lakehouse.kafka import ClientSettings

ASK_SECONDS = 1.0
# After that the broker is taken to be away, and asked again.
ANSWER_SECONDS = 10.0
# Between two new clients, while none gets an answer.
RENEW_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class Ends(NamedTuple):
    """Where the log ended.

    Attributes:
        asked_at: When that was asked, in seconds since the epoch: what was in the log by then is
            before these ends.
        offsets: By topic and partition, the offset that the next event will get.
    """

    asked_at: float
    offsets: Mapping[str, Mapping[int, int]]


class LogEnds:
    """Asks the broker where partitions end.

    Args:
        client: librdkafka's settings that lead to the log.
        places: The partitions.
    """

    def __init__(self, client: ClientSettings, places: Iterable[TopicPartition]) -> None:
        self._connect = partial(AdminClient, {**client, "log_level": 0})
        self._admin = self._connect()
        self._renew_at = float("-inf")
        end = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        self._question = {TopicPartition(one.topic, one.partition): end for one in places}
        self._asked_at, self._ask_again_at = 0.0, float("-inf")
        self._answers: Mapping[TopicPartition, Future[Any]] = {}

    def news(self) -> Ends | None:
        """Return what has been answered since last asked; ask again when it is time."""
        if self._answers:
            return self._answered() if all(one.done() for one in self._answers.values()) else None
        if (now := time.monotonic()) >= self._ask_again_at:
            self._asked_at, self._ask_again_at = time.time(), now + ASK_SECONDS
            self._answers = self._admin.list_offsets(
                self._question,
                isolation_level=IsolationLevel.READ_COMMITTED,  # as consumers read
                request_timeout=ANSWER_SECONDS,
            )
        return None

    def _answered(self) -> Ends | None:
        answers, self._answers = self._answers, {}
        offsets: dict[str, dict[int, int]] = defaultdict(dict)
        try:
            for place, answer in answers.items():
                offsets[place.topic][place.partition] = answer.result().offset
        except KafkaException as error:
            _log.warning("the log does not tell where it ends", error=first_line(error))
            self._renew()
            return None
        return Ends(self._asked_at, offsets)

    def _renew(self) -> None:
        """Ask by another client, now and then.

        One that has seen a broker's restart may go on to ask by the partitions' former leaders, and
        is refused for as long as its metadata are good: minutes.
        """
        if (now := time.monotonic()) >= self._renew_at:
            self._admin = self._connect()
            self._renew_at = now + RENEW_SECONDS
