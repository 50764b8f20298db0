"""What a plain reader of the log says, held against what a lake that runs has made of it."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from embedded_lake import DEADLINE_SECONDS, EmbeddedLake, LogRecord

import schemas
from demo.oracle import LoggedEvent, compare, naive_bars, naive_trades, rejections
from lakehouse.kafka import TRADES_TOPIC
from schemas.registry import SchemaRegistry, schema_registry
from schemas.wire import EventCodec, UndecodableError

# A market with every fault that a feed can have.
LOAD = {
    "rate": 30,
    "symbols": 8,
    "late": 0.05,
    "duplicate": 0.1,
    "out-of-order": 0.1,
    "corrections": 0.08,
    "cancels": 0.05,
    "bad": 0.05,
}
TRADE_KEY = ("venue", "symbol", "trade_id", "event_time")
# Readers have no use for it, so the views leave it out.
HIDDEN = ("log_partition",)

Rules = Callable[[Mapping[str, Any], datetime], Sequence[str]]
"""An event and the log's timestamp → every reason to refuse it."""


class Judged(NamedTuple):
    """The log, as a reader that is no part of the platform understands it."""

    records: list[LogRecord]
    events: list[LoggedEvent]
    refused: set[tuple[int, int]]
    """Coordinates of decodable events that break a rule."""

    @property
    def duplicates(self) -> int:
        """How many reports of a trade were not its first."""
        trades = [e.event for e in self.events if e.event["event_type"] == "TRADE"]
        return len(trades) - len({tuple(trade[name] for name in TRADE_KEY) for trade in trades})


def judge(
    records: list[LogRecord],
    registry: SchemaRegistry,
    topic: str = TRADES_TOPIC,
    rules: Rules = rejections,
) -> Judged:
    codec = EventCodec(registry, 1_000_000, schemas.topics()[topic])
    judged = Judged(records, [], set())
    for record in records:
        try:
            event = codec.decode(record.payload)
        except UndecodableError:
            continue
        if not rules(event, record.timestamp):
            judged.events.append(LoggedEvent(record.partition, record.offset, event))
        else:
            judged.refused.add((record.partition, record.offset))
    return judged


def places(rows: list[dict[str, Any]]) -> Counter[tuple[int, int]]:
    return Counter((row["kafka_partition"], row["kafka_offset"]) for row in rows)


def dead_letters(
    lake: EmbeddedLake, stage: str, topic: str = TRADES_TOPIC
) -> Counter[tuple[int, int]]:
    return places(
        lake.rows(
            "SELECT kafka_partition, kafka_offset FROM bronze.dead_letters "
            f"WHERE topic = '{topic}' AND stage = '{stage}'"
        )
    )


def check_accounts(lake: EmbeddedLake, judged: Judged, topic: str = TRADES_TOPIC) -> int:
    """Every message of the log is in bronze or among the dead letters, once; return how many."""
    table = schemas.landed_topics()[topic]
    bronze = lake.rows(f"SELECT kafka_partition, kafka_offset FROM {table}")
    accounted = places(bronze) + dead_letters(lake, "lander", topic)
    assert accounted == Counter((record.partition, record.offset) for record in judged.records)
    return accounted.total()


def check_view(lake: EmbeddedLake, judged: Judged) -> set[str]:
    """The merged view is what one naive pass over the log gives; return the statuses seen."""
    trades = lake.rows("SELECT * FROM serving.trades")
    bars = lake.rows("SELECT * FROM serving.bars_1m")
    for verdict in (
        compare(naive_trades(judged.events), trades, key=TRADE_KEY, ignore=HIDDEN),
        compare(naive_bars(judged.events), bars, ignore=HIDDEN),
    ):
        assert verdict.equal, str(verdict)
    return {row["status"] for row in trades + bars}


@contextmanager
def market(lake: EmbeddedLake, seed: int) -> Iterator[None]:
    """Send synthetic load meanwhile; what was sent is in the log afterwards."""
    options = [f"--{name}={value}" for name, value in (LOAD | {"seed": seed}).items()]
    with lake.spawn("synth", *options) as process:
        try:
            yield
            process.terminate()
            assert process.wait(DEADLINE_SECONDS) == 0, lake.tail("synth")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def drain(lake: EmbeddedLake) -> Judged:
    """Let both layers reach the end of the log, which nobody writes to any more."""
    lake.run("land", "--once")
    lake.run("speed", "--once")
    return judge(lake.log(), schema_registry(lake.settings))
