"""Dead letters sent again, to a broker of the test's own."""

from collections import deque
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError
from dead_letter_rows import row
from pyiceberg.catalog import Catalog

from ingestion.adapters import Venue
from ingestion.dead_letters.letters import DeadLetters, Selection
from ingestion.dead_letters.lineage import Coordinates
from ingestion.dead_letters.redrive import Decision, Redriver, Verdict
from ingestion.dead_letters.redrives import Redrives
from ingestion.dead_letters.remaking import Remaker
from lakehouse.dispatch import Dispatch
from schemas import topics
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec

TRADES, FRAMES, QUOTES = "market.trades", "ingest.dead_letters", "market.quotes"
CODECS = {t: EventCodec(ContractRegistry(), 1_000_000, topics()[t]) for t in (TRADES, QUOTES)}
ALL = Selection()


class FakeKafka:
    """A Kafka client whose broker keeps what it is sent, or refuses it."""

    def __init__(self) -> None:
        self.queue: deque[Callable[[], None]] = deque()
        self.log: list[tuple[str, bytes | None, bytes, dict[str, bytes], int]] = []
        self.refuses: Callable[[bytes], bool] = lambda _payload: False
        self.answers = True
        self.size = 10_000

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes | None,
        *,
        partition: int,
        on_delivery: Any,
        headers: Any,
    ) -> None:
        if len(self.queue) >= self.size:
            raise BufferError

        def answer() -> None:
            if self.refuses(value):
                on_delivery(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), None)
                return
            self.log.append((topic, key, value, dict(headers), partition))
            on_delivery(None, _Place(0, 1000 + len(self.log) - 1))

        self.queue.append(answer)

    def flush(self, timeout: float) -> int:
        while self.answers and self.queue:
            self.queue.popleft()()
        return len(self.queue)


class _Place:
    """The message that a delivery report is about."""

    def __init__(self, partition: int, offset: int) -> None:
        self._place = partition, offset

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]


def redriver(
    catalog: Catalog, kafka: FakeKafka | None, venue: Venue | None = None, **options: Any
) -> Redriver:
    dispatch: Dispatch[Coordinates] | None = (
        None if kafka is None else Dispatch(kafka, timeout_seconds=1)
    )
    remaker = Remaker(lambda topic, event: CODECS[topic].encode(event), venue)
    return Redriver(DeadLetters(catalog), Redrives(catalog), remaker, dispatch, **options)


def redrive(
    catalog: Catalog, kafka: FakeKafka | None, selection: Selection = ALL, **options: Any
) -> list[Decision]:
    return list(redriver(catalog, kafka, **options).run(selection))


def verdicts(decisions: list[Decision]) -> list[Verdict]:
    return [decision.verdict for decision in decisions]


def recorded(catalog: Catalog) -> list[dict[str, Any]]:
    return sorted(
        catalog.load_table("ops.redrives").scan().to_arrow().to_pylist(),
        key=lambda one: (one["redriven_at"], one["kafka_offset"]),
    )


def refused_again(kafka: FakeKafka, number: int) -> dict[str, Any]:
    """The dead letter that an event which was sent becomes when nothing was mended."""
    topic, key, payload, headers, _ = kafka.log[number]
    return row(1000 + number, topic=topic, message_key=key, payload=payload, headers=headers)
