"""How the verbs that make messages send them."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ingestion.faults import RawMessage
from ingestion.load import LoadCounts, send_load
from ingestion.producer import EventProducer
from ingestion.reporting import load_summary, progress, summarise
from ingestion.sending import stopped_by_signal


def send_made(
    messages: Iterable[Mapping[str, Any] | RawMessage],
    connect: Callable[[], EventProducer],
    *,
    doing: str,
    as_json: bool,
    rate: float = 0.0,
    limit: int | None = None,
    seconds: float | None = None,
) -> None:
    """Send messages until they end or a limit is reached, show it, and print a summary.

    Args:
        messages: What to send.
        connect: Makes the producer of their topic.
        doing: What is shown meanwhile on a terminal, such as ``trading``.
        as_json: Whether the summary is for a program.
        rate: Messages a second; 0 means as fast as possible.
        limit: Number of messages.
        seconds: Duration.

    Raises:
        lakehouse.delivery.BrokerUnavailableError: No broker answers, or it has no such topic.
        lakehouse.delivery.DeliveryError: The log did not take a message.
    """
    started = time.monotonic()
    with connect() as producer, stopped_by_signal() as stop, progress(doing) as show:

        def on_progress(counts: LoadCounts) -> None:
            show(counts.events, counts.undecodable)

        counts = send_load(
            messages,
            producer,
            rate=rate,
            limit=limit,
            seconds=seconds,
            stop=stop,
            on_progress=on_progress,
        )
        producer.flush()
    summarise(load_summary(counts, started), as_json=as_json)
