"""Commits to bronze as a compare-and-set on the progress that the table carries.

PyIceberg retries a commit that lost a race by appending on top of whatever won. For two landers
that would be every row twice, so its retries are switched off here and each attempt first looks
at the newest progress: ours means it was committed after all (an answer got lost), the one we
started from means try again (somebody else's maintenance came between), anything else means
that another lander is at work.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import pyarrow as pa
from opentelemetry.trace import Span
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table, TableProperties

from ingestion.lander import metrics
from ingestion.lander.retries import persist
from lakehouse.errors import LakehouseError
from lakehouse.progress import Progress, read_progress
from lakehouse.tracing import MESSAGES, TOPIC, table_span

TopicProgress = Mapping[str, Progress | None]


class FencedError(LakehouseError):
    """Another lander has committed to the table; this one stopped without writing."""


class BronzeTable:
    """One bronze table, written by one lander at a time.

    Attributes:
        name: Identifier, such as ``bronze.market_trades``.
        progress: For each topic that feeds the table, what it is known to hold; None when
            nothing of the topic was ever landed.
    """

    def __init__(self, catalog: Catalog, name: str, *, topics: tuple[str, ...]) -> None:
        self.name = name
        self._catalog = catalog
        self._topics = topics
        self._latest: Table | None = None
        # From 0 on: an increase is seen only of what was there before.
        metrics.RETRIES.labels(operation=self._commit)
        metrics.EXPIRED.labels(table=name)
        table = self.load()
        self.schema: pa.Schema = table.schema().as_arrow()
        self.progress: TopicProgress = self._read(table)

    def load(self) -> Table:
        """Load the table as it is now, retrying within the budget."""
        return persist(f"load {self.name}", self._catalog.load_table, self.name)

    def append(self, rows: pa.Table, end: Mapping[str, Progress]) -> None:
        """Append the rows together with the progress that accounts for them, exactly once.

        Args:
            rows: Rows in the table's schema; none for a heartbeat.
            end: Progress of every topic that feeds the table, once the rows are in.

        Raises:
            FencedError: The table carries progress that is not of this process.
        """
        # Heartbeats would be most of what a collector keeps, and there is nothing to see in them.
        traced = self._traced(len(rows)) if len(rows) else nullcontext()
        with metrics.COMMIT_SECONDS.labels(table=self.name).time(), traced:
            persist(self._commit, self._attempt, rows, end)
        self.progress = dict(end)

    @property
    def _commit(self) -> str:
        return f"commit to {self.name}"

    def _traced(self, rows: int) -> AbstractContextManager[Span]:
        topic = {TOPIC: self._topics[0]} if len(self._topics) == 1 else {}
        return table_span("commit", self.name, {MESSAGES: rows, **topic})

    def _attempt(self, rows: pa.Table, end: Mapping[str, Progress]) -> None:
        # Our own last commit is nearly always the newest; if not, the catalog refuses this one.
        table, self._latest = self._latest or self._catalog.load_table(self.name), None
        newest = self._read(table)
        if newest == end:
            return
        if newest != self.progress:
            raise FencedError(
                f"another lander has committed to {self.name}: expected {_describe(self.progress)},"
                f" found {_describe(newest)}. Nothing was written; run one lander per topic."
            )
        summary: dict[str, str] = {}
        for topic, progress in end.items():
            summary |= progress.to_summary(of=self._qualifier(topic))
        table = for_one_commit(table)
        table.append(rows, snapshot_properties=summary)
        self._latest = table

    def _read(self, table: Table) -> TopicProgress:
        return {topic: read_progress(table, of=self._qualifier(topic)) for topic in self._topics}

    def _qualifier(self, topic: str) -> str | None:
        return topic if len(self._topics) > 1 else None


def for_one_commit(table: Table) -> Table:
    """Return the table as this process may commit to it once; nothing of this is stored.

    PyIceberg's own commit retries are off. And the table forgets all snapshots but the newest:
    a transaction copies its metadata some twenty times, which at a thousand snapshots takes a
    second. The catalog applies the commit to the whole metadata, which it loads itself.
    """
    newest = table.current_snapshot()
    metadata = table.metadata.model_copy(
        update={
            "properties": table.properties | {TableProperties.COMMIT_NUM_RETRIES: "0"},
            "snapshots": [] if newest is None else [newest],
            "snapshot_log": [],
        }
    )
    return Table(table.name(), metadata, table.metadata_location, table.io, table.catalog)


def _describe(progress: TopicProgress) -> str:
    return "; ".join(
        f"{topic} nothing" if p is None else f"{topic} generation {p.generation} {dict(p.offsets)}"
        for topic, p in progress.items()
    )
