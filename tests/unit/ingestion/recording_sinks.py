"""Stands in for what producers talk to: remembers what it was given."""

from collections.abc import Callable
from typing import NamedTuple

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
