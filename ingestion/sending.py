"""What every verb that sends events needs: a producer of its topic, and a way to be stopped."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import schemas
from ingestion.adapters import event_key
from ingestion.producer import EventProducer, Key
from lakehouse.kafka import TRADES_TOPIC, client_settings
from lakehouse.settings import get_settings
from schemas.registry import schema_registry
from schemas.wire import EventCodec

Prepare = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def connected_producer(
    topic: str = TRADES_TOPIC, key: Key = event_key, *, prepared: Prepare | None = None
) -> EventProducer:
    """Return a producer of a topic's events, encoded by its newest schema.

    Args:
        topic: The topic.
        key: Gives the key of an event.
        prepared: Gives an event as it is to be encoded; left out, that is as it is.

    Raises:
        lakehouse.delivery.BrokerUnavailableError: No broker answers, or it has no such topic.
    """
    settings = get_settings("ingest")
    limit = settings.max_payload_bytes
    codec = EventCodec(schema_registry(settings), limit, schemas.topics()[topic])
    encode = codec.encode if prepared is None else lambda event: codec.encode(prepared(event))
    return EventProducer.connect(
        client_settings(settings),
        encode,
        max_payload_bytes=limit,
        topic=topic,
        key=key,
    )


@contextmanager
def stopped_by_signal() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and a polite kill set, so that what was sent is flushed."""
    stop = threading.Event()
    wanted = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in wanted}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
