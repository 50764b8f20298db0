"""What is held of a relation: what its topic's messages may be, and what a reader has seen."""

import json
import time
from typing import Any

import pytest
from confluent_kafka import Message

from serving.live.progress import Progress
from serving.live.relations import PROGRESS_KEY, RELATIONS, encode, key_of
from serving.live_rows.held import Held, read

pytestmark = pytest.mark.serving

BARS = RELATIONS["bars_1m"]
ROW: dict[str, Any] = {
    "venue": "binance_spot",
    "symbol": "BTCUSDT",
    "window_start": "2024-08-08T12:00:00.000000Z",
    "trade_count": 1,
    "log_partition": 0,
    "last_offset": 5,
}
KEY = key_of(BARS, ROW).encode()


@pytest.fixture
def held() -> Held:
    return Held(BARS, minutes=60)


def take(held: Held, *messages: tuple[bytes | None, bytes | None]) -> None:
    """Take in messages, given with key and value."""
    for key, value in messages:
        place = held.position + 1
        held.take(read(BARS, Message(topic=BARS.topic, offset=place, key=key, value=value)))


def progress(seen_through: float) -> bytes:
    return Progress(seen_through + 1, seen_through, {0: 9}).encode()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, encode(ROW)),
        (KEY, None),
        (b"\xff\xfe", encode(ROW)),
        (b"no instrument", encode(ROW)),
        (KEY, b"not JSON"),
        (KEY, b"[" * 100_000),
        (KEY, b"[1]"),
        (KEY, b"{}"),
        (KEY, encode(ROW | {"last_offset": "5"})),
        (KEY, encode(ROW | {"trade_count": None})),
        (KEY, encode(ROW | {"log_partition": "0"})),
        (KEY, encode(ROW | {"symbol": "ETHUSDT"})),
        (KEY, encode(ROW | {"window_start": "2024-08-08Tnever"})),
        (PROGRESS_KEY.encode(), b"not JSON"),
        (PROGRESS_KEY.encode(), b"[]"),
        (PROGRESS_KEY.encode(), json.dumps({"said_at": 1, "seen_through": 1}).encode()),
        (PROGRESS_KEY.encode(), progress(1).replace(b'"0"', b'"first"')),
    ],
)
def test_a_message_that_tells_nothing_is_passed_over(
    held: Held, key: bytes | None, value: bytes | None
) -> None:
    take(held, (PROGRESS_KEY.encode(), progress(1.5)), (key, value), (KEY, encode(ROW)))
    assert [row.values for row in held.rows.values()] == [ROW]
    assert held.progress == Progress(2.5, 1.5, {0: 9})
    assert held.position == 2


def test_progress_from_before_the_topic_was_followed_is_not_heard_now(held: Held) -> None:
    take(held, (PROGRESS_KEY.encode(), progress(1.5)))
    assert held.heard_at is None
    held.take(None)
    began = time.monotonic()
    take(held, (PROGRESS_KEY.encode(), progress(2.5)))
    assert held.heard_at is not None
    assert began <= held.heard_at <= time.monotonic()


def test_a_row_whose_last_event_was_poison_is_void(held: Held) -> None:
    other = ROW | {"symbol": "ETHUSDT", "log_partition": 1}
    later = ROW | {"last_offset": 6}
    told = Progress(2.5, 1.5, {0: 9}, {0: [5]}).encode()
    rows = [(key_of(BARS, row).encode(), encode(row)) for row in (ROW, other)]
    take(held, *rows, (PROGRESS_KEY.encode(), told))
    assert [row.values for row in held.rows.values()] == [other]
    earlier = ROW | {"last_offset": 4}  # what it is without that event
    take(held, *rows[:1], (KEY, encode(earlier)))
    assert [row.values for row in held.rows.values()] == [other, earlier]
    take(held, (KEY, encode(later)))
    assert [row.values for row in held.rows.values()] == [other, later]


def test_a_place_beyond_the_topic_s_end_is_of_another_topic(held: Held) -> None:
    take(held, (KEY, encode(ROW)), (KEY, encode(ROW | {"last_offset": 6})))
    assert [held.known(at) for at in (None, 0, 1, 2, 10**30)] == [-1, 0, 1, -1, -1]
