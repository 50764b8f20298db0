"""Stands in for what producers talk to: remembers what it was given."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ingestion.adapters import TradeEvent


class Refused(NamedTuple):
    payload: bytes
    reason: str
    detail: str
    source: str
    received_at_ns: int | None


class RecordingSink:
    """An event sink; waiting moves its clock and takes no time."""

    def __init__(self) -> None:
        self.events: list[TradeEvent] = []
        self.raw: list[tuple[bytes, bytes]] = []
        self.refused: list[Refused] = []
        self.now = 0.0
        self.sent_at: list[float] = []
        self.on_send: Callable[[], None] = lambda: None

    def send(self, event: TradeEvent) -> None:
        self.events.append(event)
        self.sent_at.append(self.now)
        self.on_send()

    def send_encoded(self, key: bytes, payload: bytes) -> None:
        self.raw.append((key, payload))

    def refuse(
        self,
        payload: bytes,
        *,
        reason: str,
        detail: str,
        source: str,
        received_at_ns: int | None = None,
    ) -> None:
        self.refused.append(Refused(payload, reason, detail, source, received_at_ns))

    def idle(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


class Sent(NamedTuple):
    topic: str
    value: bytes
    key: bytes | None
    headers: dict[str, Any]


class RecordingClient:
    """A Kafka client whose broker takes all at once."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def produce(
        self, topic: str, value: bytes, key: bytes | None, *, on_delivery: Any, headers: Any
    ) -> None:
        self.sent.append(Sent(topic, value, key, dict(headers or ())))

    def poll(self, timeout: float) -> int:
        return 0

    def flush(self, timeout: float) -> int:
        return 0

    def __len__(self) -> int:
        return 0
