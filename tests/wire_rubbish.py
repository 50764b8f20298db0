"""What is no event of a topic, made of an event that is one."""

import customer_log
import fill_log
import quote_log
import trade_log

from lakehouse.kafka import CUSTOMERS_TOPIC, FILLS_TOPIC, QUOTES_TOPIC, TRADES_TOPIC

# A whole event of each topic.
SOUND = {
    TRADES_TOPIC: trade_log.payload(),
    QUOTES_TOPIC: quote_log.payload(quote_log.quote()),
    FILLS_TOPIC: fill_log.payload(),
    CUSTOMERS_TOPIC: customer_log.payload(customer_log.change()),
}

# By name: the message's value, and the reason with which it must be refused.
Cases = dict[str, tuple[bytes | None, str]]


def rubbish(sound: bytes, *, cut: str) -> Cases:
    """Return what every topic gets now and then.

    Args:
        sound: An event of the topic.
        cut: What the reader calls a body that ends too early: the lander, which reads no further
            than it must, knows why it cannot; Spark does not.
    """
    header, body = sound[:5], sound[5:]
    return {
        "tombstone": (None, "empty_payload"),
        "empty": (b"", "empty_payload"),
        "random bytes": (b"\x9e\x1c\xc0\x1d\xca\xfe\x00\x7f", "bad_magic_byte"),
        "JSON": (b'{"event_type":"TRADE","price":"100"}', "bad_magic_byte"),
        "half a header": (header[:3], "truncated_payload"),
        "a header alone": (header, cut),
        "cut within the first text": (header + body[:2], cut),
        "no UTF-8, and no number": (header + b"\x02" + b"\xff" * 12, "undecodable_payload"),
        "an unknown schema": (b"\x00\xff\xff\xff\xff" + body, "unknown_schema_id"),
        "too large": (sound + b"x" * 1_000_000, "payload_too_large"),
    }
