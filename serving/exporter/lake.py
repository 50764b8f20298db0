"""What the sources read from, each thing once in a round."""

from collections.abc import Mapping
from functools import cached_property

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from lakehouse.errors import LakehouseError
from lakehouse.kafka import GROUP_PREFIX, client_settings
from lakehouse.settings import Settings

# A broker that takes longer is as good as away; the round must end before the next is due.
REQUEST_SECONDS = 5.0


class SilentLogError(LakehouseError):
    """The broker does not hand out an event that it should have."""


class Log:
    """Asks the broker where topics end, and when an event was appended.

    Args:
        settings: Where the broker is; asked at each connection, since an embedded one may move.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _options(self) -> dict[str, str | int | float | bool]:
        return {**client_settings(self._settings), "log_level": 0}

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient(self._options)

    @cached_property
    def _consumer(self) -> Consumer:
        # Joins no group, and takes the oldest event there is for one that retention has deleted.
        group = f"{GROUP_PREFIX}metrics"
        mine: dict[str, str | bool] = {"group.id": group, "auto.offset.reset": "earliest"}
        return Consumer(self._options | mine | {"enable.auto.commit": False})

    def ends(self, topic: str) -> dict[int, int]:
        """Return for each partition the offset that the next event will get.

        Raises:
            confluent_kafka.KafkaException: The broker does not answer, or has no such topic.
        """
        found = self._admin.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic]
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(topic, number): latest for number in found.partitions}
        answers = self._admin.list_offsets(wanted, request_timeout=REQUEST_SECONDS)
        return {at.partition: answer.result().offset for at, answer in answers.items()}

    def appended_at(self, topic: str, offsets: Mapping[int, int]) -> list[float]:
        """Return when the events at some offsets were appended, in seconds since the epoch.

        Raises:
            SilentLogError: An event that is in the log does not come.
        """
        consumer = self._consumer
        try:
            return [self._appended_at(TopicPartition(topic, p, at)) for p, at in offsets.items()]
        finally:
            consumer.unassign()

    def _appended_at(self, place: TopicPartition) -> float:
        self._consumer.assign([place])
        message = self._consumer.poll(REQUEST_SECONDS)
        if message is None or message.error() is not None:
            raise SilentLogError(f"{place.topic} {place.partition} tells nothing of {place.offset}")
        return message.timestamp()[1] / 1000

    def forget(self) -> None:
        """Connect anew at the next question: the address may be another one by then."""
        if "_consumer" in self.__dict__:
            self._consumer.close()
        for name in ("_options", "_admin", "_consumer"):
            self.__dict__.pop(name, None)


class Round:
    """One look at the lake: a table that several sources need is loaded once.

    Attributes:
        catalog: The catalog named ``lake``.
        log: The broker.
    """

    def __init__(self, catalog: Catalog, log: Log) -> None:
        self.catalog = catalog
        self.log = log
        self._tables: dict[str, Table | None] = {}

    def table(self, name: str) -> Table | None:
        """Return a table as it is now; None when it was not made yet.

        Raises:
            Exception: Whatever the catalog raises when it is away.
        """
        if name not in self._tables:
            try:
                self._tables[name] = self.catalog.load_table(name)
            except NoSuchTableError:
                self._tables[name] = None
        return self._tables[name]
