"""The audit before a publication: what must be true of a result for anyone to see it."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

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


def audit(
    result: DataFrame,
    contract: TableContract,
    *,
    key: Sequence[Column],
    rows: int,
    totals: Mapping[str, Decimal | int | None] = MappingProxyType({}),
) -> None:
    """Check the row count, that keys are unique, that nothing required is null, and the totals.

    Args:
        result: What was written, read back.
        contract: The table's contract.
        key: What identifies a row.
        rows: How many rows the computation had.
        totals: What columns must add up to; None is nothing to add up.

    Raises:
        AuditError: Something does not hold.
    """
    required = [column.name for column in contract.columns if column.required]
    found = (
        result.agg(
            F.count("*").alias("rows"),
            F.count_distinct(F.xxhash64(*key)).alias("keys"),
            *(F.count_if(F.col(name).isNull()).alias(f"null {name}") for name in required),
            *(F.sum(name).alias(f"total {name}") for name in totals),
        )
        .collect()[0]
        .asDict()
    )
    findings = [
        f"{found[f'null {name}']} rows have no {name}" for name in required if found[f"null {name}"]
    ]
    findings += [
        f"{name} adds up to {found[f'total {name}'] or 0}, in its source to {total or 0}"
        for name, total in totals.items()
        if (found[f"total {name}"] or 0) != (total or 0)
    ]
    if found["rows"] != rows:
        findings.append(f"{rows} rows were computed, {found['rows']} were written")
    if found["keys"] != found["rows"]:
        repeated = found["rows"] - found["keys"]
        findings.append(f"{repeated} rows repeat the key ({', '.join(contract.key)})")
    if findings:
        raise AuditError(contract.name, findings)


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
