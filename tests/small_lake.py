"""A whole lake in one process: a log held in memory, the real layers, real tables.

The steps are those of the platform's processes, taken one at a time and in any order. Only Kafka
is left out: its place is taken by a list, so that a test decides what each step sees.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Self

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession
from trade_log import payload

import schemas
from batch.dataset import Dataset, bronze_table
from batch.datasets.trades import Trades as TradesDataset
from batch.job import BatchJob, Report
from batch.reconciliation import Reconciliation, Record
from demo.oracle import LoggedEvent
from lakehouse.intervals import Interval
from lakehouse.positions import LogPosition
from lakehouse.progress import Progress
from lakehouse.settings import Settings
from schemas import tables
from schemas.registry import ContractRegistry
from speed.flow import Flow, observations
from speed.flows.trades import Trades as TradesFlow

EPOCH = datetime(2024, 8, 9, 6, 0, tzinfo=UTC)
TICK = timedelta(minutes=1)
PARTITIONS = 2
# The last minute of an hour and of a day.
BEFORE = datetime(2024, 8, 8, 23, 59, 30, tzinfo=UTC)
RECORDS = pa.schema(
    {
        "topic_generation": pa.int32(),
        "kafka_partition": pa.int32(),
        "kafka_offset": pa.int64(),
        "kafka_timestamp": pa.timestamp("us", "UTC"),
        "payload": pa.binary(),
    }
)


def trade(number: int = 1, **fields: Any) -> dict[str, Any]:
    """An event with harmless values where none are given."""
    cancels = fields.get("event_type") == "CANCEL"
    return {
        "event_type": "TRADE",
        "venue": "binance_spot",
        "symbol": "BTCUSDT",
        "trade_id": number,
        "event_time": BEFORE,
        "price": None if cancels else Decimal(100 + number),
        "quantity": None if cancels else Decimal(number),
        "quantity_unit": "BASE",
        "contract_size": None,
        "aggressor_side": "BUY",
        "received_at": None,
    } | fields


@dataclass
class SmallLake:
    """The platform at step granularity; ingestion time is a counter of landings."""

    flow: ClassVar[Flow] = TradesFlow()
    dataset: ClassVar[Dataset] = TradesDataset()

    spark: SparkSession
    catalog: Catalog
    settings: Settings
    logs: dict[int, list[tuple[bytes, dict[str, Any]]]] = field(
        default_factory=lambda: {p: [] for p in range(PARTITIONS)}
    )
    landed: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    read: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    landings: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    """By table, the metadata file that it begins with; all are new where none is given."""

    def __post_init__(self) -> None:
        for name in schemas.contracts():
            if self.catalog.table_exists(name):
                self.catalog.drop_table(name)
        for name, file in self.metadata.items():
            self.catalog.register_table(name, file)
        if not self.metadata:
            tables.apply(self.catalog)
        self.restart_speed()

    def saved(self) -> Callable[[], Self]:
        """Return what makes the lake again as it is now, as often as wanted.

        There is one at a time: it takes the tables' names from whichever has them. Its speed layer
        has just started. What expires snapshots would delete files that the next one needs.
        """
        files = {n: self.catalog.load_table(n).metadata_location for n in schemas.contracts()}
        steps = deepcopy(
            {name: getattr(self, name) for name in ("logs", "landed", "read", "landings")}
        )
        return lambda: replace(self, metadata=files, **deepcopy(steps))

    def produce(self, event: Mapping[str, Any]) -> None:
        """Append an event, with the fields of `encode`, to its key's partition."""
        self.logs[self.partition(event)].append((self.encode(event), dict(event)))

    def encode(self, event: Mapping[str, Any]) -> bytes:
        """Return the payload of an event."""
        return payload(**event)

    def key(self, event: Mapping[str, Any]) -> str:
        """Return the log key of an event."""
        return f"{event.get('venue')}:{event.get('symbol')}"

    def partition(self, event: Mapping[str, Any]) -> int:
        """Return the partition of an event's key."""
        return sum(self.key(event).encode()) % PARTITIONS

    def land(self) -> Interval:
        """Land what has been produced since; return the interval of ingestion time it took."""
        at = EPOCH + self.landings * TICK
        self.landings += 1
        rows = [
            {
                "kafka_partition": partition,
                "kafka_offset": offset,
                "topic_generation": 0,
                "kafka_timestamp": EPOCH,
                "message_key": None,
                "headers": None,
                "schema_id": int.from_bytes(self.logs[partition][offset][0][1:5], "big"),
                "payload": self.logs[partition][offset][0],
                "event_time": self.logs[partition][offset][1]["event_time"],
                "ingested_at": at,
            }
            for partition, first in self.landed.items()
            for offset in range(first, len(self.logs[partition]))
        ]
        self.landed = {partition: len(log) for partition, log in self.logs.items()}
        bronze = self.catalog.load_table(bronze_table(self.dataset))
        progress = Progress(self.flow.topic, "fixed", 0, self.landed, at + TICK)
        bronze.append(
            pa.Table.from_pylist(rows, schema=bronze.schema().as_arrow()),
            snapshot_properties=progress.to_summary(),
        )
        return Interval(at, at + TICK)

    def refuse(self, like: Mapping[str, Any]) -> None:
        """Let the lander refuse a message of an event's key, after all others have landed."""
        partition = self.partition(like)
        table = self.catalog.load_table("bronze.dead_letters")
        row = {
            "topic": self.flow.topic,
            "kafka_partition": partition,
            "kafka_offset": len(self.logs[partition]),
            "topic_generation": 0,
            "kafka_timestamp": EPOCH,
            "stage": "lander",
            "reason": "bad_magic_byte",
            "ingested_at": EPOCH + self.landings * TICK,
        }
        table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
        self.logs[partition].append((b"junk", dict(like)))
        self.landed[partition] += 1

    def batch(self, interval: Interval) -> Report:
        """Run batch over an interval of landings."""
        return BatchJob(self.spark, self.catalog, self.settings, self.dataset).run(interval)

    def reconcile(self, interval: Interval) -> list[Record]:
        """Reconcile after batch has run over an interval of landings."""
        return Reconciliation(self.spark, self.catalog, self.dataset).run(interval)

    def stream(self) -> None:
        """Process what has been produced since in one micro-batch of the speed layer."""
        rows = [
            {
                "topic_generation": 0,
                "kafka_partition": partition,
                "kafka_offset": offset,
                "kafka_timestamp": EPOCH,
                "payload": self.logs[partition][offset][0],
            }
            for partition, first in self.read.items()
            for offset in range(first, len(self.logs[partition]))
        ]
        if rows:
            records = self.spark.createDataFrame(pa.Table.from_pylist(rows, RECORDS))
            limit = self.settings.max_payload_bytes
            news = observations(self.flow, records, ContractRegistry(), max_payload_bytes=limit)
            self.speed.process(news)
        self.read = {partition: len(log) for partition, log in self.logs.items()}

    def restart_speed(self, *, forget: int = 0) -> None:
        """Start the speed layer anew; it may repeat its last events, as after a crash."""
        self.speed = self.flow.fold(self.spark)
        self.read = {partition: max(0, at - forget) for partition, at in self.read.items()}

    def events(self) -> list[LoggedEvent]:
        """Return every event of the log with its position, for the oracle."""
        return [
            LoggedEvent(partition, LogPosition(0, offset).encode(), event)
            for partition, log in self.logs.items()
            for offset, (_, event) in enumerate(log)
        ]
