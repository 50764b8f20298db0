"""Corrections and cancellations of trades, as events of the topic that the trades are in."""

from collections.abc import Callable, Mapping
from typing import Any

from lakehouse.dispatch import Message
from lakehouse.kafka import TRADES_TOPIC, instrument_key
from serving.commands.requests import TradeCorrection

Encode = Callable[[Mapping[str, Any]], bytes]
EVENT_TYPES = {"correction": "CORRECTION", "cancellation": "CANCEL"}


def correction_message(
    correction: TradeCorrection, encode: Encode, headers: Mapping[str, bytes]
) -> Message:
    """Return the event of a correction: of the producers' schema, and with their key.

    Args:
        correction: What is asked for.
        encode: Gives the payload of an event of the topic.
        headers: Of the message.

    Raises:
        schemas.wire.UnencodableError: A value does not fit the topic's schema.
    """
    event = {
        "event_type": EVENT_TYPES[correction.kind],
        **correction.model_dump(exclude={"kind"}),
        "aggressor_side": None,
        "received_at": None,
    }
    key = instrument_key(correction.venue, correction.symbol)
    return Message(TRADES_TOPIC, key, encode(event), headers=headers)
