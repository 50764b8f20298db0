"""The contract's rules on quality, asked of what a run has written before it is published."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import structlog
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.errors import VerdictError
from lakehouse.intervals import Interval
from schemas.contract import TableContract
from schemas.quality import QualityRule, Severity

QUALITY_CHECKS = "ops.quality_checks"
HELD, BROKEN = "HELD", "BROKEN"
# Those of the column that keeps the number.
PLACES = Decimal("0.00000001")

_log = structlog.get_logger(__name__)


class QualityError(VerdictError):
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


def check(
    table: TableContract, rows: DataFrame, interval: Interval, *, beside: Sequence[Column] = ()
) -> tuple[list[Finding], Mapping[str, Any]]:
    """Ask the rules of a table's contract of some rows.

    Args:
        table: The contract of the table that the rows are for.
        rows: What a run has written of it.
        interval: The run's interval.
        beside: Named aggregates of the rows, asked in the same look at them.

    Returns:
        What the rules found, and the answers to what was asked beside, by name.
    """
    relation = f"checked_{table.name.replace('.', '_')}"
    rows.createOrReplaceTempView(relation)
    start, end = interval.start.isoformat(), interval.end.isoformat()
    # One job for all of them, and one look at the rows for all that are aggregates of them.
    asked = [
        F.expr(rule.expression(relation, start, end)).alias(rule.name) for rule in table.quality
    ]
    answers = rows.agg(*asked, *beside).collect()[0].asDict()
    rows.sparkSession.catalog.dropTempView(relation)
    findings = [Finding(table.name, rule, _number(answers[rule.name])) for rule in table.quality]
    for one in findings:
        if not one.holds:
            _log.warning("rule broken", table=one.table, rule=one.rule.name, found=str(one.found))
    return findings, answers


def _number(answer: object) -> Decimal | None:
    return None if answer is None else Decimal(str(answer)).quantize(PLACES)
