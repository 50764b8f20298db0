"""The batch run: one interval of ingestion time, from bronze to silver to gold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession

from batch.audit import totals_of_bars, totals_of_trades
from batch.inputs import (
    BRONZE,
    days_of,
    ingested_in,
    ingested_positions,
    on_days,
    pinned_bronze,
    rows_of_hours,
    touched_hours,
    within,
)
from batch.publication import Branch, PublishConflictError, branches
from batch.runs import Run, RunLog, Status
from batch.steps import write_bars, write_dead_letters, write_trades
from lakehouse.errors import LakehouseError
from lakehouse.intervals import Interval, covering
from lakehouse.progress import read_progress
from lakehouse.resilience import retrying
from lakehouse.settings import Settings
from lakehouse.transforms.bars import bars_1h, bars_1m, bars_1s, market_daily
from lakehouse.transforms.trades import decode, validate
from schemas.registry import schema_registry
from schemas.topic_schemas import topic_schemas

KIND = "batch"
TOPIC = "market.trades"
TABLES = ("silver.trades", "gold.bars_1m", "gold.bars_1h", "gold.market_daily")
# Runs of other intervals publish in between; each attempt sees what they published.
CONFLICT_BUDGET_SECONDS = 600.0

_log = structlog.get_logger(__name__)


class NotLandedError(LakehouseError):
    """The interval is not over yet as far as bronze is concerned."""


@dataclass(frozen=True)
class Report:
    """What a batch run did."""

    run_id: str
    interval: Interval
    business_hours: tuple[datetime, ...]
    snapshot_id: int
    trades: int = 0
    bars_changed: int = 0


@dataclass(frozen=True)
class BatchJob:
    """Runs intervals on one lake."""

    spark: SparkSession
    catalog: Catalog
    settings: Settings

    def run(self, interval: Interval) -> Report:
        """Process the events that were ingested in the interval.

        The business hours that they touch are recomputed from all of their events that were
        ingested before the interval's end, or before the end of a later run of the same hour.
        Running it again, in any order and with any overlap, ends in the same tables.

        Raises:
            NotLandedError: The lander has not passed the interval's end.
            batch.audit.AuditError: The result is not sound; nothing was published.
        """
        snapshot_id = self._pin(interval)
        bronze = pinned_bronze(self.spark, snapshot_id)
        hours = touched_hours(bronze, interval)
        run, runs = Run(KIND, interval, hours), RunLog(self.catalog)
        # Recorded before anything is read: whoever runs an older interval after this must know.
        runs.record(run, Status.STARTED, snapshots={BRONZE: snapshot_id})
        try:
            report = self._attempt(run, runs, bronze, snapshot_id)
        except Exception as error:
            runs.record(run, Status.FAILED, detail=f"{type(error).__name__}: {error}"[:2000])
            raise
        runs.record(
            run,
            Status.PUBLISHED,
            snapshots={BRONZE: snapshot_id},
            offsets=ingested_positions(bronze, interval),
            rows_written=report.trades + report.bars_changed,
        )
        _log.info("published", interval=str(interval), trades=report.trades)
        return report

    def _pin(self, interval: Interval) -> int:
        table = self.catalog.load_table(BRONZE)
        snapshot, progress = table.current_snapshot(), read_progress(table)
        if snapshot is None or progress is None:
            raise NotLandedError(f"{BRONZE} is empty: land events first (`lakehouse land`)")
        if progress.ingested_through < interval.end:
            raise NotLandedError(
                f"{BRONZE} is landed through {progress.ingested_through.isoformat()}, the "
                f"interval ends at {interval.end.isoformat()}: start the lander or wait for it"
            )
        return snapshot.snapshot_id

    def _attempt(self, run: Run, runs: RunLog, bronze: DataFrame, snapshot_id: int) -> Report:
        @retrying(on=PublishConflictError, budget_seconds=CONFLICT_BUDGET_SECONDS)
        def attempt() -> Report:
            return self._publish(run, runs, bronze, snapshot_id)

        return attempt()

    def _publish(self, run: Run, runs: RunLog, bronze: DataFrame, snapshot_id: int) -> Report:
        hours = run.business_hours
        with branches(self.spark, TABLES, f"run_{run.run_id}") as (silver, *gold):
            # The branches are made before the run log is read: a run that publishes later than
            # that makes publishing fail, one that published earlier is in the log.
            later = runs.latest_ends(KIND, run.interval.end, hours)
            as_of = {hour: later.get(hour, run.interval.end) for hour in hours}
            interval_rows = bronze.where(ingested_in(run.interval))
            if not hours:  # nothing to recompute, but perhaps something to refuse
                write_dead_letters(self.spark, self._events(interval_rows), TOPIC, run.interval)
                return Report(run.run_id, run.interval, hours, snapshot_id)
            records = bronze.where(rows_of_hours(as_of) | ingested_in(run.interval))
            trades = write_trades(self.spark, self._events(records), silver, as_of, run.interval)
            if trades.refused:
                write_dead_letters(self.spark, self._events(interval_rows), TOPIC, run.interval)
            bars_changed = self._write_gold(hours, silver.read(self.spark), gold)
            for branch in (silver, *gold):
                branch.publish(self.spark)
        return Report(run.run_id, run.interval, hours, snapshot_id, trades.written, bars_changed)

    def _events(self, records: DataFrame) -> DataFrame:
        """Decode and judge bronze rows."""
        schemas = topic_schemas(schema_registry(self.settings), TOPIC)
        return validate(
            decode(
                records,
                writer_schemas=schemas.writers,
                reader_schema=schemas.reader,
                max_payload_bytes=self.settings.max_payload_bytes,
            )
        )

    def _write_gold(
        self, hours: Sequence[datetime], trades: DataFrame, branches: Sequence[Branch]
    ) -> int:
        """Bring the bars of some hours, and the hours and days made of them, up to date."""
        minutely, hourly, daily = branches
        in_hours, days = within("window_start", covering(hours)), days_of(hours)
        trades = trades.where(within("event_time", covering(hours)))
        changed = write_bars(
            self.spark,
            bars_1m(bars_1s(trades)),
            minutely,
            where=in_hours,
            totals=totals_of_trades(trades),
        )
        bars = minutely.read(self.spark)
        for branch, transform, of_bars, of_table in (
            (hourly, bars_1h, in_hours, in_hours),
            (daily, market_daily, within("window_start", days), on_days(days)),
        ):
            source = bars.where(of_bars)
            changed += write_bars(
                self.spark,
                transform(source),
                branch,
                where=of_table,
                totals=totals_of_bars(source),
            )
        return changed
