"""The metrics of the exporter, each declared once; docs/metrics.md has a line on each."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(frozen=True)
class Family:
    """A metric by its name, what it means, and the labels that tell its series apart."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    is_counter: bool = False

    def empty(self) -> CounterMetricFamily | GaugeMetricFamily:
        """Return the family as the client library has it, without a value."""
        kind = CounterMetricFamily if self.is_counter else GaugeMetricFamily
        return kind(self.name, self.documentation, labels=self.labels)


@dataclass(frozen=True)
class Reading:
    """One value of a metric.

    Attributes:
        family: The metric.
        labels: Label values, in the order of the family's labels.
        value: What was read; a moment, in seconds since the epoch, where ``is_moment``.
        is_moment: The metric is the time since ``value``, computed when it is asked for.
    """

    family: Family
    labels: tuple[str, ...]
    value: float
    is_moment: bool = False


def to_metrics(readings: list[Reading], *, now: float) -> list[Metric]:
    """Return readings as the client library serves them, grouped by metric."""
    found: dict[Family, CounterMetricFamily | GaugeMetricFamily] = {}
    for reading in readings:
        value = max(0.0, now - reading.value) if reading.is_moment else reading.value
        family = found.setdefault(reading.family, reading.family.empty())
        family.add_metric(reading.labels, value)
    return list(found.values())


# Of the exporter itself: by source, since one may be away while the others answer.
UP = Family("lakehouse_exporter_up", "Whether the source was read lately; 0 or 1.", ("source",))
READ_SECONDS = Family(
    "lakehouse_exporter_read_seconds", "How long the last read of the source took.", ("source",)
)
FAILURES = Family(
    "lakehouse_exporter_failures", "Reads of the source that failed.", ("source",), is_counter=True
)

CONTRACT_FRESHNESS = Family(
    "lakehouse_contract_freshness_seconds",
    "Target age of the newest data that a reader of the table finds, as its contract states it.",
    ("table",),
)
VIEW_SOURCE = Family(
    "lakehouse_view_source_info",
    "1 for each table that a view merges with another, and which of the two is batch's.",
    ("view", "table", "batch_table"),
)

LOG_END = Family(
    "lakehouse_log_end_offset", "Offset that the next event will get.", ("topic", "partition")
)
TABLE_LAG = Family(
    "lakehouse_table_lag_events",
    "Events in the log that the table does not hold.",
    ("table", "topic"),
)
FRESHNESS = Family(
    "lakehouse_table_freshness_seconds",
    "Age of the oldest event that readers of the table do not see; 0 when they see all. Of a batch "
    "table: since the end of what batch has covered without leaving an hour out, while more of "
    "what it is made of has landed.",
    ("table",),
)

FILES = Family("lakehouse_table_files", "Data files of the newest snapshot.", ("table",))
DELETE_FILES = Family(
    "lakehouse_table_delete_files", "Delete files of the newest snapshot.", ("table",)
)
BYTES = Family("lakehouse_table_bytes", "Bytes of the newest snapshot's files.", ("table",))
RECORDS = Family(
    "lakehouse_table_records",
    "Rows of the newest snapshot's data files, those that delete files hide included.",
    ("table",),
)
SNAPSHOTS = Family("lakehouse_table_snapshots", "Snapshots in the table's history.", ("table",))
NEWEST_COMMIT = Family(
    "lakehouse_table_newest_commit_timestamp_seconds",
    "When the newest snapshot was committed.",
    ("table",),
)
DEAD_LETTERS = Family(
    "lakehouse_dead_letters_rows", "Rows of bronze.dead_letters.", ("stage", "reason")
)
POISON = Family(
    "lakehouse_poison_events",
    "Events set aside that passed every rule and that Spark cannot compute with.",
    ("topic",),
    is_counter=True,
)

# A dataset that fails must not be hidden by another that goes well after it.
_RUN_OF = ("kind", "dataset")
RUN_SUCCESS = Family(
    "lakehouse_run_last_success_timestamp_seconds", "When a run last published.", _RUN_OF
)
RUN_DURATION = Family(
    "lakehouse_run_last_duration_seconds", "How long the last published run took.", _RUN_OF
)
RUN_ROWS = Family("lakehouse_run_last_rows", "Rows that the last published run wrote.", _RUN_OF)
RUN_CONFLICTS = Family(
    "lakehouse_run_last_conflicts",
    "How often another run published first, so that the last published one began again.",
    _RUN_OF,
)
RUN_FAILED = Family(
    "lakehouse_run_failed", "Whether the run that ended last has failed; 0 or 1.", _RUN_OF
)
RUN_THROUGH = Family(
    "lakehouse_run_covered_through_timestamp_seconds",
    "End of the latest interval, of ingestion time, that was published.",
    _RUN_OF,
)
RUN_SECONDS_NAME = "lakehouse_run_seconds"

RECONCILED_ROWS = Family(
    "lakehouse_reconciliation_rows",
    "Rows by how the last reconciliation found them in the two layers.",
    ("table", "state"),
)
AGREES = Family(
    "lakehouse_reconciliation_agrees",
    "Whether the last reconciliation found the layers equal; 0 or 1.",
    ("table",),
)
RECONCILED_AT = Family(
    "lakehouse_reconciliation_last_success_timestamp_seconds",
    "When the layers were last found equal.",
    ("table",),
)
RECONCILIATION_AGE = Family(
    "lakehouse_reconciliation_age_seconds",
    "Since the layers were last found equal; since the lake was made, if never.",
    ("table",),
)
UNRECONCILED_AGE = Family(
    "lakehouse_reconciliation_oldest_unreconciled_age_seconds",
    "Age, at the interval's end, of the oldest business time that only speed covered.",
    ("table",),
)

MAINTAINED_AT = Family(
    "lakehouse_maintenance_last_timestamp_seconds",
    "When the upkeep of the table last ended.",
    ("table",),
)
MAINTENANCE_FAILED = Family(
    "lakehouse_maintenance_failed", "Whether the last upkeep has failed; 0 or 1.", ("table",)
)
MAINTENANCE_FILES = Family(
    "lakehouse_maintenance_last_files",
    "Files that the last upkeep compacted, wrote, retired and deleted.",
    ("table", "action"),
)

MODEL_CHECK = Family(
    "lakehouse_model_check_value",
    "What was measured of the newest day: of features ks, how far they are from those of training, "
    "from 0 to 1, and missing, the share that is not known; of predictions rmse_bps and mae_bps, "
    "of trades that look wrong average_precision and precision_at_k.",
    ("model", "measure", "subject"),
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {value.name: value for value in list(globals().values()) if isinstance(value, Family)}
)
