"""Commands as tests ask for them, and a log that keeps what it is sent."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from pyiceberg.catalog import Catalog

from lakehouse.kafka import TRADES_TOPIC
from lakehouse.settings import Settings
from schemas import topics
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec
from serving.commands.desk import CommandDesk
from serving.commands.requests import ErasureRequest, TradeCorrection
from serving.commands.status import Standing
from serving.commands.store import Command

CODEC = EventCodec(ContractRegistry(), 1_000_000, topics()[TRADES_TOPIC])
BODY = {
    "kind": "correction",
    "venue": "binance_spot",
    "symbol": "BTCUSDT",
    "trade_id": 7,
    "event_time": "2024-08-08T23:59:30.123456Z",
    "price": "61699.20",
    "quantity": "0.25",
}
CANCELLATION = {name: BODY[name] for name in ("venue", "symbol", "trade_id", "event_time")} | {
    "kind": "cancellation"
}
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class Asking:
    """A client of a desk, each of whose requests has a key of its own unless it says so."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self.desk = CommandDesk(settings, catalog=lambda: catalog)
        self.catalog = catalog
        self._keys = map(str, itertools.count())

    def correct(self, key: str | None = None, **changes: Any) -> Command:
        body = TradeCorrection.model_validate(BODY | changes)
        return self.desk.correct_trade(body, **self._asked(key))

    def cancel(self, **changes: Any) -> Command:
        body = TradeCorrection.model_validate(CANCELLATION | changes)
        return self.desk.correct_trade(body, **self._asked(None))

    def erase(self, customer_id: str) -> Command:
        return self.desk.erase(ErasureRequest(customer_id=customer_id), **self._asked(None))

    def again(self, command: Command) -> Command:
        found = self.desk.find(command.id)
        assert found is not None
        return found

    def standing(self, command: Command) -> Standing:
        return self.desk.standing(self.again(command))

    def _asked(self, key: str | None) -> dict[str, Any]:
        return {
            "requested_by": "desk",
            "idempotency_key": key or next(self._keys),
            "trace": TRACE,
        }


@dataclass
class FakeLog:
    """A Kafka client: what it is sent, it appends; it may refuse, or die for good."""

    messages: list[tuple[str, bytes | None, bytes, dict[str, bytes]]] = field(default_factory=list)
    refuses: Callable[[bytes], bool] = lambda _payload: False
    dies: bool = False
    is_dead: bool = False
    queue: list[Callable[[], None]] = field(default_factory=list)

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
        assert partition == -1
        if self.is_dead:
            raise KafkaException(KafkaError(KafkaError._FATAL))

        def answer() -> None:
            if self.refuses(value):
                on_delivery(KafkaError(KafkaError._MSG_TIMED_OUT), None)
                return
            self.messages.append((topic, key, value, dict(headers)))
            on_delivery(None, _Place(len(self.messages) - 1))

        self.queue.append(answer)

    def flush(self, timeout: float) -> int:
        if self.dies:  # as librdkafka does it: what waits fails, the call raises, later ones do not
            self.dies, self.is_dead, self.refuses = False, True, lambda _: True
        has_died = self.is_dead and bool(self.queue)
        while self.queue:
            self.queue.pop(0)()
        if has_died:
            raise KafkaException(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True))
        return 0

    def prices(self) -> list[str]:
        """The price of each event, as long as all are corrections."""
        return [str(CODEC.decode(payload)["price"]) for _, _, payload, _ in self.messages]


class _Place:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset
