"""The audit before a publication: what must be true of a result for anyone to see it."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.errors import LakehouseError
from lakehouse.transforms.trades import counts
from schemas.contract import TableContract


class AuditError(LakehouseError):
    """A result broke its audit; nothing was published."""

    def __init__(self, table: str, findings: Sequence[str]) -> None:
        super().__init__(f"{table} was not published: " + "; ".join(findings))
        self.table = table
        self.findings = tuple(findings)


def audit_rows(
    result: DataFrame, contract: TableContract, *, key: Sequence[Column], expected_rows: int
) -> None:
    """Check what holds for every table: the row count, unique keys, no nulls where none may be.

    Args:
        result: What was written, read back.
        contract: The table's contract.
        key: What identifies a row.
        expected_rows: How many rows the computation had.

    Raises:
        AuditError: Something does not hold.
    """
    required = [column.name for column in contract.columns if column.required]
    checks = result.agg(
        F.count("*").alias("rows"),
        F.count_distinct(F.xxhash64(*key)).alias("keys"),
        *(F.count_if(F.col(name).isNull()).alias(f"null {name}") for name in required),
    ).collect()[0]
    rows, keys, *nulls = checks
    findings = [
        f"{count} rows have no {name}" for name, count in zip(required, nulls, strict=True) if count
    ]
    if rows != expected_rows:
        findings.append(f"{expected_rows} rows were computed, {rows} were written")
    if keys != rows:
        findings.append(f"{rows - keys} rows repeat the key ({', '.join(contract.key)})")
    if findings:
        raise AuditError(contract.name, findings)


def totals_of_trades(trades: DataFrame) -> DataFrame:
    """Add up the trades that count: one row of ``trade_count``, ``volume``, ``notional``."""
    return trades.where(counts(F.col("state"))).agg(
        F.count("*").alias("trade_count"),
        F.sum("quantity").alias("volume"),
        F.sum("notional").alias("notional"),
    )


def totals_of_bars(bars: DataFrame) -> DataFrame:
    """Add up bars: one row of ``trade_count``, ``volume``, ``notional``."""
    return bars.agg(*(F.sum(name).alias(name) for name in ("trade_count", "volume", "notional")))


def audit_totals(bars: DataFrame, expected: DataFrame, contract: TableContract) -> None:
    """Check that bars have the totals of what they summarise.

    Args:
        bars: The bars, read back.
        expected: One row of totals.
        contract: The contract of the bars' table.

    Raises:
        AuditError: A total differs.
    """
    actual = totals_of_bars(bars)
    pairs = zip(actual.columns, actual.first() or (), expected.first() or (), strict=True)
    findings = [
        f"{name} is {ours or 0}, its source has {theirs or 0}"
        for name, ours, theirs in pairs
        if (ours or 0) != (theirs or 0)
    ]
    if findings:
        raise AuditError(contract.name, findings)
