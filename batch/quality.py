"""The contract's rules on quality, asked of what a run has written before it is published."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import structlog
from pyspark.sql import DataFrame, SparkSession

from lakehouse.errors import LakehouseError
from lakehouse.intervals import Interval
from schemas import contract
from schemas.quality import QualityRule, Severity

QUALITY_CHECKS = "ops.quality_checks"
HELD, BROKEN = "HELD", "BROKEN"
# Those of the column that keeps the number.
PLACES = Decimal("0.00000001")

_log = structlog.get_logger(__name__)


class QualityError(LakehouseError):
    """Rows break rules whose severity forbids to publish them."""

    def __init__(self, findings: Iterable["Finding"]) -> None:
        broken = [one for one in findings if one.forbids]
        self.keeps_branch = any(one.rule.severity == Severity.QUARANTINE for one in broken)
        super().__init__(
            "not published: "
            + "; ".join(
                f"{one.table}: {one.rule.name} must be {one.rule.expected.text}, is {one.found}"
                for one in broken
            )
        )


@dataclass(frozen=True)
class Finding:
    """What one rule found.

    Attributes:
        found: The number; None when there was nothing to ask, which breaks no rule.
    """

    table: str
    rule: QualityRule
    found: Decimal | None

    @property
    def holds(self) -> bool:
        """Whether the rule holds."""
        return self.found is None or self.rule.expected.holds(self.found)

    @property
    def forbids(self) -> bool:
        """Whether the rows must not be published."""
        return not self.holds and self.rule.severity != Severity.WARN

    def row(self, run_id: str, interval: Interval) -> Mapping[str, object]:
        """Return the row of ``ops.quality_checks``."""
        return {
            "run_id": run_id,
            "table_name": self.table,
            "rule": self.rule.name,
            "dimension": self.rule.dimension,
            "severity": self.rule.severity.value,
            "expected": self.rule.expected.text,
            "found": self.found,
            "verdict": HELD if self.holds else BROKEN,
            "interval_start": interval.start,
            "interval_end": interval.end,
            "recorded_at": datetime.now(UTC),
        }


def check(spark: SparkSession, table: str, rows: DataFrame, interval: Interval) -> list[Finding]:
    """Ask the rules of a table's contract of some rows.

    Args:
        spark: The session.
        table: The table that the rows are for.
        rows: What a run has written of it.
        interval: The run's interval.
    """
    rules = contract(table).quality
    if not rules:
        return []
    relation = f"checked_{table.replace('.', '_')}"
    rows.createOrReplaceTempView(relation)
    start, end = interval.start.isoformat(), interval.end.isoformat()
    # One job for all of them.
    asked = ", ".join(f"({rule.sql(relation, start, end)})" for rule in rules)
    numbers = spark.sql(f"SELECT {asked}").collect()[0]
    spark.catalog.dropTempView(relation)
    findings = [
        Finding(table, rule, None if number is None else Decimal(str(number)).quantize(PLACES))
        for rule, number in zip(rules, numbers, strict=True)
    ]
    for one in findings:
        if not one.holds:
            _log.warning("rule broken", table=table, rule=one.rule.name, found=str(one.found))
    return findings
