"""The upkeep of all tables, one after the other, while others write to them."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import structlog
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, TableProperties
from pyspark.sql import SparkSession

from batch.maintenance.actions import FEWEST_FILES, Actions, Compacted
from batch.maintenance.leftovers import pinned_by, run_refs
from batch.maintenance.partitions import Before, TimePartitions
from batch.maintenance.report import Outcome, Report, to_row
from batch.maintenance.sizes import size_of
from batch.maintenance.snapshots import expirable
from batch.refs import drop_refs
from batch.retirement import mark_retired
from batch.runs import RunLog
from lakehouse.audit_trail import append_rows
from lakehouse.tracing import OUTCOME, describe_span, table_span
from schemas.contract import TableContract

MAINTENANCE = "ops.maintenance"
# A stream appends rows of the newest minutes. Older ones come late and seldom.
NEWEST = timedelta(minutes=10)
# Planning a scan opens every manifest; so many are opened in milliseconds.
MOST_MANIFESTS = 10
# Iceberg puts files below this share of the target size together.
SMALL = 0.75

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Maintenance:
    """The upkeep of one lake's tables.

    Attributes:
        spark: The session.
        catalog: The lake's catalog.
        as_of: The time that ages are measured against, UTC; of what is lost for good when it is
            in the future, the present is.
        dry_run: Only tell what would be done.
        newest: A stream may be appending rows of this last stretch; they are left alone.
        present: The real time, UTC.
    """

    spark: SparkSession
    catalog: Catalog
    as_of: datetime
    dry_run: bool = False
    newest: timedelta = NEWEST
    present: datetime = field(default_factory=lambda: datetime.now(UTC))

    def run(
        self, contracts: Iterable[TableContract], tell: Callable[[str], None] = lambda _table: None
    ) -> list[Report]:
        """Keep up tables; what another writer prevents is put off, what fails leaves the others be.

        Args:
            contracts: Those of the tables.
            tell: Is told each table's name before its turn.
        """
        run_id, started_at = uuid4().hex, datetime.now(UTC)
        reports = []
        for contract in contracts:
            if not self.catalog.table_exists(contract.name):
                continue
            tell(contract.name)
            with table_span("maintain", contract.name):
                reports.append(self._keep_up(contract))
                describe_span({OUTCOME: reports[-1].outcome.value})
            if not self.dry_run:
                row = to_row(reports[-1], run_id, started_at=started_at, as_of=self.as_of)
                append_rows(self.catalog, MAINTENANCE, [row])
        return reports

    def _keep_up(self, contract: TableContract) -> Report:
        table = self.catalog.load_table(contract.name)
        report = Report(contract.name, size_of(table))
        try:
            self._steps(contract, table, report)
            if self.dry_run:
                report.outcome = Outcome.PLANNED
                return report
            report.after = size_of(self.catalog.load_table(contract.name))
        except Exception as error:  # of one table: the others have nothing to do with it
            report.put_off.append(f"{type(error).__name__}: {error}"[:2000])
            report.outcome = Outcome.FAILED
            _log.exception("upkeep failed", table=contract.name)
        else:
            report.outcome = Outcome.PUT_OFF if report.put_off else Outcome.DONE
            _log.info("kept up", table=contract.name, outcome=report.outcome)
        return report

    def _steps(self, contract: TableContract, table: Table, report: Report) -> None:
        # The table was loaded before the log is read: a run is in the log before its branches.
        runs = RunLog(self.catalog).states()
        refs = run_refs(table, runs, self._real_time)
        report.refs_dropped = refs.dead
        if refs.dead and not self.dry_run:
            drop_refs(self.catalog, contract.name, refs.dead)
        if refs.live:
            # A run publishes by moving the table on to its branch, which nothing may have
            # overtaken. One that starts from now on finds that out, and computes again.
            report.put_off.append(f"rewriting: {', '.join(refs.live)} is at work on a branch")
        else:
            self._retire(contract, report)
            self._compact(contract, report)
            self._rewrite_manifests(contract, report)
        self._clear_up(contract, report)

    def _retire(self, contract: TableContract, report: Report) -> None:
        partitions = TimePartitions.of(contract)
        if contract.retention_days is None or partitions is None:
            return
        time = self._real_time - timedelta(days=contract.retention_days)
        table = self.catalog.load_table(contract.name)
        specs = [file.spec_id for file in files_of(table, partitions.whole_before(time))]
        old = partitions.coarsest(table, specs).whole_before(time)
        files = len(files_of(table, old))
        if not files:
            return
        with report.putting_off():
            if not self.dry_run:
                mark_retired(self.catalog, contract.name, old.time)
                Actions(self.spark).retire(contract.name, old)
            report.files_retired, report.retired_before = files, old.time

    def _compact(self, contract: TableContract, report: Report) -> None:
        where = self._settled(contract)
        table = self.catalog.load_table(contract.name)
        small = small_files(table, where)
        if not small:
            return
        with report.putting_off():
            done = (
                Compacted(files=small)
                if self.dry_run
                else Actions(self.spark).compact(
                    contract.name, where=where, sort=bool(contract.sort_order)
                )
            )
            report.files_compacted, report.files_written = done.files, done.written

    def _settled(self, contract: TableContract) -> Before | None:
        """Return the rows that no stream appends to any more; None where that may be all.

        It is where no stream writes. And of a speed table without partitions of time, positions by
        client: any file may hold the newest rows, and there is no telling by a row. Its whole is
        small, since each reconciliation prunes it; an append meanwhile adds files and takes none
        away, so it is no conflict; and unless its files are put together, every reader of the view
        opens each of them.
        """
        partitions = TimePartitions.of(contract)
        if not is_streamed(contract) or partitions is None:
            return None
        return partitions.before(self.as_of - self.newest)

    def _rewrite_manifests(self, contract: TableContract, report: Report) -> None:
        table = self.catalog.load_table(contract.name)
        if self.dry_run or size_of(table).manifests <= MOST_MANIFESTS:
            return
        with report.putting_off():
            Actions(self.spark).rewrite_manifests(contract.name)

    def _clear_up(self, contract: TableContract, report: Report) -> None:
        """Expire snapshots, and delete what nothing leads to."""
        # Read once more: compaction may have taken a while.
        runs = RunLog(self.catalog).states()
        if contract.name in pinned_by(runs.values(), self._real_time):
            # It may read files of a snapshot that its streaming writer has expired since.
            report.put_off.append("deleting files: a run that is at work reads the table")
            return
        actions, table = Actions(self.spark), self.catalog.load_table(contract.name)
        doomed = expirable(table, as_of=self.as_of, carries_progress=bool(contract.topics))
        with report.putting_off():
            if doomed and not self.dry_run:
                report.files_deleted = actions.expire(contract.name, doomed)
            report.snapshots_expired = len(doomed)
        with report.putting_off():
            # A store stamps files by the clock, so that is what Iceberg holds their age against.
            now = min(self._real_time, datetime.now(UTC))
            report.orphans_deleted = actions.remove_orphans(
                contract.name, location=table.location(), now=now, dry_run=self.dry_run
            )

    @property
    def _real_time(self) -> datetime:
        """The time by which rows are retired, and runs and files without a commit judged.

        A time to come must not make a run dead that works, or a file old that is about to be
        committed; nor may it retire what is yet to be written.
        """
        return min(self.as_of, self.present)


def is_streamed(contract: TableContract) -> bool:
    """Tell whether a stream appends to a table: the lander, or the speed layer."""
    return bool(contract.topics) or contract.batch_twin is not None


def files_of(table: Table, where: Before | None) -> list[DataFile]:
    """Return the data files of a table, freshly loaded, that may have rows of a time; or all."""
    scan = table.scan() if where is None else table.scan(row_filter=where.row_filter)
    return [task.file for task in scan.plan_files()]


def small_files(table: Table, where: Before | None) -> int:
    """Return how many data files a compaction would put together.

    Args:
        table: The table, freshly loaded.
        where: Files with rows of this time are looked at; all when None.
    """
    target = int(
        table.properties.get(
            TableProperties.WRITE_TARGET_FILE_SIZE_BYTES,
            TableProperties.WRITE_TARGET_FILE_SIZE_BYTES_DEFAULT,
        )
    )
    # Files of a partitioning that the table once had are put together as one partition.
    now = table.spec().spec_id
    partitions: Counter[str] = Counter(
        repr(file.partition) if file.spec_id == now else "of before"
        for file in files_of(table, where)
        if file.file_size_in_bytes < SMALL * target
    )
    return sum(files for files in partitions.values() if files >= FEWEST_FILES)
