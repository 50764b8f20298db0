"""The tables of customers on the shared session, filled without Kafka."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import pyarrow as pa
from customer_log import NOON, SCHEMA_ID, at, change, key, payload
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession

import schemas
from batch.datasets.customers import CUSTOMERS, Customers
from batch.job import BatchJob, Report
from lakehouse.intervals import Interval
from lakehouse.progress import Progress
from lakehouse.settings import Settings
from schemas import tables

BRONZE = "bronze.crm_customers"
TICK = timedelta(minutes=1)
DATASET = Customers()


@dataclass
class CustomerLake:
    """The tables of customers, filled by landings of a minute each."""

    spark: SparkSession
    catalog: Catalog
    settings: Settings
    offset: int = 0
    landings: int = 0

    @classmethod
    def empty(cls, spark: SparkSession, catalog: Catalog, settings: Settings) -> Self:
        """Make all tables of the platform anew."""
        for name in schemas.contracts():
            if catalog.table_exists(name):
                catalog.drop_table(name)
        tables.apply(catalog)
        return cls(spark, catalog, settings)

    def land(self, *changes: dict[str, Any]) -> Interval:
        """Land changes; return the interval of ingestion time that it took."""
        ingested_at = NOON + self.landings * TICK
        self.landings += 1
        table = self.catalog.load_table(BRONZE)
        rows = [
            {
                "kafka_partition": 0,
                "kafka_offset": self.offset + number,
                "topic_generation": 0,
                "kafka_timestamp": NOON,
                "message_key": key(made),
                "headers": None,
                "schema_id": SCHEMA_ID,
                "payload": payload(made),
                "event_time": at(0) + timedelta(microseconds=made["ts_us"] - change()["ts_us"]),
                "ingested_at": ingested_at,
            }
            for number, made in enumerate(changes)
        ]
        self.offset += len(changes)
        progress = Progress(DATASET.topic, "fixed", 0, {0: self.offset}, ingested_at + TICK)
        table.append(
            pa.Table.from_pylist(rows, table.schema().as_arrow()),
            snapshot_properties=progress.to_summary(),
        )
        return Interval(ingested_at, ingested_at + TICK)

    def batch(self, interval: Interval) -> Report:
        """Run batch over an interval of landings."""
        return BatchJob(self.spark, self.catalog, self.settings, DATASET).run(interval)

    def states(self) -> list[dict[str, Any]]:
        """Return the table's rows, in the order of its key."""
        rows = self.catalog.load_table(CUSTOMERS).scan().to_arrow()
        told: list[dict[str, Any]] = rows.sort_by(
            [("customer_id", "ascending"), ("valid_from", "ascending")]
        ).to_pylist()
        return told

    def history(self) -> list[tuple[Any, ...]]:
        """Return the rows as `customer_oracle.in_order_pass` does; their state is the segment."""
        names = ("customer_id", "valid_from", "valid_to", "segment", "source_position")
        return [tuple(state[name] for name in names) for state in self.states()]
