"""The audit before a publication: what must be true of a result for anyone to see it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.errors import VerdictError
from lakehouse.transforms.trades import counts
from schemas.contract import TableContract


class AuditError(VerdictError):
    """A result broke its audit; nothing was published."""

    def __init__(self, table: str, findings: Sequence[str]) -> None:
        super().__init__(f"{table} was not published: " + "; ".join(findings))
        self.table = table
        self.findings = tuple(findings)


@dataclass(frozen=True)
class Audit:
    """What must be true of a result, beside the rules of its contract: all of it is there.

    Attributes:
        contract: The table's contract.
        rows: How many rows the computation had.
        totals: What columns must add up to; None is nothing to add up.
    """

    contract: TableContract
    rows: int
    totals: Mapping[str, Decimal | int | None] = field(default_factory=dict)

    @property
    def asked(self) -> list[Column]:
        """What is to be asked of the rows that were written, read back: named aggregates."""
        return [
            F.count("*").alias("rows"),
            *(F.count_if(F.col(name).isNull()).alias(f"null {name}") for name in self._required),
            *(F.sum(name).alias(f"total {name}") for name in self.totals),
        ]

    def judge(self, found: Mapping[str, Any]) -> None:
        """Check the row count, that nothing required is null, and the totals.

        Args:
            found: The answers to what is asked, by name.

        Raises:
            AuditError: Something does not hold.
        """
        findings = [
            f"{found[f'null {name}']} rows have no {name}"
            for name in self._required
            if found[f"null {name}"]
        ]
        findings += [
            f"{name} adds up to {found[f'total {name}'] or 0}, in its source to {total or 0}"
            for name, total in self.totals.items()
            if (found[f"total {name}"] or 0) != (total or 0)
        ]
        if found["rows"] != self.rows:
            findings.append(f"{self.rows} rows were computed, {found['rows']} were written")
        if findings:
            raise AuditError(self.contract.name, findings)

    @property
    def _required(self) -> list[str]:
        return [column.name for column in self.contract.columns if column.required]


def totals_of_trades(trades: DataFrame, carried: Mapping[str, str]) -> dict[str, Any]:
    """Add up what the bars of some trades must add up to.

    Args:
        trades: Rows of ``silver.trades``.
        carried: Columns that bars add up, too, with the types of the sums.
    """
    return _only_row(
        trades.where(counts(F.col("state"))).agg(
            F.count("*").alias("trade_count"),
            F.sum("quantity").alias("volume"),
            F.sum("notional").alias("notional"),
            *(F.sum(F.col(name).cast(type_)).alias(name) for name, type_ in carried.items()),
        )
    )


def totals_of_bars(bars: DataFrame, carried: Iterable[str]) -> dict[str, Any]:
    """Add up what coarser bars made of some bars must add up to, carried columns too."""
    names = ("trade_count", "volume", "notional", *carried)
    return _only_row(bars.agg(*(F.sum(name).alias(name) for name in names)))


def _only_row(frame: DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = frame.collect()[0].asDict()
    return row
